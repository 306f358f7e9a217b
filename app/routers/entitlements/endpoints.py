"""Calls about entitlements."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import date, datetime
from itertools import islice
from time import monotonic
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Query
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response, StreamingResponse

from app.errors import (
    MOST_ERRORS,
    EditorLicenceRequired,
    InvalidInput,
    NotEntitled,
    ServiceError,
    TooManyRequests,
    out_of_range,
)
from app.http.answer_memory import AnswerKey, AnswerMemory
from app.http.context import Ctx, record_of
from app.http.decisions import (
    MOST_CONTINUING,
    EntitlementsBody,
    desk_of,
    entitlements_body,
    help_desk_body,
    refusal_body,
    services_body,
)
from app.http.encoding import json_bytes
from app.http.errors.invalid_input import explain
from app.http.errors.rendering import body_of
from app.http.exports import ExportResponse
from app.http.languages import Language, asked_language
from app.http.lookups import AdmittedLookup, exchange_of
from app.http.replicas import databases_of
from app.http.resource import Resource
from app.http.responses import json_response, ok
from app.http.speech import (
    SpokenRoute,
    common_desk,
    common_language,
    desk_of_caller,
    outcome_for,
    outcome_of,
    route_of,
    sentences_about,
    sentences_for,
    spoken,
)
from app.policy import civil
from app.policy.civil import Closures
from app.policy.decide import continuing, decide, service_valid_until
from app.policy.document import Policies, Policy, Service
from app.policy.facts import ServiceAnswer
from app.policy.simulate import Assumption
from app.routers.entitlements.schemas import (
    Batch,
    BatchBody,
    BatchLookup,
    CheckBody,
    CheckQuery,
    EntitlementsQuery,
    ExportQuery,
    ForecastBody,
    ForecastQuery,
    Simulation,
    SimulationBody,
)
from app.services import help_desks, lookups
from app.services.forecasts import forecast
from app.services.lookups import Lookup
from app.services.phones import Exchange
from app.services.simulations import simulate
from app.store.database import Connection
from app.store.facts import Known, computed

entitlements = Resource("Entitlements")

_SCOPE = "entitlements:read"
_NDJSON = "application/x-ndjson"
_LONGEST_FORECAST_MONTHS = 120
# Of a batch and of an export, until other requests may run. Each of these goes through the event
# loop several times, and may wait as long each time.
_BATCH_SECONDS = 0.002
_EXPORT_SECONDS = 0.0005
# An export rests for so long when others have run meanwhile.
_REST_SECONDS = 0.002
_OTHERS_RAN_SECONDS = 0.0002

MOST_STEPS = 100
"""Of a forecast. Only a customer with a hundred packs that end on different days has more."""

_memory = AnswerMemory(2048)
_batch_lookup = TypeAdapter(BatchLookup)


@entitlements.looks_up("/entitlements", EntitlementsBody, _SCOPE, EntitlementsQuery, etag=True)
async def get_entitlements(lookup: AdmittedLookup[EntitlementsQuery]) -> Response:
    """Read what a customer may use.

    The whole service matrix at an instant: every service with what grants it or every reason why
    not, what is left of each allowance, and until when the answer holds. Give exactly one lookup.
    The texts follow `Accept-Language`.
    """
    customer = lookup.customer()
    language = lookup.language
    policies, at, query = lookup.policies, lookup.at, lookup.query
    _, state = desk_of(policies.in_force(lookup.on), customer, at, lookup.closures)
    key = AnswerKey(policies, customer, lookup.on, state, language, query.explain)
    answer = await computed(len(customer.document), _memory.answer, key)
    body = answer.before + json_bytes(at) + answer.after
    # Asked about now, only the instant differs from one answer to the next.
    etag = answer.etag if query.at is None else False
    return json_response(lookup.request, body, etag=etag, headers={"Content-Language": language})


@entitlements.looks_up("/entitlements/check", CheckBody, _SCOPE, CheckQuery, route=SpokenRoute)
async def check_entitlement(lookup: AdmittedLookup[CheckQuery]) -> Response:
    """Check one service, for a caller on the line.

    Every caller gets an answer of 200 with a sentence to speak: a dial plan branches on `route`,
    and `outcome` says why. All texts are in the language of `Accept-Language`, else of the
    customer, else of the help desk. The number that was dialled, `called`, gives the desk of
    callers whom nobody knows. Give exactly one lookup.
    """
    policy, query = lookup.policies.in_force(lookup.on), lookup.query
    try:
        customer = lookup.customer()
    except ServiceError as error:
        return _check_of_nobody(lookup, policy, error)
    answer, continues, until = await computed(
        len(customer.document), _checked, customer, lookup.policies, lookup.on, query.service
    )
    desk = desk_of(policy, customer, lookup.at, lookup.closures)
    language: Language = asked_language(lookup.request) or customer.language
    outcome = outcome_for(answer, continues)
    body: dict[str, Any] = {
        "outcome": outcome,
        "allowed": answer.allowed,
        "route": route_of(outcome, query.service, desk[1]),
        "customer": {"id": customer.id, "code": customer.code, "name": customer.name},
    }
    if lookup.found.contact is not None:
        body["contact"] = lookup.found.contact
    said = sentences_for(policy, answer, len(continues), language)
    body |= {
        "candidates": [],
        "continues": continues[:MOST_CONTINUING],
        **refusal_body(answer, policy, language),
        "valid_until": until and civil.start_of_day(until, lookup.policies.zone),
        "help_desk": help_desk_body(*desk, language),
        "say": spoken(said, desk, lookup.at, language),
    }
    return json_response(lookup.request, body, etag=False, headers={"Content-Language": language})


def _check_of_nobody(
    lookup: AdmittedLookup[CheckQuery], policy: Policy, error: ServiceError
) -> Response:
    """The answer to a caller who is not known, or not known well enough.

    Raises the error itself if the request asked nothing.
    """
    outcome, found = outcome_of(error), lookup.found.customers
    whose = common_desk(policy, found) or desk_of_caller(
        policy,
        lookup.query.called,
        exchange_of(lookup.request),
        lookup.request.app.state.settings.default_desk,
    )
    desk = None
    if whose is not None:
        closures = lookup.closures.get(whose.id, ())
        desk = whose, civil.state(whose.schedule, lookup.at, closures)
    language: Language = (
        asked_language(lookup.request)
        or common_language(found)
        or (whose.language if whose else "en")
    )
    route = route_of(outcome, lookup.query.service, desk and desk[1])
    body = {
        "outcome": outcome,
        "allowed": False,
        "route": route,
        "candidates": error.details.get("candidates", []),
        "continues": [],
        "reasons": [],
        "unlocked_by": [],
        "valid_until": None,
        "help_desk": help_desk_body(*desk, language) if desk else None,
        "say": spoken(sentences_about(outcome, route, language), desk, lookup.at, language),
    }
    return json_response(lookup.request, body, etag=False, headers={"Content-Language": language})


def _checked(
    customer: Known, policies: Policies, on: date, service: Service
) -> tuple[ServiceAnswer, list[str], date | None]:
    """The answer for one service, the open cases for which it continues, until when it holds."""
    facts = customer.facts()
    decision = decide(policies, facts, on)
    answer = next(one for one in decision.answer.services if one.service == service)
    continues = continuing(policies.in_force(on), facts).get(service, [])
    return answer, continues, service_valid_until(policies, facts, decision, answer)


@entitlements.acts(
    "/entitlements/batch",
    BatchBody,
    _SCOPE,
    etag=False,
    stores_answers=False,
    sends=("Content-Language",),
)
async def batch_entitlements(context: Ctx, body: Batch) -> Response:
    """Read what many customers may use.

    All answers are about the same instant and come in the order of the lookups. A wrong lookup has
    its problem in its place, so that the others are answered. The first 100 faults of all lookups
    together are listed, and of every wrong lookup at least one. An `Idempotency-Key` is ignored:
    nothing is written.
    """
    at = body.at or context.now
    on = civil.civil_date(at, context.policies.zone)
    language = context.language
    exchange = exchange_of(context.request)
    pace = _Pace(_BATCH_SECONDS)
    asked: list[Lookup | ServiceError] = []
    room = MOST_ERRORS
    for sent in body.lookups:
        await pace.keep()
        read = _read(sent, exchange, max(room, 1))
        asked.append(read)
        if isinstance(read, InvalidInput):
            room -= len(read.errors)
    wanted = [(index, one) for index, one in enumerate(asked) if isinstance(one, Lookup)]
    found = await lookups.find_many(context, wanted, at, on)
    closures = await help_desks.standing(context, at)
    request_id = record_of(context.request.scope).request_id
    answers: dict[UUID, bytes] = {}
    results = []
    for index, (sent, one) in enumerate(zip(body.lookups, asked, strict=True)):
        await pace.keep()
        try:
            if isinstance(one, ServiceError):
                raise one
            customer = lookups.only(found.get(index, []))
        except ServiceError as error:
            problem = body_of(error, language, request_id)
            results.append({"lookup": _repeated(sent), "problem": problem})
            continue
        # Render each customer's answer at once, and once: a thousand answers are a hundred
        # thousand objects, and may all be about one customer.
        answer = answers.get(customer.id)
        if answer is None:
            asked_of = (customer, context.policies, on, at, closures, language)
            answer = await computed(len(customer.document), _answer, *asked_of)
            answers[customer.id] = answer
        results.append({"lookup": sent, "entitlements": orjson.Fragment(answer)})
    return ok(context, {"results": results}, etag=False, headers={"Content-Language": language})


class _Pace:
    """Lets other requests run whenever one has computed for `seconds` without a pause.

    With `yields` it rests as well while there are others.
    """

    def __init__(self, seconds: float, *, yields: bool = False) -> None:
        self._seconds = seconds
        self._yields = yields
        self._since = monotonic()

    async def keep(self) -> None:
        paused = monotonic()
        if paused - self._since > self._seconds:
            await asyncio.sleep(0)
            self._since = monotonic()
            if self._yields and self._since - paused > _OTHERS_RAN_SECONDS:
                await asyncio.sleep(_REST_SECONDS)
                self._since = monotonic()


def _read(lookup: dict[str, Any], exchange: Exchange, most: int) -> Lookup | ServiceError:
    """A lookup, or what is wrong with it: the first `most` faults."""
    try:
        few = BatchLookup.with_few_unknown_fields(lookup, most)
        return _batch_lookup.validate_python(few).lookup(exchange, "")
    except ValidationError as error:
        return InvalidInput(*explain(error.errors(), lookup, most))
    except ServiceError as error:
        return error


def _repeated(lookup: dict[str, Any]) -> object:
    """A wrong lookup as it was sent. Empty if it holds what JSON in UTF-8 cannot (half a surrogate
    pair) or orjson does not (an integer of more than 64 bits)."""
    try:
        return orjson.Fragment(orjson.dumps(lookup))
    except orjson.JSONEncodeError:
        return {}


def _answer(
    customer: Known,
    policies: Policies,
    on: date,
    at: datetime,
    closures: Closures,
    language: Language,
) -> bytes:
    facts = customer.facts()
    decision = decide(policies, facts, on)
    desk = desk_of(decision.standing.policy, customer, at, closures)
    return json_bytes(entitlements_body(customer, facts, decision, policies, at, desk, language))


@entitlements.reads(
    "/entitlements/export",
    None,
    _SCOPE,
    TooManyRequests,
    etag=False,
    # A client may ask for JSON in every call.
    offers=(_NDJSON, "application/json"),
    sends=("Content-Language",),
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One answer a line; the last line is `{end, count}`.",
            "content": {_NDJSON: {"schema": {"type": "string"}}},
        }
    },
)
async def export_entitlements(context: Ctx, query: Annotated[ExportQuery, Query()]) -> Response:
    """Read what every customer may use.

    A stream of JSON lines, one for each customer, all from one snapshot of the database. Its last
    line is `{"end": true, "count": n}`: without it the stream was cut off. The service runs a few
    exports at once and refuses more; a reader that is too slow is cut off.
    """
    policies, language = context.policies, context.language
    at = query.at or context.now
    on = civil.civil_date(at, policies.zone)
    closures = await help_desks.standing(context, at)
    headers = {
        "Cache-Control": "private, no-store",
        "Vary": "Authorization, Accept-Language",
        "Content-Language": language,
    }

    async def lines(connection: Connection) -> AsyncGenerator[bytes, None]:
        count, pace = 0, _Pace(_EXPORT_SECONDS, yields=True)
        every = lookups.every_customer(connection, context.caller, now=context.now, at=at, on=on)
        async with aclosing(every) as customers:
            async for some in customers:
                chunk = bytearray()
                for customer in some:
                    await pace.keep()
                    asked_of = (customer, policies, on, at, closures, language)
                    chunk += await computed(len(customer.document), _answer, *asked_of)
                    chunk += b"\n"
                count += len(some)
                yield bytes(chunk)
        yield json_bytes({"end": True, "count": count}) + b"\n"

    if context.caller.customer_id is not None:
        # One customer: read at once, so that no connection waits for the reader.
        body = b"".join([line async for line in lines(context.connection)])
        return Response(body, headers=headers, media_type=_NDJSON)
    state = context.request.app.state
    return ExportResponse(
        databases_of(context.request),
        lines,
        seconds=state.settings.export_timeout,
        headers=headers,
        media_type=_NDJSON,
    )


@entitlements.looks_up(
    "/entitlements/simulation",
    SimulationBody,
    _SCOPE,
    Simulation,
    EditorLicenceRequired,
    NotEntitled,
)
async def simulate_entitlements(lookup: AdmittedLookup[Simulation]) -> Response:
    """Ask what a purchase or work would change.

    The answers without and with the assumptions. Nothing is written.
    """
    customer = lookup.customer()
    assumptions = lookup.query.assumptions(lookup.on)
    body = await computed(len(customer.document), _simulated, lookup, customer, assumptions)
    headers = {"Content-Language": lookup.language}
    return json_response(lookup.request, body, etag=False, headers=headers)


def _simulated(
    lookup: AdmittedLookup[Simulation], customer: Known, assumptions: list[Assumption]
) -> bytes:
    policies, on, at, language = lookup.policies, lookup.on, lookup.at, lookup.language
    facts = customer.facts()
    before, after, facts_after = simulate(policies, facts, on, assumptions)
    was, will = before.answer, after.answer
    desk = desk_of(before.standing.policy, customer, at, lookup.closures)
    body = {
        "before": entitlements_body(customer, facts, before, policies, at, desk, language),
        "after": _without_assumed_ids(
            entitlements_body(customer, facts_after, after, policies, at, desk, language)
        ),
        "changes": {
            "columns_gained": [column for column in will.columns if column not in was.columns],
            "columns_lost": [column for column in was.columns if column not in will.columns],
            "services": [
                {
                    "service": old.service,
                    "allowed_before": old.allowed,
                    "allowed_after": new.allowed,
                }
                for old, new in zip(was.services, will.services, strict=True)
                if old != new
            ],
        },
    }
    return json_bytes(body)


def _without_assumed_ids(body: dict[str, Any]) -> dict[str, Any]:
    """The answer without the ids and numbers that the simulation made up."""
    for allowance in body["allowances"]:
        if str(allowance.get("id", "")).startswith("~"):
            allowance["id"] = allowance["number"] = None
    return body


@entitlements.looks_up("/entitlements/forecast", ForecastBody, _SCOPE, ForecastQuery)
async def forecast_entitlements(lookup: AdmittedLookup[ForecastQuery]) -> Response:
    """Read what time alone will change.

    Columns and services from now on, if nobody buys or uses anything. Each step begins at the
    instant at which the answer differs from the step before. There are at most 100 steps; `until`
    is then the instant at which the next one would begin.
    """
    policies, until, language = lookup.policies, lookup.query.until, lookup.language
    last_day = civil.civil_date(until, policies.zone)
    longest = civil.add_months(lookup.on, _LONGEST_FORECAST_MONTHS)
    if until < lookup.now or last_day > longest:
        raise out_of_range("query/until", lookup.now, longest)
    customer = lookup.customer()
    body = await computed(
        len(customer.document), _forecast, customer, policies, lookup.now, until, language
    )
    return json_response(lookup.request, body, etag=False, headers={"Content-Language": language})


def _forecast(
    customer: Known, policies: Policies, now: datetime, until: datetime, language: Language
) -> bytes:
    facts = customer.facts()
    steps = list(islice(forecast(policies, facts, now, until), MOST_STEPS + 1))
    if len(steps) > MOST_STEPS:
        until = steps.pop().at
    body = {
        "customer": {"id": customer.id, "code": customer.code, "name": customer.name},
        "until": until,
        "steps": [
            {
                "at": at,
                "on": day,
                "policy": answer.policy,
                "columns": answer.columns,
                "services": services_body(policies.in_force(day), answer, facts, language),
            }
            for at, day, answer in steps
        ],
    }
    return json_bytes(body)
