"""GET /v1/entitlements: what a customer may use, on what grounds, and until when that holds."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi import Query as FromQuery
from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response

from app.http.answers import problems
from app.http.decisions import EntitlementsBody, entitlements_body
from app.http.etags import json_bytes, json_response, weak_etag
from app.http.faults import is_disconnect
from app.http.fields import Code, Id, Query, QueryFlag, QueryInstant
from app.http.languages import language_of
from app.http.problems import (
    CustomerNotFound,
    InsufficientScope,
    InvalidInput,
    Unauthorized,
    invalid,
)
from app.http.routes import Route, needs
from app.http.tokens import IS_VALID, admit, hash_of, is_bound, sent_token
from app.policy.civil import civil_date
from app.policy.decide import decide
from app.policy.document import Policies
from app.store.database import Database
from app.store.facts import bound_facts_statement, facts_statement, known

router = APIRouter(route_class=Route, tags=["Entitlements"])

_LOOKUPS = {
    "customer_id": "c.id = :key",
    "customer_code": 'lower(c.code COLLATE "C") = lower(:key)',
}
_When = Literal["now", "past"]
_WHEN: tuple[_When, ...] = ("now", "past")
_STATEMENTS: dict[tuple[bool, str, _When], TextClause] = {
    (bound, name, when): bound_facts_statement(when, lookup)
    if bound
    else facts_statement(when, IS_VALID, lookup)
    for name, lookup in _LOOKUPS.items()
    for when in _WHEN
    for bound in (False, True)
}


class EntitlementsQuery(Query):
    """Exactly one of the lookups."""

    customer_id: Id | None = None
    customer_code: Code | None = None
    at: QueryInstant | None = None
    explain: QueryFlag = False

    @property
    def lookup(self) -> tuple[str, Any]:
        values = ((name, getattr(self, name)) for name in _LOOKUPS)
        given = [(name, value) for name, value in values if value is not None]
        if len(given) != 1:
            raise invalid("query", "exactly_one", names=", ".join(_LOOKUPS))
        return given[0]


@router.get(
    "/entitlements",
    operation_id="get_entitlements",
    openapi_extra=needs("entitlements:read", reads_token_itself=True),
    response_model=EntitlementsBody,
    response_model_exclude_unset=True,
    responses=problems(Unauthorized, InsufficientScope, CustomerNotFound, InvalidInput),
)
async def get_entitlements(
    request: Request, query: Annotated[EntitlementsQuery, FromQuery()]
) -> Response:
    """A customer's whole service matrix, with allowances, all reasons, and how long it holds."""
    policies: Policies = request.app.state.policies
    now = request.state.now
    at = query.at or now
    on = civil_date(at, policies.zone)
    name, key = query.lookup
    token = sent_token(request)
    rows = await _read(
        request,
        _STATEMENTS[is_bound(token), name, "past" if at < now else "now"],
        {"token_hash": hash_of(token), "now": now, "key": key, "at": at, "on": on},
    )
    admit(rows[0] if rows else None, "entitlements:read", request)
    if rows[0].customer is None:
        raise CustomerNotFound
    customer = known(rows[0])
    decision = decide(policies, customer.facts, on)
    language = language_of(request)
    body = entitlements_body(customer, decision, policies, at, language, explained=query.explain)
    headers = {"Content-Language": language}
    if query.at is not None:
        return json_response(request, body, etag=False, headers=headers)
    # The same answer a moment later is the same answer: its tag is over all but the instant.
    etag = weak_etag(json_bytes({**body, "at": None}))
    return json_response(request, body, etag=etag, headers=headers)


async def _read(request: Request, statement: TextClause, parameters: dict[str, Any]) -> Any:
    database: Database = request.app.state.database
    engine = database.bound_reading if is_bound(sent_token(request)) else database.reading
    for attempt in (1, 2):
        try:
            async with engine.connect() as connection:
                return (await connection.execute(statement, parameters)).all()
        except DBAPIError as error:
            # As for every read: a pooled connection may be older than the database's restart.
            if attempt == 2 or not is_disconnect(error):
                raise
    return None
