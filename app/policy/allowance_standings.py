"""Each allowance of a customer as it is stored beside the standing: what is left, and until when.

Only a write changes these values. Time alone adds an allowance, a new service year, but on a day on
which the answer changes too (R13): the job that stores standings looks at the customer then anyway.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import accumulate
from typing import NamedTuple

from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Pack, ServiceYear
from app.policy.usage import AllowanceKind
from app.policy.year_spans import YearSpan, year_spans


class AllowanceStanding(NamedTuple):
    """Minutes for free hours and contracts, tickets for packs."""

    key: str
    """As `Allowance.key`: the id of a contract or pack, the first day of a service year."""
    kind: AllowanceKind
    number: str | None
    starts_on: date
    ends_on: date
    """The first day on which what is left can no longer be used."""
    stops_on: date
    """The first day on which it pays for no new case: for free hours DEV's end, if that is sooner
    (R14); for others `ends_on`."""
    granted: int
    used: int
    held: int
    overrun: int
    cancelled: int
    begun: bool
    """False for a service year that no purchase begins (R40)."""
    ends: Mapping[date, int]
    """The unused tickets of a pack by their own ends (R19)."""
    renewed_by: str | None
    """The key of the allowance that leaves no day uncovered when this one stops (R41)."""

    @property
    def used_percent(self) -> int | None:
        """What cannot pay for a new case any more, of all that was not cancelled, rounded down.
        None for a pack whose tickets were all cancelled."""
        granted = self.granted - self.cancelled
        return (self.used + self.held) * 100 // granted if granted else None

    def left_on(self, on: date) -> int:
        """What can still pay on a date: nothing once it has ended."""
        if on >= self.ends_on:
            return 0
        lapsed = sum(unused for day, unused in self.ends.items() if day <= on)
        return max(self.granted - self.used - self.held - self.cancelled - lapsed, 0)


def allowance_standings(policies: Policies, facts: Facts, on: date) -> list[AllowanceStanding]:
    """Every allowance that a customer has had by a date, and contracts that begin later."""
    spans = year_spans(policies, facts)
    years = {starts_on: span for starts_on, span in spans.items() if span.pays_from <= on}
    found = [_service_year(span) for span in years.values()]
    found += [
        _undone(year) for starts_on, year in facts.service_years.items() if starts_on not in years
    ]
    found += _contracts(facts.contracts)
    found += _packs(facts.packs)
    return found


def _service_year(span: YearSpan) -> AllowanceStanding:
    next_ = span.followed_by
    return _hours(
        span.year, span.runs_until, span.pays_until, None if next_ is None else next_.isoformat()
    )


def _undone(year: ServiceYear) -> AllowanceStanding:
    return _hours(year, year.ends_on, year.ends_on, None)._replace(begun=False)


def _hours(
    year: ServiceYear, ends_on: date, stops_on: date, renewed_by: str | None
) -> AllowanceStanding:
    return AllowanceStanding(
        year.starts_on.isoformat(),
        "free_hours",
        None,
        year.starts_on,
        ends_on,
        stops_on,
        year.granted_minutes,
        year.used_minutes,
        0,
        year.overrun_minutes,
        0,
        True,
        {},
        renewed_by,
    )


def _contracts(contracts: Iterable[Contract]) -> Iterator[AllowanceStanding]:
    successors = _Successors((one.starts_on, one.closes_on, one.id) for one in contracts)
    for one in contracts:
        yield AllowanceStanding(
            one.id,
            "contract",
            one.number,
            one.starts_on,
            one.closes_on,
            one.closes_on,
            one.granted_minutes,
            one.used_minutes,
            0,
            one.overrun_minutes,
            0,
            True,
            {},
            successors.of(one.closes_on),
        )


def _packs(packs: Iterable[Pack]) -> Iterator[AllowanceStanding]:
    unused = {one.id: one.unused_by_end for one in packs}
    successors = _Successors(
        (one.purchased_on, max(unused[one.id]), one.id) for one in packs if unused[one.id]
    )
    for one in packs:
        yield AllowanceStanding(
            one.id,
            "ticket_pack",
            one.number,
            one.purchased_on,
            one.ends_on,
            one.ends_on,
            one.quantity,
            one.consumed,
            one.held,
            0,
            one.cancelled,
            True,
            unused[one.id],
            successors.of(one.ends_on),
        )


class _Successors:
    """Allowances of one kind, by first day and end: which one goes on when another ends."""

    def __init__(self, allowances: Iterable[tuple[date, date, str]]) -> None:
        by_start = sorted(allowances)
        self._starts = [starts_on for starts_on, _, _ in by_start]
        self._last = list(accumulate(((end, key) for _, end, key in by_start), max))

    def of(self, ends_on: date) -> str | None:
        """The key of the one that has begun by then and ends last, if it ends later."""
        begun = bisect_right(self._starts, ends_on)
        if not begun or self._last[begun - 1][0] <= ends_on:
            return None
        return self._last[begun - 1][1]
