"""The feed of events: publishing what was recorded, and reading on from a position."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from app.errors import CursorExpired
from app.services.feed_events import FeedType, UnknownEvent, entries, types_for
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, records
from app.store import feed
from app.store.database import Connection, Database
from app.store.feed import Published
from app.store.tables import customers

PUBLISHED_AT_ONCE = 500
"""Events of one publication: about 20 ms of work."""


async def publish(connection: Connection, now: datetime) -> bool:
    """Publish committed events, oldest first: True if there are more, False if none is left.

    The caller holds the feed's lock. Raises UnknownEvent where the next event is of a type that
    only a later release knows.
    """
    recorded = await feed.unpublished(connection, PUBLISHED_AT_ONCE)
    told: list[feed.Entry] = []
    taken: list[int] = []
    for event in recorded:
        try:
            told += entries(event)
        except UnknownEvent:
            # What was recorded before it is published; the next call stops here.
            if not taken:
                raise
            break
        taken.append(event.id)
    await feed.publish(connection, now, told, taken)
    return len(recorded) == PUBLISHED_AT_ONCE


class Cursor(NamedTuple):
    """A place in the feed: after a position, which belongs to an epoch."""

    epoch: str
    position: int


Place = Cursor | Literal["oldest", "now"]
"""Where to read on: after a cursor, from the oldest event that is kept, or from now on."""


class Wanted(NamedTuple):
    """What a reader wants to hear; None: everything."""

    types: Collection[FeedType] | None
    customer: str | None
    """Its id or code."""


class Page(NamedTuple):
    items: list[Published]
    extent: feed.Extent
    next: Cursor
    """Where to read on."""
    has_more: bool


async def page(work: UnitOfWork, wanted: Wanted, after: Place, limit: int) -> Page:
    """The events after a place, at most so many.

    A bound token's are its customer's, of the types whose resources its scopes read. Raises
    NotFound, and CursorExpired.
    """
    caller = work.caller
    own = caller.customer_id
    whose: Sequence[UUID] | None = None
    if wanted.customer is not None:
        whose = await records(work, (await find(work, customers, wanted.customer)).id)
    elif own is not None:
        whose = await records(work, own)
    types = wanted.types
    if own is not None:
        allowed = types_for(caller.scopes)
        types = allowed if types is None else [one for one in allowed if one in types]
    elif whose is not None and types is None:
        types = list(FeedType)
    if after == "now":
        extent = await feed.extent(work.connection)
        end = Cursor(extent.epochs[-1].name, extent.position)
        return Page([], extent, end, has_more=False)
    extent, found = await feed.page(
        work.connection,
        after.position if isinstance(after, Cursor) else 0,
        limit + 1,
        types=None if types is None else list(types),
        customers=whose,
        bound=own is not None,
    )
    if isinstance(after, Cursor):
        _check(after, extent)
    if len(found) > limit:
        last = found[limit - 1].position
        return Page(found[:limit], extent, Cursor(extent.epoch_of(last), last), has_more=True)
    end = Cursor(extent.epochs[-1].name, extent.position)
    return Page(found, extent, end, has_more=False)


def _check(after: Cursor, extent: feed.Extent) -> None:
    """Raises CursorExpired for a place whose next events are not all there any more.

    It says where to go on: as long as two epochs have the same events, nothing is missed.
    """
    names = [one.name for one in extent.epochs]
    position, missed = after.position, False
    if after.epoch not in names:
        # It began after the backup that was restored, and what it has in common with the others
        # is unknown.
        position, missed = extent.pruned_through, True
    else:
        for later in extent.epochs[names.index(after.epoch) + 1 :]:
            position = min(position, later.after_position)
    position = min(position, extent.position)
    if position < extent.pruned_through:
        position, missed = extent.pruned_through, True
    if missed or position != after.position:
        raise CursorExpired(Cursor(names[-1], position), missed=missed)


async def last_position(database: Database) -> int:
    """How far the feed is."""
    return await feed.last_position(database)
