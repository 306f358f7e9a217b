"""Answers to a phone system: what becomes of a call, and what is spoken to the caller.

Telephony builders read the body of an answer of 200 alone, so every caller gets one, whether the
service knows them or not. A request that asks nothing is a problem, and can be spoken too.
"""

import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.errors import (
    AmbiguousLookup,
    AnonymousCaller,
    CustomerNotFound,
    InvalidInput,
    ServiceError,
)
from app.http.errors.handlers import meaning
from app.http.languages import Language, asked_language
from app.http.lookups import LookupRoute, exchange_of
from app.http.routes import Handler
from app.policy.civil import DeskState
from app.policy.document import HelpDesk, Policy
from app.policy.facts import ServiceAnswer
from app.policy.messages import say, say_desk
from app.services.calls import Outcome
from app.services.phones import Exchange, caller_number
from app.store.facts import Known

Route = Literal["serve", "serve_case", "sales", "identify", "closed"]

LONGEST = 220
"""Characters of what is spoken: about fifteen seconds."""
_SECONDS = 0.9
"""A caller on the line waits a second at most, also while the database is away."""
_LONGEST_NUMBER = 500

_ROUTES: dict[Outcome, Route] = {
    "allowed": "serve",
    "open_case_only": "serve_case",
    "denied": "sales",
}
# Wrong input that only says something about the caller, by where it is.
_OF_CALLERS: dict[str, Outcome] = {
    "query/phone": "unusable_number",
    "query/case_number": "unknown_caller",
}


def route_of(outcome: Outcome, service: str, state: DeskState | None) -> Route:
    """What a dial plan branches on. Only who asks for the phone is stopped by a closed desk."""
    if service == "phone_support" and state is not None and not state.open:
        return "closed"
    return _ROUTES.get(outcome, "identify")


def outcome_of(error: ServiceError) -> Outcome:
    """What a lookup that found no customer, or several, says about the caller.

    Raises the error itself if the request asked nothing.
    """
    match error:
        case CustomerNotFound():
            return "unknown_caller"
        case AmbiguousLookup():
            return "ambiguous_caller"
        case AnonymousCaller():
            return "withheld_number"
        case InvalidInput(errors=[one]) if one.pointer in _OF_CALLERS:
            return _OF_CALLERS[one.pointer]
    raise error


def outcome_for(answer: ServiceAnswer, continues: Sequence[str]) -> Outcome:
    """What becomes of the call of a customer."""
    if answer.allowed:
        return "allowed"
    return "open_case_only" if continues else "denied"


def desk_of_caller(
    policy: Policy, called: str | None, exchange: Exchange, default: str | None
) -> HelpDesk | None:
    """The desk of a caller whom nobody knows: the one whose number was dialled, else the default.

    A national number is read in the country of the desk itself.
    """
    if called is not None:
        for desk in policy.help_desks:
            at_home = exchange._replace(region=desk.calendar.country)
            if caller_number(called, at_home) == desk.phone:
                return desk
    return next((desk for desk in policy.help_desks if desk.id == default), None)


def common_desk(policy: Policy, found: Iterable[Known]) -> HelpDesk | None:
    """The desk that all these customers call, if they call the same."""
    desks = {desk.id: desk for desk in (policy.desk_for(o.country, o.help_desk) for o in found)}
    return next(iter(desks.values())) if len(desks) == 1 else None


def common_language(found: Iterable[Known]) -> Language | None:
    """The language of all these customers, if they have the same."""
    languages = {customer.language for customer in found}
    return languages.pop() if len(languages) == 1 else None


def sentences_for(
    policy: Policy, answer: ServiceAnswer, open_cases: int, language: Language
) -> list[str]:
    """Whether a customer may use a service, with what is left, and without."""
    row = next(row for row in policy.services if row.id == answer.service)
    facts: dict[str, object] = {"service": getattr(row.names, language)}
    if not answer.allowed:
        situation = "open_case_only" if open_cases else "denied"
        return [say(situation, facts | {"open_cases": open_cases}, language)]
    said = [say("allowed", facts, language)]
    hours = [g.remaining or 0 for g in answer.granted_by if g.paid_by in ("free_hours", "contract")]
    tickets = [g.remaining or 0 for g in answer.granted_by if g.paid_by == "ticket"]
    if hours:
        said.insert(0, say("allowed_minutes", facts | {"remaining_minutes": sum(hours)}, language))
    elif tickets:
        said.insert(0, say("allowed_tickets", facts | {"tickets": sum(tickets)}, language))
    return said


def sentences_about(outcome: Outcome, route: Route, language: Language) -> list[str]:
    """Why a caller is not known, with what would help where somebody asks for it, and without."""
    said = say(outcome, {}, language)
    asked = [f"{said} {say('identify', {}, language)}"] if route == "identify" else []
    return [*asked, said]


def spoken(
    sentences: Sequence[str],
    desk: tuple[HelpDesk, DeskState] | None,
    at: datetime,
    language: Language,
) -> str:
    """The first of some sentences, from the longest to the shortest, and the desk's state.

    At most `LONGEST` characters: first a shorter sentence is taken, then the reason of a closure is
    left out, then the desk.
    """
    after = [""]
    if desk is not None:
        whose, state = desk
        zone = whose.schedule.zone
        reasons = (True, False) if state.closure is not None else (True,)
        told = [say_desk(state, at, zone, language, reason=reason) for reason in reasons]
        after = [*(f" {one}" for one in told), ""]
    texts = (sentence + rest for rest in after for sentence in sentences)
    fitting = next((text for text in texts if len(text) <= LONGEST), None)
    # Only a policy with very long names of services comes to this.
    return fitting or textwrap.shorten(sentences[-1], LONGEST, placeholder="")


class SpokenRoute(LookupRoute):
    """A lookup whose every answer, problems included, has something to speak, within a second."""

    def time_limit(self, request: Request) -> float:
        return min(_SECONDS, super().time_limit(request))

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except (ServiceError, HTTPException, RequestValidationError) as problem:
                error = meaning(request, problem)
                error.language = error.language or _language_of_problem(request)
                error.details["say"] = say("not_answered", {}, error.language)
                raise error from problem

        return handle


def _language_of_problem(request: Request) -> Language:
    """The language asked for, else that of the desk that was dialled, else of the default desk."""
    asked = asked_language(request)
    if asked is not None:
        return asked
    state: Any = request.app.state
    policy = state.policies.versions[-1]
    called = request.query_params.get("called", "")[:_LONGEST_NUMBER] or None
    desk = desk_of_caller(policy, called, exchange_of(request), state.settings.default_desk)
    return desk.language if desk else "en"
