"""R41 a second time, from its words alone: nothing of the service's program is used here.

What an allowance is comes from the answers of the interface (`Seen`); what is announced of it
follows from the published levels.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

SHARES = (75, 90, 100)
DAYS = {"contract": (60, 30, 7), "ticket_pack": (30, 7), "free_hours": (30, 7)}


class Seen(NamedTuple):
    """An allowance as the interface shows it on a day."""

    key: str
    kind: str
    lasts: bool
    """It has begun and has not ended."""
    stops_on: date | None
    """The day on which it stops paying for new cases, where it pays today."""
    covered: bool
    """Another one leaves no day uncovered."""
    granted: int
    taken: int
    overrun: int
    stands: bool = True
    """False for a service year that no purchase begins as things are known now (R40)."""


class Told(NamedTuple):
    key: str
    what: str
    level: int | None
    episode: int


@dataclass
class _Memory:
    episode: int = 1
    announced_shares: list[int] = field(default_factory=list)
    passed_shares: set[int] = field(default_factory=set)
    passed_days: set[int] = field(default_factory=set)
    overran: bool = False
    year: date | None = None
    """The first day of a service year that stood at the last look."""


class Model:
    """What one customer's allowances were announced as."""

    def __init__(self) -> None:
        self._memories: dict[str, _Memory] = {}

    def look(self, on: date, allowances: Iterable[Seen]) -> list[Told]:
        all_seen = list(allowances)
        self._move_years(all_seen)
        told: list[Told] = []
        for seen in all_seen:
            memory = self._memories.setdefault(seen.key, _Memory())
            if seen.lasts and seen.granted:
                told += _shares(seen, memory)
            if seen.stops_on is not None and on < seen.stops_on:
                told += _days(seen, memory, (seen.stops_on - on).days)
            if seen.overrun > 0 and not memory.overran:
                told.append(Told(seen.key, "overrun", None, memory.episode))
            memory.overran = seen.overrun > 0
            memory.year = _year(seen)
        # What is not shown any more was undone with the purchase that began it.
        self._memories = {seen.key: self._memories[seen.key] for seen in all_seen}
        return told

    def take_over(self, merged: "Model") -> None:
        """Go on with what was announced of a record that became part of this one (R49)."""
        self._memories = {**merged._memories, **self._memories}

    def _move_years(self, all_seen: list[Seen]) -> None:
        """A correction moves service years: what was announced of one stays announced (R40, R41).

        Each new year is the one of those gone that began nearest to it.
        """
        then = {one.year: key for key, one in self._memories.items() if one.year is not None}
        now = {year: seen.key for seen in all_seen if (year := _year(seen)) is not None}
        gone = sorted(then.keys() - now.keys())
        found: dict[str, _Memory] = {}
        for new in sorted(now.keys() - then.keys()):
            if gone:
                # Of two that are equally near the earlier one.
                nearest = min(gone, key=lambda old: abs(old - new))
                gone.remove(nearest)
                found[now[new]] = deepcopy(self._memories[then[nearest]])
        self._memories |= found


def _year(seen: Seen) -> date | None:
    stands = seen.kind == "free_hours" and seen.stands
    return date.fromisoformat(seen.key) if stands else None


def _shares(seen: Seen, memory: _Memory) -> Iterable[Told]:
    reached = {share for share in SHARES if seen.taken * 100 >= share * seen.granted}
    if memory.announced_shares and min(memory.announced_shares) not in reached:
        yield Told(seen.key, "recovered", None, memory.episode)
        memory.episode += 1
        memory.announced_shares = []
    if not memory.announced_shares:
        memory.passed_shares &= reached
    if new := reached - memory.passed_shares:
        yield Told(seen.key, "used", max(new), memory.episode)
        memory.announced_shares.append(max(new))
        if 100 in new:
            yield Told(seen.key, "exhausted", None, memory.episode)
    memory.passed_shares |= reached


def _days(seen: Seen, memory: _Memory, left: int) -> Iterable[Told]:
    standing = {days for days in DAYS[seen.kind] if left <= days}
    if memory.passed_days - standing:
        # The end moved away.
        memory.episode += 1
        memory.passed_days &= standing
    if seen.covered:
        return
    if standing - memory.passed_days and min(standing) not in memory.passed_days:
        yield Told(seen.key, "ending", min(standing), memory.episode)
    memory.passed_days |= standing
