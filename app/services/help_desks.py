"""Closures of help desks: days on which a desk is closed or keeps other hours (R48)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Literal, TypedDict
from uuid import UUID

from sqlalchemy import Row, Select, delete, func, insert, select

from app.errors import NotFound, invalid, out_of_range
from app.ids import new_id
from app.policy.civil import Closures
from app.policy.document import Policies, PolicyError
from app.services.unit_of_work import UnitOfWork
from app.store import closures
from app.store.event_types import ClosureChanged, EventType
from app.store.keyset import Listing
from app.store.tables import help_desk_closures as table

_SHORTEST, LONGEST = timedelta(seconds=1), timedelta(days=366)
_FARTHEST = timedelta(days=3 * 366)
MOST_STANDING = 100
"""Closures of a desk that have not ended. Every answer that shows the desk reads them all with its
facts: at this number up to 75 KB of JSON. The first answer after a change takes up to 30 ms of
processor time to search them, the next ones less than 0.1 ms."""
MOST_OVERLAPPING = 10
"""Closures of a desk at any one instant. Each change of the set has its hours intersected anew."""


def check_default(desk: str | None, policies: Policies) -> None:
    """Raise PolicyError if the policy has no help desk of the name in ASSISTENZA_DEFAULT_DESK."""
    if desk and desk not in policies.desk_ids:
        desks = ", ".join(sorted(policies.desk_ids))
        raise PolicyError(
            f"ASSISTENZA_DEFAULT_DESK: unknown help desk {desk!r}. There are: {desks}"
        )


class OpeningHours(TypedDict):
    """`HH:MM`, by the desk's clock."""

    opens: str
    closes: str


async def standing(work: UnitOfWork, at: datetime) -> Closures:
    """Every desk's closures that end after an instant: what its state depends on."""
    return await closures.read(work.connection, at)


def search(work: UnitOfWork, desk: str) -> Listing:
    """The closures of a desk, also those that have ended, in the order of their start.

    Raises NotFound for an unknown desk.
    """
    return Listing(f"closures {desk}", _of(work, desk), (table.c.starts_at, table.c.id))


async def read(work: UnitOfWork, desk: str, closure_id: UUID) -> Row[Any]:
    """One closure. Raises NotFound."""
    query = _of(work, desk).where(table.c.id == closure_id)
    row: Row[Any] | None = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    return row


async def close(
    work: UnitOfWork,
    desk: str,
    *,
    starts_at: datetime,
    ends_at: datetime,
    hours: Sequence[OpeningHours] | None,
    reason: Mapping[str, str],
) -> Row[Any]:
    """Close a desk for a period, or let it keep other hours: on its working days in the period it
    is open during `hours` alone, by its own clock.

    Raises NotFound for an unknown desk, InvalidInput.
    """
    _check(work, desk)
    if ends_at <= starts_at:
        raise invalid("/ends_at", "wrong_order")
    if ends_at - starts_at > LONGEST:
        raise out_of_range("/ends_at", starts_at + _SHORTEST, starts_at + LONGEST)
    if abs(starts_at - work.now) > _FARTHEST:
        raise out_of_range("/starts_at", work.now - _FARTHEST, work.now + _FARTHEST)
    for place, (before, after) in enumerate(zip(hours or (), (hours or ())[1:], strict=False), 1):
        if after["opens"] < before["closes"]:
            raise invalid(f"/hours/{place}/opens", "wrong_order")
    for place, one in enumerate(hours or ()):
        if one["closes"] <= one["opens"]:
            raise invalid(f"/hours/{place}/closes", "wrong_order")
    # One after the other, so that two at once cannot pass the limit.
    await work.connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(table.name))))
    still = select(func.count()).where(table.c.help_desk == desk, table.c.ends_at > work.now)
    standing_now = (await work.connection.execute(still)).scalar_one()
    if ends_at > work.now and standing_now >= MOST_STANDING:
        raise invalid("", "too_many", limit=MOST_STANDING)
    await _check_overlap(work, desk, starts_at, ends_at)
    values = {
        "id": new_id(),
        "help_desk": desk,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "hours": None if hours is None else list(hours),
        "reason": dict(reason),
        "created_at": work.now,
    }
    made = await work.connection.execute(insert(table).values(values).returning(*table.c))
    row = made.one()
    await _record(work, row, "added")
    return row


async def reopen(
    work: UnitOfWork, desk: str, closure_id: UUID, precondition: Callable[[Row[Any]], None]
) -> None:
    """Remove a closure, as if it had never been. Raises NotFound, and as `precondition`."""
    _check(work, desk)
    found = await work.connection.execute(
        _of(work, desk).where(table.c.id == closure_id).with_for_update()
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound
    precondition(row)
    await work.connection.execute(delete(table).where(table.c.id == closure_id))
    await _record(work, row, "removed")


def _check(work: UnitOfWork, desk: str) -> None:
    if desk not in work.policies.desk_ids:
        raise NotFound


async def _check_overlap(
    work: UnitOfWork, desk: str, starts_at: datetime, ends_at: datetime
) -> None:
    """Raises InvalidInput if one closure more in this period would be too many at some instant."""
    query = select(table.c.starts_at, table.c.ends_at).where(
        table.c.help_desk == desk, table.c.starts_at < ends_at, table.c.ends_at > starts_at
    )
    changes: list[tuple[datetime, int]] = []
    for one in await work.connection.execute(query):
        changes += [(max(one.starts_at, starts_at), 1), (one.ends_at, -1)]
    # At the same instant an end sorts before a start: periods are half-open.
    at_once = max(accumulate(step for _, step in sorted(changes)), default=0)
    if at_once >= MOST_OVERLAPPING:
        raise invalid("", "too_many_overlapping", limit=MOST_OVERLAPPING)


def _of(work: UnitOfWork, desk: str) -> Select[Any]:
    _check(work, desk)
    return select(table).where(table.c.help_desk == desk)


async def _record(work: UnitOfWork, row: Row[Any], change: Literal["added", "removed"]) -> None:
    data: ClosureChanged = {
        "help_desk": row.help_desk,
        "closure_id": str(row.id),
        "change": change,
        "starts_at": row.starts_at.isoformat().replace("+00:00", "Z"),
        "ends_at": row.ends_at.isoformat().replace("+00:00", "Z"),
        "hours": row.hours,
    }
    await work.record(
        EventType.HELP_DESK_CLOSURE_CHANGED, data, customer_id=None, subject_id=row.id
    )
