"""GET /v1/entitlements/check: one service, for a phone system with a caller on the line."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AmbiguousLookup, AnonymousCaller, CustomerNotFound, ServiceError
from app.http.decisions import (
    HelpDeskState,
    ReasonBody,
    SalesContactBody,
    help_desk_body,
    refusal_body,
)
from app.http.fields import Output, QueryInstant
from app.http.languages import Language, asked_language, language_of
from app.http.legacy import Route, needs, reads
from app.http.responses import json_response
from app.policy import civil
from app.policy.decide import continuing, decide, service_valid_until
from app.policy.document import HelpDesk, Policies, Policy, Service
from app.policy.facts import ServiceAnswer, Step
from app.policy.messages import say, say_desk
from app.routers.entitlements.lookups import Lookup, LookupQuery, find_customers, the_one
from app.store.facts import Known

router = APIRouter(prefix="/v1", route_class=Route, tags=["Entitlements"])


class CheckQuery(LookupQuery):
    service: Service
    at: QueryInstant | None = None


class CheckBody(Output):
    allowed: bool
    continues: list[str] = Field(description="Open cases that go on being served here.")
    reasons: list[ReasonBody]
    unlocked_by: list[Step]
    sales_contact: SalesContactBody | None = None
    valid_until: datetime | None
    help_desk: HelpDeskState
    say: str = Field(description="What a phone system can speak: no ids, minutes in words.")


@router.get(
    "/entitlements/check",
    operation_id="check_entitlement",
    openapi_extra=needs("entitlements:read", reads_token_itself=True),
    response_model=CheckBody,
    responses=reads(CustomerNotFound, AmbiguousLookup, AnonymousCaller),
)
async def check_entitlement(
    request: Request, query: Annotated[CheckQuery, FromQuery()]
) -> Response:
    """Whether a caller may use one service now, in words that can be spoken too."""
    policies: Policies = request.app.state.policies
    at = query.at or request.state.now
    on = civil.civil_date(at, policies.zone)
    policy = policies.in_force(on)
    customer = await _caller(request, query, at, policy)
    facts = customer.facts()
    decision = decide(policies, facts, on)
    answer = next(s for s in decision.answer.services if s.service == query.service)
    continues = continuing(policy, facts).get(query.service, [])
    until = service_valid_until(policies, facts, decision, answer)
    desk = policy.desk_for(customer.country, customer.help_desk)
    language: Language = asked_language(request) or customer.language
    body: dict[str, Any] = {
        "allowed": answer.allowed,
        "continues": continues,
        **refusal_body(answer, policy, language),
        "valid_until": until and civil.start_of_day(until, policies.zone),
        "help_desk": help_desk_body(desk, at),
        "say": _sentence(policy, answer, len(continues), desk, at, language),
    }
    return json_response(request, body, etag=False, headers={"Content-Language": language})


async def _caller(request: Request, query: CheckQuery, at: datetime, policy: Policy) -> Known:
    """The customer on the line. Problems can be spoken, and name the desk where it is known."""
    policies: Policies = request.app.state.policies
    found: list[Known] = []
    try:
        lookup = query.lookup()
    except AnonymousCaller as problem:
        # Whether the token may ask at all comes first; nobody is looked for.
        nobody = Lookup("phone", "")
        await find_customers(request, nobody, at, civil.civil_date(at, policies.zone))
        raise _spoken(problem, request, policy, at, found) from None
    found = await find_customers(request, lookup, at, civil.civil_date(at, policies.zone))
    try:
        return the_one(found)
    except ServiceError as problem:
        raise _spoken(problem, request, policy, at, found) from None


def _spoken(
    problem: ServiceError, request: Request, policy: Policy, at: datetime, found: list[Known]
) -> ServiceError:
    language = asked_language(request)
    if language is None:
        spoken: set[Language] = {customer.language for customer in found}
        language = spoken.pop() if len(spoken) == 1 else language_of(request)
    sentences = [say(problem.code, {}, language)]
    desks = {policy.desk_for(one.country, one.help_desk).id for one in found}
    if len(desks) == 1:
        desk = policy.desk_for(found[0].country, found[0].help_desk)
        problem.details["help_desk"] = help_desk_body(desk, at)
        sentences.append(_desk_sentence(desk, at, language))
    problem.details["say"] = " ".join(sentences)
    return problem


def _sentence(
    policy: Policy,
    answer: ServiceAnswer,
    open_cases: int,
    desk: HelpDesk,
    at: datetime,
    language: Language,
) -> str:
    row = next(row for row in policy.services if row.id == answer.service)
    facts: dict[str, object] = {"service": getattr(row.names, language)}
    hours = [g.remaining or 0 for g in answer.granted_by if g.paid_by in ("free_hours", "contract")]
    tickets = [g.remaining or 0 for g in answer.granted_by if g.paid_by == "ticket"]
    if hours:
        situation = "allowed_minutes"
        facts["remaining_minutes"] = sum(hours)
    elif tickets:
        situation = "allowed_tickets"
        facts["tickets"] = sum(tickets)
    elif answer.allowed:
        situation = "allowed"
    elif open_cases:
        situation = "denied_continues"
        facts["open_cases"] = open_cases
    else:
        situation = "denied"
    return f"{say(situation, facts, language)} {_desk_sentence(desk, at, language)}"


def _desk_sentence(desk: HelpDesk, at: datetime, language: Language) -> str:
    state = civil.state(desk.schedule, at)
    return say_desk(state, at, desk.schedule.zone, language)
