"""The feed: events in the order of their publication. Why it is a table of its own:
DECISION-feed.md.

One transaction at a time publishes. It gives the events that were committed since the last one the
next positions, so that none ever appears before a position that was read.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database
from app.store.raw_reads import prepare

CLUSTER = """(SELECT format('%s/%s/%s', c.system_identifier,
        left(pg_walfile_name(pg_current_wal_lsn()), 8),
        (SELECT oid FROM pg_database WHERE datname = current_database()))
    FROM pg_control_system() c)"""
"""SQL: which database this is. A restored one differs, and so does one after a promotion, which
begins a new timeline."""

# "feed" in ASCII.
_LOCK = text("SELECT pg_try_advisory_xact_lock(1717920100)")
_WAIT_FOR_LOCK = text("SELECT pg_advisory_xact_lock(1717920100)")
_STATE = text(f"""
    SELECT s.position, s.pruned_through, e.number, e.cluster, {CLUSTER} AS cluster_now
    FROM feed_state s CROSS JOIN LATERAL (
        SELECT number, cluster FROM feed_epochs ORDER BY number DESC LIMIT 1) e""")
_ADOPT = text("UPDATE feed_epochs SET cluster = :cluster WHERE number = :number")
_BEGIN_EPOCH = text("""
    INSERT INTO feed_epochs (number, name, after_position, cluster)
    VALUES (:number, substr(md5(gen_random_uuid()::text), 1, 8), :position, :cluster)""")
UNPUBLISHED = text("""
    SELECT e.id, e.type, e.customer_id, e.case_id, e.subject_id, e.occurred_at, e.data::text AS data
    FROM unpublished_events u JOIN events e ON e.id = u.event_id
    ORDER BY u.event_id LIMIT :most""")
TAKE = text("DELETE FROM unpublished_events WHERE event_id = ANY(CAST(:ids AS bigint[]))")
_APPEND = text("""
    INSERT INTO feed (position, type, customer_id, case_id, subject_id, occurred_at, data)
    SELECT :first + n - 1, type, customer_id, case_id, subject_id, occurred_at, CAST(data AS json)
    FROM unnest(CAST(:types AS text[]), CAST(:customers AS uuid[]), CAST(:cases AS uuid[]),
        CAST(:subjects AS uuid[]), CAST(:instants AS timestamptz[]), CAST(:data AS text[]))
        WITH ORDINALITY AS t (type, customer_id, case_id, subject_id, occurred_at, data, n)""")
_ADVANCE = text("UPDATE feed_state SET position = :position")
_WAITING = prepare(text("SELECT EXISTS (SELECT FROM unpublished_events) AS waiting"))
# An array, because a generic plan joins the result of IN (SELECT …) with the whole feed.
PRUNE = text("""
    DELETE FROM feed WHERE position = ANY(ARRAY(
        SELECT position FROM feed WHERE position <= :through ORDER BY position LIMIT :most))
    RETURNING position""")
_PRUNED = text("UPDATE feed_state SET pruned_through = greatest(pruned_through, :through)")
_POSITION = text("SELECT position FROM feed_state")
_LAST = prepare(_POSITION)
_EXTENT = """
    SELECT s.position, s.pruned_through, (
        SELECT json_agg(json_build_array(e.name, e.after_position) ORDER BY e.number)
        FROM feed_epochs e)::text AS epochs
    FROM feed_state s"""
_EXTENT_ALONE = text(_EXTENT)


class Audited(NamedTuple):
    """An event as it was recorded, with everything that people wrote."""

    id: int
    type: str
    customer_id: UUID | None
    case_id: UUID | None
    subject_id: UUID | None
    occurred_at: datetime
    data: dict[str, Any]


class Entry(NamedTuple):
    """What the feed tells of an event; `data` has no text that a person wrote."""

    type: str
    customer_id: UUID | None
    case_id: UUID | None
    subject_id: UUID | None
    occurred_at: datetime
    data: Any


class Published(NamedTuple):
    """An entry as it stands in the feed; `data` is JSON text."""

    position: int
    type: str
    customer_id: UUID | None
    subject_id: UUID | None
    occurred_at: datetime
    data: str


class Epoch(NamedTuple):
    name: str
    after_position: int
    """The last position before it."""


class Extent(NamedTuple):
    """Where the feed ends and begins."""

    position: int
    pruned_through: int
    epochs: Sequence[Epoch]
    """Oldest first."""

    def epoch_of(self, position: int) -> str:
        """The name of the epoch in which a position was given."""
        return next(
            (one.name for one in reversed(self.epochs) if position > one.after_position),
            self.epochs[0].name,
        )

    def id_of(self, position: int) -> str:
        """The id of the event at a position, which is unique although a restored database gives
        positions a second time."""
        return f"{self.epoch_of(position)}-{position}"


async def lock(connection: AsyncConnection) -> bool:
    """Become the one transaction that publishes; False if another one does. It never waits.

    If the database is not the one that published last, a new epoch begins.
    """
    if not await connection.scalar(_LOCK):
        return False
    await follow_cluster(connection)
    return True


async def follow_cluster(connection: AsyncConnection) -> bool:
    """Begin a new epoch if the database was restored or promoted since the last publication.

    The caller holds the lock. Returns whether a new epoch begins.
    """
    state = (await connection.execute(_STATE)).one()
    if state.cluster == state.cluster_now:
        return False
    if state.cluster is None:
        values = {"number": state.number, "cluster": state.cluster_now}
        await connection.execute(_ADOPT, values)
        return False
    await _begin_epoch(connection, state)
    return True


async def begin_epoch(connection: AsyncConnection) -> Extent:
    """Begin a new epoch in any case, once nobody publishes. The caller is in a transaction.

    For a database that was restored into itself, which `follow_cluster` cannot tell.
    """
    await connection.execute(_WAIT_FOR_LOCK)
    await _begin_epoch(connection, (await connection.execute(_STATE)).one())
    return await extent(connection)


async def _begin_epoch(connection: AsyncConnection, state: Row[Any]) -> None:
    values = {
        "number": state.number + 1,
        "position": state.position,
        "cluster": state.cluster_now,
    }
    await connection.execute(_BEGIN_EPOCH, values)


async def is_current(connection: AsyncConnection) -> bool:
    """Whether the present epoch is that of this database and ends the feed."""
    state = (await connection.execute(_STATE)).one()
    epochs = (await extent(connection)).epochs
    return bool(state.position >= epochs[-1].after_position and state.cluster == state.cluster_now)


async def last_position(database: Database) -> int:
    """The last position of the feed, read outside of any transaction."""
    (row,) = await database.raw.fetch(_LAST, {})
    last: int = row.position
    return last


async def position(connection: AsyncConnection) -> int:
    """The last position of the feed."""
    return int(await connection.scalar(_POSITION))


async def extent(connection: AsyncConnection) -> Extent:
    return _extent(*(await connection.execute(_EXTENT_ALONE)).one())


def _extent(position: int, pruned_through: int, epochs: str) -> Extent:
    return Extent(position, pruned_through, [Epoch(*one) for one in orjson.loads(epochs)])


async def unpublished(connection: AsyncConnection, most: int) -> list[Audited]:
    """Committed events that the feed does not have, in the order in which they were recorded.

    Of one customer those are in the order of their commits, because a writer draws an event's
    number under the customer's lock.
    """
    rows = await connection.execute(UNPUBLISHED, {"most": most})
    return [Audited(*row)._replace(data=orjson.loads(row.data)) for row in rows]


async def publish(
    connection: AsyncConnection, now: datetime, entries: Sequence[Entry], taken: Sequence[int] = ()
) -> int:
    """Append entries to the feed: the last position. The caller holds the lock.

    `taken` are the events that need not be published any more.
    """
    if taken:
        await connection.execute(TAKE, {"ids": taken})
    last = await position(connection)
    if not entries:
        return last
    first = max(last + 1, instant_position(now))
    columns = list(zip(*entries, strict=True))
    names = ("types", "customers", "cases", "subjects", "instants")
    values: dict[str, Any] = dict(zip(names, map(list, columns[:5]), strict=True))
    values["data"] = [orjson.dumps(one).decode() for one in columns[5]]
    await connection.execute(_APPEND, {"first": first, **values})
    last = first + len(entries) - 1
    await connection.execute(_ADVANCE, {"position": last})
    return last


def instant_position(at: datetime) -> int:
    """The first position that an entry published at an instant may get: microseconds since 1970."""
    return int(at.timestamp() * 1_000_000)


def position_instant(position: int) -> datetime:
    """The instant of which a position is the first."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=position)


async def is_waiting(database: Database) -> bool:
    """Whether there are committed events that the feed does not have."""
    (row,) = await database.raw.fetch(_WAITING, {})
    return bool(row.waiting)


async def prune(connection: AsyncConnection, before: datetime, most: int) -> bool:
    """Delete the entries that were published before an instant; False if there may be more."""
    through = instant_position(before) - 1
    deleted = (await connection.execute(PRUNE, {"through": through, "most": most})).scalars().all()
    if deleted:
        await connection.execute(_PRUNED, {"through": max(deleted)})
    return len(deleted) < most


_KEYS = {"customer": "uuid", "type": "text"}
_COLUMNS = {"customer": "customer_id", "type": "type"}
# For a bound token a case that was moved away never was its customer's (R38, R47). A scalar
# subquery reads each case by its key; NOT EXISTS may read the whole table into a hash.
_STAYS = " AND (SELECT k.moved_to FROM cases k WHERE k.id = f.case_id) IS NULL"


def _page(by: str | None, *, bound: bool) -> str:
    """SQL of a page and of the extent; `by` is "customer", "type" or None for all.

    One statement reads both, so that they are of one instant: nothing is pruned in between, and
    the epoch of every entry is known.
    """
    conditions = _STAYS if bound else ""
    if by == "customer":
        conditions += " AND f.type = ANY(CAST(:types AS text[]))"
    shown = f"""SELECT f.position, f.type, f.customer_id, f.subject_id, f.occurred_at,
            f.data::text AS data
        FROM feed f WHERE {{within}}{conditions} ORDER BY {{order}} LIMIT :most"""
    if by is None:
        within = "f.position > :after AND f.position <= e.position"
        entries = shown.format(within=within, order="f.position")
    else:
        # Each customer, or type, by its own index from the cursor on. Rows are compared because
        # with an equation the planner may walk along all positions instead, and find a rare type
        # at the end.
        column = f"f.{_COLUMNS[by]}"
        within = f"""({column}, f.position) > (k.key, :after)
            AND ({column}, f.position) <= (k.key, e.position)"""
        each = shown.format(within=within, order=f"{column}, f.position")
        entries = f"""SELECT f.* FROM unnest(CAST(:{by}s AS {_KEYS[by]}[])) k (key)
            CROSS JOIN LATERAL ({each}) f ORDER BY f.position LIMIT :most"""
    return f"""WITH e AS MATERIALIZED ({_EXTENT})
        SELECT e.position AS last, e.pruned_through, e.epochs, p.*
        FROM e LEFT JOIN LATERAL ({entries}) p ON true ORDER BY p.position"""


_PAGES = {
    (by, bound): text(_page(by, bound=bound))
    for by in (None, "customer", "type")
    for bound in (False, True)
}


async def page(
    connection: AsyncConnection,
    after: int,
    most: int,
    *,
    types: Sequence[str] | None,
    customers: Sequence[UUID] | None,
    bound: bool,
) -> tuple[Extent, list[Published]]:
    """The entries after a position, at most so many: of some types, of some customers, or all.

    Before them the extent at the same instant. `customers` needs `types`. `bound` leaves out what a
    bound token does not see of a moved case.
    """
    by = "type" if types is not None else None
    if customers is not None:
        by = "customer"
    parameters = {
        "after": after,
        "most": most,
        "types": None if types is None else list(types),
        "customers": None if customers is None else list(customers),
    }
    rows = (await connection.execute(_PAGES[by, bound], parameters)).all()
    # Without entries there is one row, with the extent alone.
    return _extent(*rows[0][:3]), [Published(*row[3:]) for row in rows if row[3] is not None]
