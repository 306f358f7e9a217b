"""The standings as they are stored: who has to be looked at, and writing many at once.

Only the transaction that holds the lock of `store.feed` writes them, so that no two do.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store import allowance_standings
from app.store.database import Database
from app.store.facts import FACTS_NOW
from app.store.feed import instant_position
from app.store.raw_reads import prepare

_DUE = prepare(
    text("""
    SELECT f.position > s.followed OR s.walking OR EXISTS (
        SELECT FROM standings WHERE valid_until <= :now) OR EXISTS (
        SELECT FROM standings WHERE looks_at <= :now) AS due, s.policies
    FROM feed_state f CROSS JOIN standing_state s""")
)
# A position is the microsecond at which it was given.
_WAITING_SINCE = prepare(
    text("""
    SELECT (SELECT e.occurred_at FROM unpublished_events u JOIN events e ON e.id = u.event_id
            ORDER BY u.event_id LIMIT 1) AS unpublished,
        least((SELECT to_timestamp(f.position / 1000000.0) FROM feed f
                WHERE f.position > s.followed ORDER BY f.position LIMIT 1),
            (SELECT min(valid_until) FROM standings WHERE valid_until <= :now),
            (SELECT min(looks_at) FROM standings WHERE looks_at <= :now)) AS unfollowed
    FROM standing_state s""")
)
_STATE = text("""
    SELECT s.followed, s.walking, s.walked_through, s.policies, f.position, f.pruned_through
    FROM feed_state f CROSS JOIN standing_state s""")
_SET_STATE = text("""
    UPDATE standing_state SET followed = :followed, walking = :walking,
        walked_through = :walked_through, policies = :policies""")
# The customer is null where an entry changes no standing, or where the standing knows it already.
# Where many stand in a row that change none, all of these but the last are passed over.
_ENTRIES = text("""
    SELECT f.position, CASE WHEN f.related AND (s.position IS NULL OR s.position < f.position)
            THEN f.customer_id END AS customer, f.block = :block AS more
    FROM (SELECT *
        FROM (SELECT position, customer_id, type <> ALL (CAST(:unrelated AS text[])) AS related,
                count(*) OVER () AS block, max(position) OVER () AS last
            FROM (SELECT position, type, customer_id FROM feed
                WHERE position > :followed ORDER BY position LIMIT :block) f) f
        WHERE related OR position = last ORDER BY position LIMIT :most) f
    LEFT JOIN standings s ON f.related AND s.customer_id = f.customer_id
    ORDER BY f.position""")
_PASSED = text("""
    SELECT customer_id FROM (
        (SELECT customer_id, valid_until AS due_at FROM standings WHERE valid_until <= :now
            ORDER BY valid_until LIMIT :most)
        UNION ALL
        (SELECT customer_id, looks_at FROM standings WHERE looks_at <= :now
            ORDER BY looks_at LIMIT :most)) due
    GROUP BY customer_id ORDER BY min(due_at) LIMIT :most""")
_WALK = text("""
    SELECT id FROM customers WHERE id > coalesce(:after, CAST(:first AS uuid))
    ORDER BY id LIMIT :most""")
# With those of the records that were merged into it, which have to go.
_ALLOWANCES = f"""(SELECT {allowance_standings.ROWS} FROM allowance_standings a
        WHERE a.customer_id = ANY (c.id || ARRAY(
            SELECT m.customer_id FROM merged_customers m WHERE m.survivor_id = c.id)))"""
# During the walk of an upgraded database the table of allowances fills from nothing. A plan made
# while it was empty reads all of it for each customer.
_BY_INDEX = text("SET LOCAL enable_seqscan = off")
_FACTS = text(f"""
    SELECT c.id, c.merged_at IS NOT NULL AS merged, {FACTS_NOW}, {_ALLOWANCES} AS allowances
    FROM customers c WHERE c.id = ANY (CAST(:ids AS uuid[]))""")
_KEPT = text("""
    SELECT k.id, s.evaluated_on, n.columns, n.services, s.valid_until, s.changed_at,
        s.detail::text AS detail, s.looks_at, s.announces, w.first_at, w.last_at,
        coalesce(w.created, false) AS created
    FROM unnest(CAST(:ids AS uuid[])) k (id)
    LEFT JOIN standings s ON s.customer_id = k.id
    LEFT JOIN standing_kinds n ON n.id = s.kind_id
    CROSS JOIN LATERAL (
        SELECT min(f.occurred_at) AS first_at, max(f.occurred_at) AS last_at,
            bool_or(f.type = 'customer.created') AS created
        FROM feed f
        WHERE f.customer_id = k.id AND f.position > coalesce(s.position, :followed)
            AND f.type <> ALL (CAST(:unrelated AS text[]))) w""")
_WRITE = text("""
    INSERT INTO standings (customer_id, position, evaluated_on, kind_id, valid_until, changed_at,
        detail, looks_at, announces)
    SELECT customer_id, :position, evaluated_on, kind_id, valid_until, changed_at,
        CAST(detail AS json), looks_at, true
    FROM unnest(CAST(:customers AS uuid[]), CAST(:days AS date[]), CAST(:kinds AS bigint[]),
        CAST(:until AS timestamptz[]), CAST(:changed AS timestamptz[]), CAST(:details AS text[]),
        CAST(:looks AS timestamptz[]))
        AS t (customer_id, evaluated_on, kind_id, valid_until, changed_at, detail, looks_at)
    ON CONFLICT (customer_id) DO UPDATE SET position = excluded.position,
        evaluated_on = excluded.evaluated_on, kind_id = excluded.kind_id,
        valid_until = excluded.valid_until, changed_at = excluded.changed_at,
        detail = excluded.detail, looks_at = excluded.looks_at, announces = true""")
_DELETE = text("DELETE FROM standings WHERE customer_id = ANY (CAST(:ids AS uuid[]))")
_COUNT = text("""
    INSERT INTO standing_kinds AS k (id, columns, services, customers)
    SELECT id, CAST(columns AS text[]), CAST(services AS text[]), customers
    FROM unnest(CAST(:ids AS bigint[]), CAST(:columns AS text[]), CAST(:services AS text[]),
        CAST(:counts AS bigint[])) AS t (id, columns, services, customers)
    ON CONFLICT (id) DO UPDATE SET customers = k.customers + excluded.customers""")
_COUNTS = text("SELECT columns, services, customers FROM standing_kinds WHERE customers > 0")
_COUNTS_OF = text("""
    SELECT k.columns, k.services, 1 AS customers
    FROM standings s JOIN standing_kinds k ON k.id = s.kind_id WHERE s.customer_id = :id""")
# What is to be added to the counts of now for those of an instant: of every change since, what was
# before it, less what came of it. Records that were merged are part of their survivor throughout.
_SINCE = """f.position >= :position AND f.occurred_at > :at
        AND (CAST(:customer AS uuid) IS NULL OR f.customer_id = :customer)
        AND (SELECT m.survivor_id FROM merged_customers m WHERE m.customer_id = f.customer_id)
            IS NULL"""
_UNDONE = text(f"""
    SELECT one.columns, one.services, sum(one.customers) AS customers
    FROM feed f CROSS JOIN LATERAL (VALUES
        (f.data->'before'->>'columns', f.data->'before'->>'services', 1),
        (f.data->'after'->>'columns', f.data->'after'->>'services', -1))
        one (columns, services, customers)
    WHERE f.type = 'entitlements.changed' AND {_SINCE} GROUP BY 1, 2""")
_CREATED = text(f"""
    SELECT CAST(f.occurred_at AT TIME ZONE :zone AS date) AS on, count(*) AS customers
    FROM feed f WHERE f.type = 'customer.created' AND {_SINCE} GROUP BY 1""")
_OLDEST = text("SELECT min(position) FROM feed")
# Customers of whom nothing is on its way: all that is committed was published and followed.
_SETTLED = text(f"""
    SELECT c.id, c.code, {FACTS_NOW}, s.evaluated_on, n.columns, n.services, s.valid_until,
        s.changed_at, s.detail::text AS detail,
        s.looks_at, s.announces, {_ALLOWANCES} AS allowances
    FROM customers c
    LEFT JOIN standings s ON s.customer_id = c.id
    LEFT JOIN standing_kinds n ON n.id = s.kind_id
    WHERE c.merged_at IS NULL AND (s.valid_until IS NULL OR s.valid_until > :now)
        AND (s.looks_at IS NULL OR s.looks_at > :now)
        AND NOT EXISTS (SELECT FROM unpublished_events u JOIN events e ON e.id = u.event_id
            WHERE e.customer_id = c.id)
        AND NOT EXISTS (SELECT FROM feed f WHERE f.customer_id = c.id
            AND f.position > coalesce(s.position, :followed)
            AND f.type <> ALL (CAST(:unrelated AS text[])))""")
_WRONG_COUNTS = text("""
    SELECT array_to_string(n.columns, '+') AS columns, n.customers, count(s.customer_id) AS counted
    FROM standing_kinds n LEFT JOIN standings s ON s.kind_id = n.id
    GROUP BY n.id HAVING n.customers <> count(s.customer_id)""")
_FIRST_ID = UUID(int=0)


class State(NamedTuple):
    """How far the standings have come."""

    followed: int
    """The position of the feed up to which every entry was looked at."""
    walking: bool
    walked_through: UUID | None
    policies: str
    position: int
    """The last position of the feed."""
    pruned_through: int


class Candidate(NamedTuple):
    id: UUID
    merged: bool
    document: str
    """The facts of now, as JSON text (`store.facts.parse`)."""
    allowances: str | None
    """What is kept of its allowances, as JSON text (`allowance_standings.rows`)."""


class Row(NamedTuple):
    """A standing as it is stored."""

    evaluated_on: date
    columns: tuple[str, ...]
    services: tuple[str, ...]
    valid_until: datetime | None
    changed_at: datetime | None
    detail: Any
    looks_at: datetime | None = None
    """When time alone makes an allowance reach the next level of its notices (R41)."""
    announces: bool = True
    """Whether its allowances were looked at before; a row that is written says so."""


class Kept(NamedTuple):
    """What is known of a customer whose facts are looked at."""

    row: Row | None
    first_at: datetime | None
    """When the first write was made that the row does not stand for."""
    last_at: datetime | None
    created: bool
    """Whether the customer's creation is among these writes."""


class Settled(NamedTuple):
    """A customer of whom nothing is on its way to its standing."""

    code: str
    document: str
    """The facts of now, as JSON text (`store.facts.parse`)."""
    row: Row | None
    allowances: allowance_standings.Owned


async def settled(
    connection: AsyncConnection, now: datetime, followed: int, unrelated: Sequence[str]
) -> AsyncIterator[Settled]:
    """Every customer whose standing has to be right, one after the other."""
    values = {"now": now, "followed": followed, "unrelated": list(unrelated)}
    async with connection.stream(_SETTLED, values) as rows:
        async for one in rows:
            allowances = allowance_standings.rows(one.allowances)
            yield Settled(one.code, one.facts, _stored(one), allowances)


async def wrong_counts(connection: AsyncConnection) -> list[tuple[str, int, int]]:
    """Columns, stored and real number of customers of each combination that is counted wrongly."""
    rows = await connection.execute(_WRONG_COUNTS)
    return [(row.columns, row.customers, row.counted) for row in rows]


async def due(database: Database, now: datetime) -> tuple[bool, str]:
    """Whether there is something to do, and the fingerprint of the policy that was applied."""
    (row,) = await database.raw.fetch(_DUE, {"now": now})
    return bool(row.due), row.policies


class Lag(NamedTuple):
    """For how many seconds the oldest has been waiting; 0 if nothing waits."""

    feed: float
    """An event, to be published."""
    standing: float
    """An entry of the feed, or the end of an answer, to be followed."""


async def lag(database: Database, now: datetime) -> Lag:
    (row,) = await database.raw.fetch(_WAITING_SINCE, {"now": now})
    return Lag(*(0.0 if at is None else max((now - at).total_seconds(), 0.0) for at in row))


async def state(connection: AsyncConnection) -> State:
    return State(*(await connection.execute(_STATE)).one())


async def set_state(connection: AsyncConnection, state: State) -> None:
    await connection.execute(_SET_STATE, state._asdict())


async def entries(
    connection: AsyncConnection, followed: int, unrelated: Sequence[str], block: int, most: int
) -> tuple[list[tuple[int, UUID | None]], bool]:
    """The next entries of the feed: position, and the customer whose standing they may change.

    Of `block` entries at most `most`, the last one among them if it may change none. Also whether
    there may be more entries after these.
    """
    values = {"followed": followed, "unrelated": list(unrelated), "block": block, "most": most}
    rows = (await connection.execute(_ENTRIES, values)).all()
    more = bool(rows) and (rows[0].more or len(rows) == most)
    return [(row.position, row.customer) for row in rows], more


async def passed(connection: AsyncConnection, now: datetime, most: int) -> Sequence[UUID]:
    """Customers whose standing holds no more."""
    return (await connection.execute(_PASSED, {"now": now, "most": most})).scalars().all()


async def walk(connection: AsyncConnection, after: UUID | None, most: int) -> Sequence[UUID]:
    """The next customers by their ids."""
    values = {"after": after, "first": _FIRST_ID, "most": most}
    return (await connection.execute(_WALK, values)).scalars().all()


async def facts(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Candidate]:
    """The facts of customers, all from one snapshot."""
    await connection.execute(_BY_INDEX)
    return [Candidate(*row) for row in await connection.execute(_FACTS, {"ids": list(ids)})]


def _stored(one: Any) -> Row | None:
    if one.evaluated_on is None:
        return None
    columns, services = tuple(one.columns), tuple(one.services)
    detail = orjson.loads(one.detail)
    return Row(
        one.evaluated_on,
        columns,
        services,
        one.valid_until,
        one.changed_at,
        detail,
        one.looks_at,
        one.announces,
    )


async def kept(
    connection: AsyncConnection, ids: Sequence[UUID], followed: int, unrelated: Sequence[str]
) -> dict[UUID, Kept]:
    """The rows of customers, and what the feed tells of their writes since."""
    values = {"ids": list(ids), "followed": followed, "unrelated": list(unrelated)}
    return {
        one.id: Kept(_stored(one), one.first_at, one.last_at, one.created)
        for one in await connection.execute(_KEPT, values)
    }


async def write(
    connection: AsyncConnection,
    position: int,
    rows: Mapping[UUID, Row],
    deleted: Iterable[UUID],
    counted: Mapping[tuple[tuple[str, ...], tuple[str, ...]], int],
) -> None:
    """Store standings that stand for a position, and change the counts by `counted`."""
    if changed := {key: count for key, count in counted.items() if count}:
        counts = {
            "ids": [_kind(*key) for key in changed],
            "columns": [_array(columns) for columns, _ in changed],
            "services": [_array(services) for _, services in changed],
            "counts": list(changed.values()),
        }
        await connection.execute(_COUNT, counts)
    if rows:
        values = {
            "position": position,
            "customers": list(rows),
            "days": [row.evaluated_on for row in rows.values()],
            "kinds": [_kind(row.columns, row.services) for row in rows.values()],
            "until": [row.valid_until for row in rows.values()],
            "changed": [row.changed_at for row in rows.values()],
            "looks": [row.looks_at for row in rows.values()],
            "details": [orjson.dumps(row.detail).decode() for row in rows.values()],
        }
        await connection.execute(_WRITE, values)
    if gone := list(deleted):
        await connection.execute(_DELETE, {"ids": gone})


async def counts(
    connection: AsyncConnection, customer_id: UUID | None
) -> list[tuple[list[str], list[str], int]]:
    """Columns, services, and how many customers have just these; of all, or of one customer."""
    if customer_id is None:
        found = await connection.execute(_COUNTS)
    else:
        found = await connection.execute(_COUNTS_OF, {"id": customer_id})
    return [(row.columns, row.services, row.customers) for row in found]


async def changed_since(
    connection: AsyncConnection, at: datetime, customer_id: UUID | None
) -> list[tuple[list[str], list[str], int]]:
    """What to add to `counts` for those of a past instant, new customers apart."""
    values = {"position": instant_position(at), "at": at, "customer": customer_id}
    return [
        (orjson.loads(row.columns), orjson.loads(row.services), int(row.customers))
        for row in await connection.execute(_UNDONE, values)
    ]


async def created_since(
    connection: AsyncConnection, at: datetime, zone: str, customer_id: UUID | None
) -> list[tuple[date, int]]:
    """How many customers were created after an instant, by the civil date in a time zone."""
    values = {"position": instant_position(at), "at": at, "customer": customer_id, "zone": zone}
    return [(row.on, row.customers) for row in await connection.execute(_CREATED, values)]


async def oldest_position(connection: AsyncConnection) -> int | None:
    """The position of the oldest entry of the feed that is kept."""
    found: int | None = await connection.scalar(_OLDEST)
    return found


@lru_cache(maxsize=4096)
def _kind(columns: tuple[str, ...], services: tuple[str, ...]) -> int:
    """The id of a combination, the same in every database."""
    named = f"{_array(columns)}{_array(services)}"
    return int.from_bytes(sha256(named.encode()).digest()[:8], "big", signed=True)


def _array(names: Sequence[str]) -> str:
    """An array of plain names as PostgreSQL reads it."""
    return f"{{{','.join(names)}}}"
