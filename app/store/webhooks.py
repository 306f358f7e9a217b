"""Endpoints of webhooks, and the deliveries to them. Why the tables are our own:
DECISION-webhooks.md.

A lane is what waits for one endpoint and customer: its events are sent one after another. Whoever
changes lanes locks them first, in the order of their keys, and endpoints before lanes. A lane is
locked before a delivery is added to it, and is deleted by a statement of its own, after the lock:
otherwise an event could be left without a lane.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database
from app.store.raw_reads import prepare

NO_CUSTOMER = UUID(int=0)
"""The lane of events that concern no single customer."""
TESTS = UUID(int=1)
"""The lane of test events, which wait for nothing else."""

DeliveryState = Literal["waiting", "delivered", "abandoned"]


class Target(NamedTuple):
    """An endpoint, and what it hears."""

    id: UUID
    types: Sequence[str] | None
    """None: all."""
    customers: Sequence[UUID] | None
    """The ids under which its customer's events stand; None: everybody's."""
    after_position: int


class Event(NamedTuple):
    """An event as it is sent."""

    id: str
    position: int
    type: str
    body: str


class Delivery(NamedTuple):
    """An event for an endpoint, on the lane of a customer."""

    id: UUID
    endpoint_id: UUID
    customer_id: UUID
    event_id: str
    position: int


class Claimed(NamedTuple):
    """An event that this process delivers, and how its endpoint is called."""

    endpoint_id: UUID
    customer_id: UUID
    lease: UUID
    due_at: datetime
    """Later than now if it is tried before its time."""
    delivery_id: UUID
    event_id: str
    attempts: int
    step: int
    first_attempt_at: datetime | None
    body: str
    url: str
    headers: Mapping[str, str]
    secret: str
    previous_secret: str | None
    """While a rotation lasts."""


class Outcome(NamedTuple):
    """What an attempt was, and what becomes of its delivery and lane."""

    endpoint_id: UUID
    customer_id: UUID
    delivery_id: UUID
    number: int
    at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    answer_bytes: int
    state: DeliveryState
    step: int
    first_attempt_at: datetime
    due_at: datetime
    now: datetime


class Health(NamedTuple):
    """How an endpoint has answered."""

    id: UUID
    failing_since: datetime | None
    failing_told_at: datetime | None
    slow_until: datetime | None
    slow_seconds: float
    woken_at: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None


_LIVE = "e.deleted_at IS NULL AND e.disabled_at IS NULL"
_DUE = prepare(
    text(f"""
    SELECT EXISTS (SELECT FROM webhook_recoveries WHERE finished_at IS NULL)
        OR (s.followed < f.position AND EXISTS (SELECT FROM webhook_endpoints e WHERE {_LIVE}))
        AS due
    FROM webhook_state s CROSS JOIN feed_state f""")
)
_STATE = text("SELECT followed FROM webhook_state FOR UPDATE")
_FOLLOW = text("UPDATE webhook_state SET followed = :position")
# The endpoint of a customer that was merged hears of its survivor (R49).
_TARGETS = text(f"""
    SELECT e.id, e.types, CASE WHEN w.id IS NOT NULL THEN ARRAY(
            SELECT w.id UNION SELECT m.customer_id FROM merged_customers m
            WHERE m.survivor_id = w.id) END AS customers, e.after_position
    FROM webhook_endpoints e CROSS JOIN LATERAL (SELECT coalesce((
        SELECT survivor_id FROM merged_customers WHERE customer_id = e.customer_id), e.customer_id)
        AS id) w
    WHERE {_LIVE} ORDER BY e.id""")

_LANES = """
    INSERT INTO webhook_lanes (endpoint_id, customer_id, due_at)
    SELECT DISTINCT endpoint_id, customer_id, CAST(:now AS timestamptz)
    FROM unnest(CAST(:endpoints AS uuid[]), CAST(:customers AS uuid[]))
        AS t (endpoint_id, customer_id)
    ORDER BY endpoint_id, customer_id
    ON CONFLICT (endpoint_id, customer_id) DO UPDATE SET due_at = """
# One that exists is changed all the same, because that locks it.
_KEEP_LANES = text(_LANES + "webhook_lanes.due_at")
_WAKE_LANES = text(_LANES + "least(webhook_lanes.due_at, excluded.due_at)")
_ADD_EVENTS = text("""
    INSERT INTO webhook_events (id, position, type, body)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:positions AS bigint[]),
        CAST(:types AS text[]), CAST(:bodies AS text[]))
    ON CONFLICT (id) DO NOTHING""")
_ADD = """
    INSERT INTO webhook_deliveries AS d
        (id, endpoint_id, customer_id, event_id, position, state, created_at)
    SELECT t.*, 'waiting', CAST(:now AS timestamptz)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:endpoints AS uuid[]), CAST(:customers AS uuid[]),
        CAST(:events AS text[]), CAST(:positions AS bigint[])) AS t
    ON CONFLICT (endpoint_id, event_id) DO """
_ADD_NEW = text(_ADD + "NOTHING RETURNING d.id")
_AGAIN = """UPDATE SET state = 'waiting', step = 0, first_attempt_at = NULL, next_attempt_at = NULL,
        finished_at = NULL"""
_ADD_AGAIN = text(_ADD + _AGAIN + " WHERE d.state <> 'waiting' RETURNING d.id")
RETRY = text("""
    UPDATE webhook_deliveries SET state = 'waiting', step = 0, first_attempt_at = NULL,
        next_attempt_at = NULL, finished_at = NULL
    WHERE id = ANY(CAST(:ids AS uuid[]))""")
ABANDONED = text("""
    SELECT id, endpoint_id, customer_id, event_id, position FROM webhook_deliveries
    WHERE endpoint_id = :endpoint AND state = 'abandoned' AND customer_id <> :tests
        AND position > :after AND position <= :until
    ORDER BY position, id LIMIT :most""")

_UNFINISHED = text("""
    SELECT id, endpoint_id, only_failed, position, until_position FROM webhook_recoveries
    WHERE finished_at IS NULL ORDER BY created_at LIMIT 1 FOR UPDATE""")
_RECOVERED = text("""
    UPDATE webhook_recoveries SET position = :position, queued = queued + :queued,
        finished_at = CASE WHEN CAST(:done AS boolean) THEN CAST(:now AS timestamptz) END
    WHERE id = :id""")

_WAITING = prepare(text("SELECT EXISTS (SELECT FROM webhook_lanes) AS waiting"))
# By their places, which are fixed while they are locked: joined by their keys, a generic plan reads
# all lanes.
CLAIM = """
    WITH free AS (
        SELECT e.id, e.woken_at,
            greatest(CASE WHEN e.slow_seconds > 0 THEN 1 ELSE coalesce(t.most, :most) END
                - coalesce(t.taken, 0), 0) AS places
        FROM webhook_endpoints e
        LEFT JOIN unnest(CAST(:endpoints AS uuid[]), CAST(:taken AS int[]), CAST(:mosts AS int[]))
            AS t (id, taken, most) ON t.id = e.id
        WHERE {live} AND NOT e.paused AND (e.slow_until IS NULL OR e.slow_until <= :now)
    ), due AS (
        SELECT l.place FROM free CROSS JOIN LATERAL (
            SELECT ctid AS place FROM webhook_lanes
            WHERE endpoint_id = free.id AND {due}
                AND (leased_until IS NULL OR leased_until < clock_timestamp())
            ORDER BY {order} LIMIT free.places FOR UPDATE SKIP LOCKED) l
    )
    UPDATE webhook_lanes
    SET lease = :lease, leased_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE ctid = ANY(ARRAY(SELECT place FROM due))
    RETURNING endpoint_id, customer_id"""
CLAIM_DUE = text(CLAIM.format(live=_LIVE, due="due_at <= :now", order="due_at"))
CLAIM_WOKEN = text(
    CLAIM.format(
        live=_LIVE + " AND e.woken_at <= :now",
        due="tried_at < free.woken_at AND due_at > :now",
        order="tried_at",
    )
)
HEADS = text("""
    SELECT l.endpoint_id, l.customer_id, l.lease, l.due_at, d.id AS delivery_id, d.event_id,
        d.attempts, d.step, d.first_attempt_at, v.body, e.url, e.headers, e.secret,
        CASE WHEN e.previous_valid_until > :now THEN e.previous_secret END AS previous_secret
    FROM unnest(CAST(:endpoints AS uuid[]), CAST(:customers AS uuid[])) AS t (endpoint, customer)
    JOIN webhook_lanes l ON l.endpoint_id = t.endpoint AND l.customer_id = t.customer
    JOIN webhook_endpoints e ON e.id = l.endpoint_id
    CROSS JOIN LATERAL (
        SELECT id, event_id, attempts, step, first_attempt_at FROM webhook_deliveries
        WHERE endpoint_id = l.endpoint_id AND customer_id = l.customer_id AND state = 'waiting'
        ORDER BY position, id LIMIT 1) d
    JOIN webhook_events v ON v.id = d.event_id""")
DROP_EMPTY = text("""
    DELETE FROM webhook_lanes l
    USING unnest(CAST(:endpoints AS uuid[]), CAST(:customers AS uuid[])) AS t (endpoint, customer)
    WHERE l.endpoint_id = t.endpoint AND l.customer_id = t.customer AND NOT EXISTS (
        SELECT FROM webhook_deliveries d WHERE d.endpoint_id = l.endpoint_id
            AND d.customer_id = l.customer_id AND d.state = 'waiting')""")
_HEALTH = text("""
    SELECT id, failing_since, failing_told_at, slow_until, slow_seconds, woken_at, disabled_at,
        disabled_reason
    FROM webhook_endpoints
    WHERE deleted_at IS NULL AND (id = ANY(CAST(:failed AS uuid[]))
        OR id = ANY(CAST(:succeeded AS uuid[]))
            AND (failing_since IS NOT NULL OR slow_seconds > 0))
    ORDER BY id FOR NO KEY UPDATE""")
_SET_HEALTH = text("""
    UPDATE webhook_endpoints SET failing_since = :failing_since, slow_until = :slow_until,
        failing_told_at = :failing_told_at, slow_seconds = :slow_seconds, woken_at = :woken_at,
        disabled_at = :disabled_at, disabled_reason = :disabled_reason
    WHERE id = :id""")
_LOCK_LANES = text("""
    SELECT l.endpoint_id, l.customer_id, l.lease FROM webhook_lanes l
    JOIN unnest(CAST(:endpoints AS uuid[]), CAST(:customers AS uuid[])) AS t (endpoint, customer)
        ON l.endpoint_id = t.endpoint AND l.customer_id = t.customer
    ORDER BY l.endpoint_id, l.customer_id FOR NO KEY UPDATE OF l""")
RECORD = text("""
    WITH t AS (
        SELECT * FROM unnest(CAST(:deliveries AS uuid[]), CAST(:numbers AS int[]),
            CAST(:states AS text[]), CAST(:steps AS smallint[]), CAST(:firsts AS timestamptz[]),
            CAST(:dues AS timestamptz[]), CAST(:nows AS timestamptz[]), CAST(:ats AS timestamptz[]),
            CAST(:durations AS int[]), CAST(:statuses AS smallint[]), CAST(:errors AS text[]),
            CAST(:bytes AS smallint[]))
        AS t (id, number, state, step, first, due, now, at, duration, status, error, bytes)
    ), deliveries AS (
        UPDATE webhook_deliveries d SET state = t.state, attempts = t.number, step = t.step,
            first_attempt_at = t.first,
            finished_at = CASE WHEN t.state <> 'waiting' THEN t.now END,
            next_attempt_at = CASE WHEN t.state = 'waiting' THEN t.due END
        FROM t WHERE d.id = t.id)
    INSERT INTO webhook_attempts
        (delivery_id, number, at, duration_ms, status, error, answer_bytes)
    SELECT id, number, at, duration, status, error, bytes FROM t""")
# A statement of its own after RECORD: it sees what that changed, and what was added until the lanes
# were locked.
RELEASE = text("""
    WITH t AS MATERIALIZED (
        SELECT t.*, EXISTS (SELECT FROM webhook_deliveries d WHERE d.endpoint_id = t.endpoint
            AND d.customer_id = t.customer AND d.state = 'waiting') AS more
        FROM unnest(CAST(:endpoints AS uuid[]), CAST(:customers AS uuid[]),
            CAST(:dues AS timestamptz[]), CAST(:ats AS timestamptz[]))
        AS t (endpoint, customer, due, at)
    ), ended AS (
        DELETE FROM webhook_lanes l USING t
        WHERE l.endpoint_id = t.endpoint AND l.customer_id = t.customer AND NOT t.more)
    UPDATE webhook_lanes l
    SET lease = NULL, leased_until = NULL, due_at = t.due, tried_at = t.at
    FROM t WHERE l.endpoint_id = t.endpoint AND l.customer_id = t.customer AND t.more""")
_GIVE_BACK = text("""
    UPDATE webhook_lanes l SET lease = NULL, leased_until = NULL
    FROM unnest(CAST(:endpoints AS uuid[]), CAST(:customers AS uuid[]), CAST(:leases AS uuid[]))
        AS t (endpoint, customer, lease)
    WHERE l.endpoint_id = t.endpoint AND l.customer_id = t.customer AND l.lease = t.lease""")

# Of endpoints that are paused nothing is overdue.
_OLDEST = prepare(
    text(f"""
    SELECT min(d.created_at) AS oldest FROM webhook_endpoints e CROSS JOIN LATERAL (
        SELECT created_at FROM webhook_deliveries
        WHERE endpoint_id = e.id AND state = 'waiting' ORDER BY position, id LIMIT 1) d
    WHERE {_LIVE} AND NOT e.paused""")
)
PRUNE = text("""
    WITH gone AS (
        SELECT d.id FROM webhook_endpoints e CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries WHERE endpoint_id = e.id AND position <
                CASE WHEN e.deleted_at IS NULL THEN :position ELSE 9223372036854775807 END
            ORDER BY position, id LIMIT :most) d
        LIMIT :most
    ), attempts AS (
        DELETE FROM webhook_attempts WHERE delivery_id = ANY(ARRAY(SELECT id FROM gone)))
    DELETE FROM webhook_deliveries WHERE id = ANY(ARRAY(SELECT id FROM gone)) RETURNING id""")
PRUNE_EVENTS = text("""
    DELETE FROM webhook_events WHERE id = ANY(ARRAY(
        SELECT id FROM webhook_events WHERE position < :position ORDER BY position LIMIT :most))
    RETURNING id""")
_PRUNE_RECOVERIES = text("""
    DELETE FROM webhook_recoveries r USING webhook_endpoints e
    WHERE e.id = r.endpoint_id AND (e.deleted_at IS NOT NULL OR r.finished_at < :before)""")
_PRUNE_LANES = text("""
    DELETE FROM webhook_lanes l USING webhook_endpoints e
    WHERE e.id = l.endpoint_id AND e.deleted_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id)""")
_PRUNE_ENDPOINTS = text("""
    DELETE FROM webhook_endpoints e WHERE e.deleted_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.endpoint_id = e.id)
        AND NOT EXISTS (SELECT FROM webhook_lanes l WHERE l.endpoint_id = e.id)
        AND NOT EXISTS (SELECT FROM webhook_recoveries r WHERE r.endpoint_id = e.id)""")


async def is_due(database: Database) -> bool:
    """Whether the feed has more for some endpoint, or a recovery has not ended."""
    (row,) = await database.raw.fetch(_DUE, {})
    return bool(row.due)


async def lock_state(connection: AsyncConnection) -> int:
    """The position up to which deliveries were made. None are made until the transaction ends."""
    followed: int = (await connection.execute(_STATE)).scalar_one()
    return followed


async def set_followed(connection: AsyncConnection, position: int) -> None:
    await connection.execute(_FOLLOW, {"position": position})


async def targets(connection: AsyncConnection) -> list[Target]:
    """The endpoints that are not disabled, in the order of their ids."""
    return [Target(*row) for row in await connection.execute(_TARGETS)]


def _lanes(keys: Iterable[Any]) -> dict[str, list[UUID]]:
    known = list(keys)
    return {
        "endpoints": [one.endpoint_id for one in known],
        "customers": [one.customer_id for one in known],
    }


async def add(
    connection: AsyncConnection,
    events: Sequence[Event],
    deliveries: Sequence[Delivery],
    now: datetime,
    *,
    again: bool = False,
) -> int:
    """Add deliveries: how many were added. One that exists stays, or is made again with `again`."""
    if not deliveries:
        return 0
    lanes = _lanes(deliveries)
    # First the lanes, which locks them.
    await connection.execute(_WAKE_LANES if again else _KEEP_LANES, {**lanes, "now": now})
    ids, positions, types, bodies = zip(*events, strict=True)
    values: dict[str, Any] = {"ids": list(ids), "positions": list(positions)}
    values |= {"types": list(types), "bodies": list(bodies)}
    await connection.execute(_ADD_EVENTS, values)
    values = {
        **lanes,
        "ids": [one.id for one in deliveries],
        "events": [one.event_id for one in deliveries],
        "positions": [one.position for one in deliveries],
        "now": now,
    }
    added = await connection.execute(_ADD_AGAIN if again else _ADD_NEW, values)
    return len(added.scalars().all())


async def retry(connection: AsyncConnection, deliveries: Sequence[Delivery], now: datetime) -> None:
    """Have deliveries made again, from the beginning of the schedule."""
    if deliveries:
        await connection.execute(_WAKE_LANES, {**_lanes(deliveries), "now": now})
        await connection.execute(RETRY, {"ids": [one.id for one in deliveries]})


class Recovery(NamedTuple):
    id: UUID
    endpoint_id: UUID
    only_failed: bool
    position: int
    """How far it is."""
    until_position: int


async def unfinished_recovery(connection: AsyncConnection) -> Recovery | None:
    """The oldest recovery that has not ended, locked."""
    row = (await connection.execute(_UNFINISHED)).one_or_none()
    return None if row is None else Recovery(*row)


async def abandoned(connection: AsyncConnection, recovery: Recovery, most: int) -> list[Delivery]:
    """The next deliveries that were given up."""
    values = {
        "endpoint": recovery.endpoint_id,
        "after": recovery.position,
        "until": recovery.until_position,
        "most": most,
        "tests": TESTS,
    }
    return [Delivery(*row) for row in await connection.execute(ABANDONED, values)]


async def set_recovered(
    connection: AsyncConnection,
    recovery: Recovery,
    position: int,
    queued: int,
    now: datetime,
    *,
    done: bool,
) -> None:
    values = {"id": recovery.id, "position": position, "queued": queued, "now": now, "done": done}
    await connection.execute(_RECOVERED, values)


class Lane(NamedTuple):
    endpoint_id: UUID
    customer_id: UUID


async def is_waiting(database: Database) -> bool:
    """Whether anything waits for its delivery, due or not."""
    (row,) = await database.raw.fetch(_WAITING, {})
    return bool(row.waiting)


class Taken(NamedTuple):
    """How many lanes of an endpoint a process has, and how many it may have."""

    number: int
    most: int


async def claim(
    connection: AsyncConnection,
    now: datetime,
    lease: UUID,
    seconds: float,
    taken: Mapping[UUID, Taken],
    most: int,
) -> list[Lane]:
    """Take lanes that are due for so many seconds: `most` of an endpoint that is not in `taken`."""
    counts = {endpoint: one.number for endpoint, one in taken.items()}
    mosts = {endpoint: one.most for endpoint, one in taken.items()}
    found: list[Lane] = []
    for statement in (CLAIM_DUE, CLAIM_WOKEN):
        values = {
            "now": now,
            "lease": lease,
            "seconds": seconds,
            "endpoints": list(counts),
            "taken": list(counts.values()),
            "mosts": [mosts.get(endpoint, most) for endpoint in counts],
            "most": most,
        }
        lanes = [Lane(*row) for row in await connection.execute(statement, values)]
        for one in lanes:
            counts[one.endpoint_id] = counts.get(one.endpoint_id, 0) + 1
        found += lanes
    return found


async def heads(connection: AsyncConnection, now: datetime, lanes: Sequence[Lane]) -> list[Claimed]:
    """The first event of each lane."""
    if not lanes:
        return []
    rows = await connection.execute(HEADS, {**_lanes(lanes), "now": now})
    return [Claimed(*row) for row in rows]


async def drop_empty_lanes(connection: AsyncConnection, lanes: Iterable[Any]) -> None:
    """Delete the lanes, which are locked, on which nothing waits."""
    if keys := list(lanes):
        await connection.execute(DROP_EMPTY, _lanes(keys))


async def lock_endpoints(
    connection: AsyncConnection, failed: Collection[UUID], succeeded: Collection[UUID]
) -> dict[UUID, Health]:
    """Lock the endpoints whose health may change: those that failed, and others that had failed."""
    values = {"failed": list(failed), "succeeded": list(succeeded)}
    return {row.id: Health(*row) for row in await connection.execute(_HEALTH, values)}


async def set_health(connection: AsyncConnection, health: Sequence[Health]) -> None:
    if health:
        await connection.execute(_SET_HEALTH, [one._asdict() for one in health])


async def lock_lanes(
    connection: AsyncConnection, lanes: Iterable[Any]
) -> set[tuple[UUID, UUID, UUID | None]]:
    """Lock lanes: endpoint, customer and lease of each that is there."""
    rows = await connection.execute(_LOCK_LANES, _lanes(lanes))
    return {(row.endpoint_id, row.customer_id, row.lease) for row in rows}


async def record(connection: AsyncConnection, outcomes: Sequence[Outcome]) -> None:
    """Store attempts and what becomes of their deliveries, and release their lanes. The caller has
    locked these."""
    if not outcomes:
        return
    of_each = list(zip(*outcomes, strict=True))
    by_name: dict[str, Any] = dict(zip(Outcome._fields, map(list, of_each), strict=True))
    await connection.execute(
        RECORD,
        {
            "deliveries": by_name["delivery_id"],
            "numbers": by_name["number"],
            "states": by_name["state"],
            "steps": by_name["step"],
            "firsts": by_name["first_attempt_at"],
            "dues": by_name["due_at"],
            "nows": by_name["now"],
            "ats": by_name["at"],
            "durations": by_name["duration_ms"],
            "statuses": by_name["status"],
            "errors": by_name["error"],
            "bytes": by_name["answer_bytes"],
        },
    )
    lanes = _lanes(outcomes)
    values = {**lanes, "dues": by_name["due_at"], "ats": by_name["at"]}
    await connection.execute(RELEASE, values)


async def give_back(connection: AsyncConnection, claimed: Sequence[Claimed]) -> None:
    """Give lanes free, which are locked, whose events were not delivered."""
    if claimed:
        values = {**_lanes(claimed), "leases": [one.lease for one in claimed]}
        await connection.execute(_GIVE_BACK, values)


async def oldest(database: Database) -> datetime | None:
    """When the oldest event was to be delivered that has not been; None if nothing waits."""
    (row,) = await database.raw.fetch(_OLDEST, {})
    at: datetime | None = row.oldest
    return at


async def prune(connection: AsyncConnection, before: datetime, position: int, most: int) -> bool:
    """Delete what was made before an instant and position, and what deleted endpoints have.

    False if there may be more.
    """
    values = {"position": position, "most": most}
    deliveries = (await connection.execute(PRUNE, values)).scalars().all()
    events = (await connection.execute(PRUNE_EVENTS, values)).scalars().all()
    await connection.execute(_PRUNE_RECOVERIES, {"before": before})
    await connection.execute(_PRUNE_LANES)
    await connection.execute(_PRUNE_ENDPOINTS)
    return len(deliveries) < most and len(events) < most
