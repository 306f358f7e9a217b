"""The open cases, counted by what they have in common, and the oldest of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables.work import IS_OPEN

AGES = (60, 240, 480, 1_440, 2_400)
"""Where the bands of age begin after the first, in working minutes."""
MOST_TECHNICIANS = 200
OLDEST = 200

_OPEN = f"{IS_OPEN} AND (CAST(:customer AS uuid) IS NULL OR customer_id = :customer)"
_PLACES = range(1, len(AGES) + 1)
# A case is in the band of so many of the instants from which on the time of each band has passed.
_BAND = " + ".join(f"CAST(r.aged_from <= d.t{place} AS integer)" for place in _PLACES)
# The rows of open cases are found by the index of `ended_on`, not among those of all cases.
_COUNTS = text(f"""
    WITH one AS MATERIALIZED (
        SELECT k.state, k.channel, k.priority, k.technician, r.responded_at IS NULL AS unanswered,
            coalesce({_BAND}, width_bucket(r.age_minutes, CAST(:ages AS integer[]))) AS age
        FROM (SELECT id, state, channel, priority, technician FROM cases WHERE {_OPEN}) k
        LEFT JOIN case_responses r ON r.case_id = k.id AND r.ended_on IS NULL
        LEFT JOIN unnest(CAST(:desks AS text[]),
            {", ".join(f"CAST(:t{place} AS timestamptz[])" for place in _PLACES)})
            d (desk, {", ".join(f"t{place}" for place in _PLACES)}) ON d.desk = r.help_desk)
    SELECT * FROM (
        SELECT CASE WHEN grouping(state) = 0 THEN 'state' WHEN grouping(channel) = 0 THEN 'channel'
                WHEN grouping(priority) = 0 THEN 'priority'
                WHEN grouping(technician) = 0 THEN 'technician'
                WHEN grouping(age) = 0 THEN 'age' ELSE 'all' END AS dimension,
            coalesce(state, channel, priority, technician, CAST(age AS text)) AS value,
            count(*) AS cases, count(*) FILTER (WHERE unanswered) AS unanswered,
            row_number() OVER (PARTITION BY grouping(technician)
                ORDER BY count(*) DESC, technician) AS place
        FROM one
        GROUP BY GROUPING SETS ((), (state), (channel), (priority), (technician), (age))) n
    WHERE dimension <> 'technician' OR place <= :technicians""")
# Materialised, because the planner would walk along all cases by their opening instead.
_OLDEST = text(f"""
    WITH open_cases AS MATERIALIZED (SELECT id, opened_at FROM cases WHERE {_OPEN}),
    oldest AS (SELECT id FROM open_cases ORDER BY opened_at, id LIMIT :most)
    SELECT k.id, k.number, k.state, k.channel, k.priority, k.priority_support, k.technician,
        k.opened_at, r.help_desk, r.responded_at, r.aged_from, r.age_minutes,
        r.due_at, coalesce(r.response_missed OR r.resolution_missed, false) AS overdue
    FROM oldest JOIN cases k ON k.id = oldest.id
    LEFT JOIN case_responses r ON r.case_id = k.id
    ORDER BY k.opened_at, k.id""").bindparams(bindparam("most"))


class Count(NamedTuple):
    """How many open cases have a value of a dimension, or how many there are (`all`)."""

    dimension: str
    value: str | None
    """Of `age` the number of the band; null while a case was not measured."""
    cases: int
    unanswered: int
    """Those without a first response."""


class OldCase(NamedTuple):
    id: UUID
    number: str
    state: str
    channel: str
    priority: str
    priority_support: bool
    technician: str | None
    opened_at: datetime
    help_desk: str | None
    """By whose hours it was measured; None while it was not, as are all that follow."""
    responded_at: datetime | None
    aged_from: datetime | None
    age_minutes: int | None
    due_at: datetime | None
    """Until when the next promised time is kept."""
    overdue: bool
    """Whether a promised time has passed."""


async def counts(
    connection: AsyncConnection, customer: UUID | None, bands: Mapping[str, Sequence[datetime]]
) -> list[Count]:
    """The open cases of all customers or of one, by each dimension.

    `bands`: for each desk the last instants from which the minutes of `AGES` have passed.
    """
    values: dict[str, Any] = {
        "customer": customer,
        "ages": list(AGES),
        "desks": list(bands),
        "technicians": MOST_TECHNICIANS,
    }
    for place in _PLACES:
        values[f"t{place}"] = [instants[place - 1] for instants in bands.values()]
    rows = await connection.execute(_COUNTS, values)
    return [Count(row.dimension, row.value, row.cases, row.unanswered) for row in rows]


async def oldest(connection: AsyncConnection, customer: UUID | None) -> list[OldCase]:
    """The open cases that were opened first."""
    rows = await connection.execute(_OLDEST, {"customer": customer, "most": OLDEST})
    return [OldCase(*row) for row in rows]
