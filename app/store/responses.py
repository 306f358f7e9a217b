"""Response times as they are stored: which cases to look at, what happened to them, their rows.

Only the transaction that holds the lock of `store.feed` writes them, so that no two do.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Database
from app.store.raw_reads import prepare
from app.store.tables.work import IS_OPEN

_DUE = prepare(
    text("""
    SELECT f.position > s.followed OR s.walking
        OR EXISTS (SELECT FROM case_responses WHERE due_at < :now)
        OR EXISTS (SELECT FROM case_responses WHERE stale) AS due, s.policies
    FROM feed_state f CROSS JOIN response_state s""")
)
_STATE = text("""
    SELECT s.followed, s.walking, s.walked_through, s.policies, s.last_untold_event, f.position,
        f.pruned_through
    FROM feed_state f CROSS JOIN response_state s""")
_SET_STATE = text("""
    UPDATE response_state SET followed = :followed, walking = :walking,
        walked_through = :walked_through, policies = :policies""")
# Most entries of a busy feed are of other types. They are passed over here, all but the last one.
_ENTRIES = text("""
    SELECT position, type, case_id, customer_id, data, block
    FROM (SELECT *, count(*) OVER () AS block, max(position) OVER () AS last
        FROM (SELECT position, type, case_id, customer_id,
                CASE WHEN type = 'help_desk.closure_changed' THEN data::text END AS data
            FROM feed WHERE position > :followed ORDER BY position LIMIT :most) f) f
    WHERE type = ANY (CAST(:types AS text[])) OR position = last ORDER BY position""")
_OVERDUE = text("""
    SELECT case_id FROM case_responses WHERE due_at < :now ORDER BY due_at LIMIT :most""")
_STALE = text("SELECT case_id FROM case_responses WHERE stale ORDER BY case_id LIMIT :most")
_WALK = text("""
    SELECT id FROM cases WHERE id > coalesce(:after, CAST(:first AS uuid))
    ORDER BY id LIMIT :most""")
_AGE_ALL = text("UPDATE case_responses SET stale = true WHERE ended_on IS NULL")
_AGE_CUSTOMERS = text(f"""
    UPDATE case_responses SET stale = true WHERE case_id = ANY (ARRAY(
        SELECT id FROM cases
        WHERE customer_id = ANY (CAST(:customers AS uuid[])) AND {IS_OPEN}))""")
# A closure of the past may have been open when the case was.
_AGE_DESK = text("""
    UPDATE case_responses SET stale = true
    WHERE help_desk = :desk AND (ended_on IS NULL OR ended_on >= :from_day)
        AND (SELECT k.opened_at FROM cases k WHERE k.id = case_id) < :ends_at""")
_STATES = """e.type IN ('case.opened', 'case.closed', 'case.reopened', 'case.cancelled',
        'case.moved') OR e.data->'after' ? 'state'"""
_ASSIGNED = "e.data->'after'->>'technician' IS NOT NULL"
# Comments are copied when a case is moved, and its other steps are told where they were taken.
_FACTS = text(f"""
    SELECT k.id, k.customer_id, k.number, k.state, k.paid_by, k.priority, k.priority_support,
        k.opened_at, k.opened_on, k.moved_to IS NOT NULL AS moved, c.country, c.help_desk,
        e.first_event, e.states::text AS states,
        least(t.worked_at, coalesce(r.commented_at, e.commented_at), e.assigned_at, m.assigned_at)
            AS responded_at,
        coalesce(r.commented_at, e.commented_at) AS commented_at, r.case_id IS NOT NULL AS known,
        coalesce(r.response_told, false) AS response_told,
        coalesce(r.response_missed, false) AS response_missed,
        coalesce(r.resolution_missed, false) AS resolution_missed
    FROM cases k
    JOIN customers c ON c.id = k.customer_id
    LEFT JOIN case_responses r ON r.case_id = k.id
    CROSS JOIN LATERAL (
        SELECT min(e.id) AS first_event,
            json_agg(json_build_array(coalesce(e.data->>'as_of', to_json(e.occurred_at)#>>'{{}}'),
                e.data->>'state', e.data->'history') ORDER BY e.id) FILTER (WHERE {_STATES})
                AS states,
            min(e.occurred_at) FILTER (WHERE {_ASSIGNED}) AS assigned_at,
            min(e.occurred_at) FILTER (WHERE e.type = 'case.commented'
                AND e.data->>'internal' IS DISTINCT FROM 'true' AND a.id IS NOT NULL)
                AS commented_at
        FROM events e LEFT JOIN tokens a ON a.id = e.actor_id AND a.customer_id IS NULL
            AND 'cases:work' = ANY (a.scopes)
        WHERE e.case_id = k.id) e
    CROSS JOIN LATERAL (
        SELECT min(t.worked_at) AS worked_at FROM time_entries t
        WHERE t.case_id = k.id AND t.reversed_at IS NULL) t
    LEFT JOIN LATERAL (
        WITH RECURSIVE before AS (
            SELECT k.moved_from AS id
            UNION ALL
            SELECT b.moved_from FROM before JOIN cases b ON b.id = before.id
            WHERE b.moved_from IS NOT NULL)
        SELECT min(e.occurred_at) AS assigned_at FROM events e
        WHERE e.case_id = ANY (ARRAY(SELECT id FROM before)) AND {_ASSIGNED}) m
        ON k.moved_from IS NOT NULL
    WHERE k.id = ANY (CAST(:ids AS uuid[]))""")
_FIRST_ID = UUID(int=0)


class State(NamedTuple):
    """How far the cases were followed."""

    followed: int
    walking: bool
    walked_through: UUID | None
    policies: str
    last_untold_event: int
    position: int
    """The last position of the feed."""
    pruned_through: int


class Entry(NamedTuple):
    """An entry of the feed, of whatever type; `data` of a changed closure alone."""

    position: int
    type: str
    case_id: UUID | None
    customer_id: UUID | None
    data: dict[str, Any] | None


class Facts(NamedTuple):
    """What happened to a case, and what was told of it."""

    id: UUID
    customer_id: UUID
    number: str
    state: str
    paid_by: str
    priority: str
    priority_support: bool
    opened_at: datetime
    opened_on: date
    moved: bool
    """Away, to another customer."""
    country: str
    help_desk: str | None
    first_event: int | None
    states: list[tuple[str, str, list[dict[str, str]] | None]]
    """Instant and state of each step, in the order of recording, or the states before a move."""
    responded_at: datetime | None
    """The first response but for the states."""
    commented_at: datetime | None
    known: bool
    """It has a row already."""
    response_told: bool
    response_missed: bool
    resolution_missed: bool


class Row(NamedTuple):
    """A row of `case_responses`."""

    case_id: UUID
    help_desk: str
    ended_on: date | None
    responded_at: datetime | None
    response_minutes: int | None
    response_target: int | None
    response_met: bool | None
    resolution_minutes: int | None
    resolution_target: int | None
    resolution_met: bool | None
    aged_from: datetime | None
    age_minutes: int | None
    commented_at: datetime | None
    response_told: bool
    response_missed: bool
    resolution_missed: bool
    due_at: datetime | None
    stale: bool = False


_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in Row._fields[1:])
_WRITE = text(f"""
    INSERT INTO case_responses ({", ".join(Row._fields)})
    SELECT {", ".join(Row._fields)}
    FROM json_populate_recordset(NULL::case_responses, CAST(:rows AS json))
    ON CONFLICT (case_id) DO UPDATE SET {_CHANGED}""")


async def due(database: Database, now: datetime) -> tuple[bool, str]:
    """Whether there is something to do, and the fingerprint of the policy that was applied."""
    (row,) = await database.raw.fetch(_DUE, {"now": now})
    return bool(row.due), row.policies


async def state(connection: AsyncConnection) -> State:
    return State(*(await connection.execute(_STATE)).one())


async def set_state(connection: AsyncConnection, state: State) -> None:
    names = ("followed", "walking", "walked_through", "policies")
    await connection.execute(_SET_STATE, {name: getattr(state, name) for name in names})


async def entries(
    connection: AsyncConnection, followed: int, types: Sequence[str], most: int
) -> tuple[list[Entry], bool]:
    """Of the next `most` entries of the feed those of the given types and the last one, and
    whether there are as many."""
    values = {"followed": followed, "types": list(types), "most": most}
    rows = (await connection.execute(_ENTRIES, values)).all()
    found = [
        Entry(
            row.position,
            row.type,
            row.case_id,
            row.customer_id,
            None if row.data is None else orjson.loads(row.data),
        )
        for row in rows
    ]
    return found, bool(rows) and rows[0].block == most


async def overdue(connection: AsyncConnection, now: datetime, most: int) -> Sequence[UUID]:
    """Cases that have missed a target for which no event has been published."""
    found = await connection.execute(_OVERDUE, {"now": now, "most": most})
    return found.scalars().all()


async def stale(connection: AsyncConnection, most: int) -> Sequence[UUID]:
    """Cases that have to be measured again."""
    return (await connection.execute(_STALE, {"most": most})).scalars().all()


async def walk(connection: AsyncConnection, after: UUID | None, most: int) -> Sequence[UUID]:
    """The next cases by their ids."""
    values = {"after": after, "first": _FIRST_ID, "most": most}
    return (await connection.execute(_WALK, values)).scalars().all()


async def make_open_cases_stale(connection: AsyncConnection) -> None:
    """Have every open case measured again."""
    await connection.execute(_AGE_ALL)


async def make_customers_stale(connection: AsyncConnection, customers: Sequence[UUID]) -> None:
    """Have the open cases of customers measured again."""
    await connection.execute(_AGE_CUSTOMERS, {"customers": list(customers)})


async def make_desk_stale(
    connection: AsyncConnection, desk: str, from_day: date, ends_at: datetime
) -> None:
    """Have the cases of a desk measured again that were open in a period, closed ones included."""
    values = {"desk": desk, "from_day": from_day, "ends_at": ends_at}
    await connection.execute(_AGE_DESK, values)


async def facts(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Facts]:
    """What happened to cases, all from one snapshot."""
    rows = await connection.execute(_FACTS, {"ids": list(ids)})
    return [Facts(*row)._replace(states=orjson.loads(row.states or "[]")) for row in rows]


async def write(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Store rows in the place of those that their cases have."""
    if rows:
        told = orjson.dumps([row._asdict() for row in rows], default=str).decode()
        await connection.execute(_WRITE, {"rows": told})
