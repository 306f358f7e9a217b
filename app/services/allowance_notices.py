"""What is kept of a customer's allowances, and what the feed tells of them (R41)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from app.policy.allowance_standings import AllowanceStanding
from app.policy.civil import civil_date, start_of_day
from app.policy.document import Policies
from app.policy.notices import (
    Announced,
    Notice,
    announce,
    moved_years,
    next_look,
    silently,
)
from app.services.feed_events import AllowanceEventData, FeedType
from app.store.allowance_standings import AllowanceRow, Owned
from app.store.feed import Entry
from app.store.standings import Kept

_NOTHING = Announced()


class Looked(NamedTuple):
    """What a look at a customer's allowances found."""

    changed: Owned
    """Rows that differ from those that are kept."""
    gone: list[tuple[UUID, str]]
    """Kept rows, by customer and key, that have to go."""
    entries: list[Entry]
    looks_at: datetime | None
    """The next instant at which time alone may announce one."""


def look(
    policies: Policies,
    customer: UUID,
    has: Sequence[AllowanceStanding],
    owned: Owned,
    known: Kept,
    now: datetime,
) -> Looked:
    """Compare a customer's allowances with the rows that are kept.

    `owned` has the rows of the records that were merged into it, too.
    """
    today = civil_date(now, policies.zone)
    policy = policies.in_force(today)
    sends = known.created or (known.row is not None and known.row.announces)
    kept = {row.key: row for id_, row in owned if id_ != customer}
    own = {row.key: row for id_, row in owned if id_ == customer}
    standings = {one.key: one for one in has}
    before = _announced({**kept, **own}, standings)
    at = _Instants(policies, known, now)
    changed: Owned = []
    entries: list[Entry] = []
    for key, one in standings.items():
        told, after = announce(policy, one, before.get(key, _NOTHING), today)
        if sends:
            entries += [_entry(customer, one, notice, today, at) for notice in told]
        else:
            after = silently(before.get(key, _NOTHING), after)
        row = AllowanceRow.of(one, None if after == _NOTHING else _stored(after))
        if row != own.get(key):
            changed.append((customer, row))
    gone = [(id_, row.key) for id_, row in owned if id_ != customer or row.key not in standings]
    return Looked(changed, gone, entries, looks_at(policies, has, today))


def looks_at(
    policies: Policies, standings: Iterable[AllowanceStanding], today: date
) -> datetime | None:
    """The next instant at which time alone may announce an allowance."""
    policy = policies.in_force(today)
    days = [day for one in standings if (day := next_look(policy, one, today))]
    return start_of_day(min(days), policies.zone) if days else None


def announced(row: AllowanceRow) -> Announced:
    """What was announced of an allowance."""
    if row.notices is None:
        return _NOTHING
    episode, ending, used, *rest = row.notices
    return Announced(episode, tuple(ending), tuple(used), *rest)


def _stored(one: Announced) -> list[object]:
    return [list(value) if isinstance(value, tuple) else value for value in one]


def _announced(
    kept: Mapping[str, AllowanceRow], standings: Mapping[str, AllowanceStanding]
) -> dict[str, Announced]:
    """What was announced of each allowance, those of a service year that moved included."""
    found = {key: announced(row) for key, row in kept.items()}
    begun = {key for key, one in standings.items() if one.kind == _YEAR and one.begun}
    known = {key for key, row in kept.items() if row.kind == _YEAR and row.begun}
    if known - begun:
        gone, new = ([*map(date.fromisoformat, keys)] for keys in (known - begun, begun - known))
        for after, before in moved_years(gone, new).items():
            found[after.isoformat()] = announced(kept[before.isoformat()])
    return found


_YEAR = "free_hours"


class _Instants(NamedTuple):
    policies: Policies
    known: Kept
    now: datetime

    def of(self, day: date | None, today: date) -> datetime:
        """When a notice came due: at the start of a day since the last look, or by a write."""
        row = self.known.row
        if day is not None and row is not None and row.evaluated_on < day <= today:
            return start_of_day(day, self.policies.zone)
        return self.known.last_at or self.now


def _entry(
    customer: UUID, one: AllowanceStanding, notice: Notice, today: date, instants: _Instants
) -> Entry:
    year = one.kind == _YEAR
    data: AllowanceEventData = {
        "allowance": {
            "kind": one.kind,
            "id": None if year else one.key,
            "number": one.number,
            "starts_on": one.starts_on.isoformat(),
            "ends_on": one.stops_on.isoformat(),
        },
        "episode": notice.episode,
        "granted": one.granted,
        "used": one.used,
        "held": one.held,
        "left": one.left_on(today),
        "overrun": one.overrun,
    }
    told = dict(data)
    if notice.kind is not None:
        told |= {"kind": notice.kind, "level": notice.level}
    at = instants.of(notice.on, today)
    return Entry(FeedType(notice.type), customer, None, customer, at, told)
