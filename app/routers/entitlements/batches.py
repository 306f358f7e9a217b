"""POST /v1/entitlements/batch: many customers' answers at one instant, from one snapshot."""

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.errors import InvalidInput, ServiceError
from app.http.context import record_of
from app.http.decisions import EntitlementsBody, entitlements_body
from app.http.errors.bodies import ProblemBody
from app.http.errors.invalid_input import explain
from app.http.errors.rendering import body_of
from app.http.fields import Input, Instant, Output
from app.http.languages import language_of
from app.http.legacy import Connection, CurrentCaller, Now, Route, Rules, acts, needs
from app.http.responses import json_bytes, json_response
from app.policy.civil import civil_date
from app.policy.decide import decide
from app.routers.entitlements.lookups import Lookup, LookupFields, the_one
from app.store.facts import BATCH, Known, known

router = APIRouter(prefix="/v1", route_class=Route, tags=["Entitlements"])

# Decided between two looks at the other requests: some milliseconds.
_AT_A_TIME = 25


class BatchLookup(LookupFields, Input):
    """A lookup in a body."""


class Batch(Input):
    lookups: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)]
    at: Instant | None = None


class BatchResult(Output):
    lookup: dict[str, Any]
    entitlements: EntitlementsBody | None = None
    problem: ProblemBody | None = None


class BatchBody(Output):
    results: list[BatchResult]


_lookup_of = TypeAdapter(BatchLookup)


@router.post(
    "/entitlements/batch",
    operation_id="batch_entitlements",
    openapi_extra=needs("entitlements:read", remembered=False),
    response_model=BatchBody,
    response_model_exclude_unset=True,
    responses=acts(),
)
async def batch(
    request: Request,
    body: Batch,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
) -> Response:
    """The answers in the order asked; a lookup that is none has its problem in its place."""
    at = body.at or now
    on = civil_date(at, policies.zone)
    language = language_of(request)
    asked = [_read(lookup) for lookup in body.lookups]
    good = [(index, one) for index, one in enumerate(asked) if isinstance(one, Lookup)]
    parameters = {
        "positions": [index for index, _ in good],
        "kinds": [one.name for _, one in good],
        "keys": [str(one.key) for _, one in good],
        "mine": caller.customer_id,
        "at": at,
        "on": on,
    }
    statement = BATCH["past" if at < now else "now"]
    found: dict[int, list[Known]] = {}
    for row in await connection.execute(statement, parameters):
        found.setdefault(row.position, []).append(known(row))
    results = []
    for index, lookup in enumerate(body.lookups):
        if index % _AT_A_TIME == 0:
            await asyncio.sleep(0)
        one = asked[index]
        try:
            if isinstance(one, ServiceError):
                raise one
            customer = the_one(found.get(index, []))
        except ServiceError as problem:
            told = body_of(problem, language, record_of(request.scope).request_id)
            results.append({"lookup": _repeated(lookup), "problem": told})
            continue
        facts = customer.facts()
        decision = decide(policies, facts, on)
        answer = entitlements_body(customer, facts, decision, policies, at, language)
        # As bytes at once: a thousand answers in parts are a hundred times as many objects.
        results.append({"lookup": lookup, "entitlements": orjson.Fragment(json_bytes(answer))})
    headers = {"Content-Language": language}
    return json_response(request, {"results": results}, etag=False, headers=headers)


def _repeated(lookup: dict[str, Any]) -> object:
    """A bad lookup as it was asked; empty where it holds what no answer can (half a surrogate
    pair, a number of more than 64 bits)."""
    try:
        return orjson.Fragment(orjson.dumps(lookup))
    except orjson.JSONEncodeError:
        return {}


def _read(lookup: dict[str, Any]) -> Lookup | ServiceError:
    try:
        return _lookup_of.validate_python(lookup).lookup("")
    except ValidationError as error:
        return InvalidInput(*explain(error.errors(), lookup))
    except ServiceError as problem:
        return problem
