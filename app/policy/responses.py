"""How fast a case is answered and resolved, in working time of the customer's desk (R42).

The first response is the earliest of: a public comment by staff, the beginning of work that was not
reversed, the taking of the case (assigned, or in progress), and its closing, whose resolution the
requester is told (R32). Time runs while the case is `open` or `in_progress`; it stands still while
it waits for the customer and while it is closed.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from app.policy.cases import State
from app.policy.document import Policies, ResponseTarget
from app.policy.working_time import WorkingTime

RUNNING: frozenset[State] = frozenset(("open", "in_progress"))
_MINUTE = timedelta(minutes=1)


class Span(NamedTuple):
    """A period in which the time of a case runs; without an end it still does."""

    start: datetime
    end: datetime | None


class History(NamedTuple):
    """What happened to a case, as far as it says how fast that went."""

    states: Sequence[tuple[datetime, State]]
    """The states, each with the instant from which on, oldest first; the first at its opening."""
    responded_at: datetime | None
    """The first response but for the states."""


class Measured(NamedTuple):
    """How fast a case was answered and resolved. Minutes are whole ones that have passed."""

    responded_at: datetime | None
    response_minutes: int | None
    response_met: bool | None
    """None without a target, or without a response."""
    response_due_at: datetime | None
    """When more than the target has passed without a response, or will have; None without a target,
    if the response came in time, or while the time stands still."""
    resolution_minutes: int | None
    """Of a closed case; None for every other."""
    resolution_met: bool | None
    resolution_due_at: datetime | None
    aged_from: datetime | None
    """Of a case whose time runs: the instant from which on it would have run without a stop."""
    age_minutes: int | None
    """Of a case that waits for the customer: what had run before."""


def target_for(
    policies: Policies, opened_on: date, priority: str, priority_support: bool
) -> ResponseTarget | None:
    """What the policy of the day of opening promises; for priority support its own, if it has."""
    targets = policies.in_force(opened_on).response_targets
    kinds = (True, False) if priority_support else (False,)
    return next(
        (
            one
            for kind in kinds
            for one in targets
            if (one.priority, one.priority_support) == (priority, kind)
        ),
        None,
    )


def measure(history: History, time: WorkingTime, target: ResponseTarget | None) -> Measured:
    """How fast a case was answered and resolved, by the working time of a desk."""
    states = history.states
    opened_at, state = states[0][0], states[-1][1]
    spans = list(_spans(states))
    responded_at = _responded_at(history, opened_at)
    unanswered, response = spans, None
    if responded_at is not None:
        unanswered = _until(spans, responded_at)
        response = _passed(time, unanswered)
    runs = state in RUNNING
    total = _passed(time, spans) if state == "closed" else None
    aged_from = age = None
    if runs:
        *before, now = spans
        aged_from = time.back(now.start, _passed(time, before))
    elif state == "waiting_for_customer":
        age = _passed(time, spans)
    first = None if target is None else target.first_response_minutes
    whole = None if target is None else target.resolution_minutes
    return Measured(
        responded_at,
        _minutes(response),
        None if first is None or response is None else response <= first * _MINUTE,
        _due(time, unanswered, first),
        _minutes(total),
        None if whole is None or total is None else total <= whole * _MINUTE,
        _due(time, spans, whole),
        aged_from,
        _minutes(age),
    )


def _responded_at(history: History, opened_at: datetime) -> datetime | None:
    found = [at for at, state in history.states if state in ("in_progress", "closed")]
    if history.responded_at is not None:
        # Work may have begun earlier on the day of opening (R20).
        found.append(max(history.responded_at, opened_at))
    return min(found, default=None)


def _spans(states: Sequence[tuple[datetime, State]]) -> Iterable[Span]:
    begun: datetime | None = None
    for at, state in states:
        if begun is None and state in RUNNING:
            begun = at
        elif begun is not None and state not in RUNNING:
            yield Span(begun, at)
            begun = None
    if begun is not None:
        yield Span(begun, None)


def _until(spans: Iterable[Span], end: datetime) -> list[Span]:
    return [
        Span(one.start, end if one.end is None else min(one.end, end))
        for one in spans
        if one.start < end
    ]


def _passed(time: WorkingTime, spans: Iterable[Span]) -> timedelta:
    """The working time of spans that have ended."""
    return sum(
        (time.between(one.start, one.end) for one in spans if one.end is not None), timedelta()
    )


def _due(time: WorkingTime, spans: Sequence[Span], minutes: int | None) -> datetime | None:
    """When more than so many minutes have passed; None if the spans end before."""
    if minutes is None:
        return None
    left = minutes * _MINUTE
    for start, end in spans:
        passed = None if end is None else time.between(start, end)
        if passed is None or passed > left:
            return time.beyond(start, left)
        left -= passed
    return None


def _minutes(passed: timedelta | None) -> int | None:
    return None if passed is None else passed // _MINUTE
