"""What a phone system can speak: sentences without ids, with minutes and moments in words."""

from collections.abc import Sequence
from datetime import datetime

from starlette.requests import Request

from app.errors import ServiceError
from app.http.decisions import help_desk_body
from app.http.languages import Language, asked_language, language_of
from app.policy import civil
from app.policy.civil import Closures, DeskState
from app.policy.document import HelpDesk, Policy
from app.policy.facts import ServiceAnswer
from app.policy.messages import say, say_desk
from app.store.facts import Known


def sentences(
    policy: Policy,
    answer: ServiceAnswer,
    open_cases: int,
    desk: tuple[HelpDesk, DeskState],
    at: datetime,
    language: Language,
) -> str:
    """Whether a service is allowed and what is left, and when the help desk is open.

    `desk` as from `decisions.desk_of`.
    """
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
    return f"{say(situation, facts, language)} {_desk_sentence(*desk, at, language)}"


def make_spoken(
    error: ServiceError,
    request: Request,
    policy: Policy,
    at: datetime,
    found: Sequence[Known],
    closures: Closures,
) -> ServiceError:
    """Add to an error what can be spoken, and the help desk if all customers found have the same.

    Both are in the language asked for, else that of all customers found, else that of their desk.
    """
    spoken: set[Language] = {customer.language for customer in found}
    desks = {desk.id: desk for desk in (policy.desk_for(o.country, o.help_desk) for o in found)}
    desk = next(iter(desks.values())) if len(desks) == 1 else None
    language = asked_language(request) or (spoken.pop() if len(spoken) == 1 else None)
    if language is None:
        language = desk.language if desk else language_of(request)
    error.language = language
    said = [say(error.code, {}, language)]
    if desk is not None:
        state = civil.state(desk.schedule, at, closures.get(desk.id, ()))
        error.details["help_desk"] = help_desk_body(desk, state, language)
        said.append(_desk_sentence(desk, state, at, language))
    error.details["say"] = " ".join(said)
    return error


def _desk_sentence(desk: HelpDesk, state: DeskState, at: datetime, language: Language) -> str:
    return say_desk(state, at, desk.schedule.zone, language)
