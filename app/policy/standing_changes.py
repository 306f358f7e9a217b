"""How a customer's standing changes from one day to the next, and what that is told as (R13).

`Stood` is what is kept of an answer until the next one. Its differences give `entitlements.changed`
and the events that belong to no single write, because time alone may bring them.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Literal, NamedTuple

from app.policy.decide import Decision, decide
from app.policy.document import Column, Policies, Service
from app.policy.facts import Contract, Facts

Cause = Literal["write", "time"]

_DAY = timedelta(days=1)


class Stood(NamedTuple):
    """A customer's standing as it is stored: of the answer of a day, what events tell."""

    on: date
    """The last day that was looked at. The standing holds until `valid_until` nevertheless."""
    columns: tuple[Column, ...]
    services: tuple[Service, ...]
    """Those allowed, in the order of the matrix."""
    valid_until: date | None
    """The day on which time alone changes the answer (R13)."""
    contracts: Mapping[str, bool]
    """Those in force or suspended, by id: whether it is suspended (R4)."""
    year: tuple[date, date] | None
    """First day and end of the service year that pays for new cases (R14)."""
    packs: Mapping[str, Mapping[date, int]]
    """Unused tickets by their own ends (R19), of each pack with one available or held, by id."""

    def shows(self, other: "Stood") -> bool:
        """Whether `GET /v1/entitlements` shows the same columns, services and end."""
        return self[1:4] == other[1:4]


class Happened(NamedTuple):
    """One event that follows from a difference; `data` has the members of its type."""

    type: Literal[
        "contract.expired",
        "contract.suspended",
        "contract.resumed",
        "tickets.expired",
        "free_hours.started",
        "free_hours.ended",
    ]
    subject: str | None
    """The id of the contract or pack; None: the customer."""
    on: date | None
    """The day at whose start it happened; None: when the step did."""
    data: Mapping[str, str | int]


class Step(NamedTuple):
    """From one standing to the next. A step by time happens at the start of `after.on`."""

    cause: Cause
    before: Stood
    after: Stood
    happened: tuple[Happened, ...]


def stood(decision: Decision) -> Stood:
    standing = decision.standing
    year = standing.service_year
    return Stood(
        decision.on,
        standing.columns,
        tuple([one.service for one in decision.answer.services if one.allowed]),
        decision.valid_until,
        {contract.id: not standing.holds_editor for contract in standing.contracts},
        None if year is None else (year.starts_on, year.ends_on),
        {pack.id: pack.unused_by_end for pack in standing.packs},
    )


def steps(
    policies: Policies, facts: Facts, before: Stood, written_on: date | None, today: date
) -> list[Step]:
    """How a customer came from the standing that is kept to today's, in order.

    `written_on` is the day of the first write since then; None if none is known. If the present
    facts give the old standing for its last day, time alone changed it. If not, the write did it
    first. Several writes make one step, with the facts as they are now.
    """
    found: list[Step] = []
    last: Decision | None = None
    if before.valid_until is not None and before.valid_until <= today:
        last = decide(policies, facts, before.valid_until - _DAY)
        if stood(last)._replace(on=before.on) != before:
            last = None
    if last is None:
        on = today if written_on is None else min(max(written_on, before.on), today)
        last = decide(policies, facts, on)
        found.append(_step("write", facts, before, stood(last)))
    while last.valid_until is not None and last.valid_until <= today:
        known = found[-1].after if found else before
        last = decide(policies, facts, last.valid_until)
        found.append(_step("time", facts, known, stood(last)))
    return found


def _step(cause: Cause, facts: Facts, before: Stood, after: Stood) -> Step:
    happened = (
        *_contracts(facts, before, after),
        *_tickets(facts, before, after),
        *_free_hours(before, after),
    )
    return Step(cause, before, after, happened)


def _contracts(facts: Facts, before: Stood, after: Stood) -> Iterator[Happened]:
    for contract in facts.contracts:
        was, is_ = before.contracts.get(contract.id), after.contracts.get(contract.id)
        if is_ and not was:
            yield Happened("contract.suspended", contract.id, None, _days(contract))
        elif was and is_ is False:
            yield Happened("contract.resumed", contract.id, None, _days(contract))
        elif (
            was is not None
            and is_ is None
            # A contract that was cancelled before its end does not expire.
            and contract.closes_on == contract.ends_on <= after.on
        ):
            on = _since(contract.ends_on, before)
            yield Happened("contract.expired", contract.id, on, _days(contract))


def _days(contract: Contract) -> dict[str, str | int]:
    return {
        "number": contract.number,
        "starts_on": contract.starts_on.isoformat(),
        "ends_on": contract.ends_on.isoformat(),
    }


def _tickets(facts: Facts, before: Stood, after: Stood) -> Iterator[Happened]:
    """Tickets that ended unused, or came back from a case after their end (R19)."""
    for pack in facts.packs:
        known = before.packs.get(pack.id)
        if known is None:
            continue
        for ends_on, unused in sorted(pack.unused_by_end.items()):
            if ends_on > after.on:
                break
            told = known.get(ends_on, 0) if ends_on <= before.on else 0
            if unused > told:
                data: dict[str, str | int] = {
                    "number": pack.number,
                    "quantity": unused - told,
                    "expired_on": ends_on.isoformat(),
                }
                yield Happened("tickets.expired", pack.id, _since(ends_on, before), data)


def _free_hours(before: Stood, after: Stood) -> Iterator[Happened]:
    was, is_ = before.year, after.year
    if was is not None and (is_ is None or is_[0] != was[0]):
        yield Happened("free_hours.ended", None, None, _year(was))
    if is_ is not None and (was is None or is_[0] != was[0]):
        yield Happened("free_hours.started", None, None, _year(is_))


def _year(year: tuple[date, date]) -> dict[str, str | int]:
    return {"starts_on": year[0].isoformat(), "ends_on": year[1].isoformat()}


def _since(day: date, before: Stood) -> date | None:
    """The day itself, unless it had passed already: then a write, as of the past, brought it."""
    return day if day > before.on else None
