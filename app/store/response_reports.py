"""Response times by civil day and dimension, from the rows that `store.responses` keeps (R42)."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.database import Connection
from app.store.usage_reports import Asked, Dimension, Window, bucket_of, conditions_of

_DIMENSIONS = """k.customer_id AS customer, k.technician, k.channel, k.category, k.priority,
            k.paid_by, r.help_desk"""
# A case counts on the day of its opening, and on that of its last closing. One that was moved away
# was never here (R47).
_OPENED = f"""SELECT k.opened_on AS day, {_DIMENSIONS}, r.response_minutes AS minutes,
            r.response_met AS met, r.response_met IS FALSE
                OR (r.response_minutes IS NULL AND r.response_missed) AS missed,
            r.response_minutes IS NULL AND r.ended_on IS NULL AS pending
        FROM cases k
        JOIN case_responses r ON r.case_id = k.id
        WHERE k.moved_to IS NULL AND k.opened_on >= :from AND k.opened_on < :to"""
_CLOSED = f"""SELECT r.ended_on AS day, {_DIMENSIONS}, r.resolution_minutes AS minutes,
            r.resolution_met AS met, r.resolution_met IS FALSE AS missed, false AS pending
        FROM case_responses r
        JOIN cases k ON k.id = r.case_id
        WHERE r.resolution_minutes IS NOT NULL AND r.ended_on >= :from AND r.ended_on < :to"""
# Both at once, so that the minutes are sorted once.
_FIGURES = """count(minutes) AS number,
            percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY minutes) AS percentiles,
            count(*) FILTER (WHERE met) AS met, count(*) FILTER (WHERE missed) AS missed,
            count(*) FILTER (WHERE pending) AS pending"""
_AS_OF = text("""
    SELECT s.walking, least(
        (SELECT e.occurred_at FROM unpublished_events u JOIN events e ON e.id = u.event_id
            ORDER BY u.event_id LIMIT 1),
        (SELECT to_timestamp(f.position / 1000000.0) FROM feed f
            WHERE f.position > s.followed ORDER BY f.position LIMIT 1)) AS behind_since
    FROM response_state s""")


class Figures(NamedTuple):
    """Of the cases opened in a period, or of those closed in it."""

    number: int = 0
    """Those that were answered, or resolved."""
    median: float | None = None
    """Working minutes; as `p90`, between two cases in proportion."""
    p90: float | None = None
    met: int = 0
    missed: int = 0
    pending: int = 0
    """Open cases without a response."""


class Sums(NamedTuple):
    bucket: date
    values: tuple[Any, ...]
    figures: Figures


@lru_cache(maxsize=512)
def _sql(
    rows: str, group_by: Sequence[Dimension], filters: Sequence[Dimension], window: Window
) -> TextClause:
    """SQL of the figures of each bucket and value of each dimension, and of the whole period."""
    keys = ", ".join(("bucket", *group_by))
    conditions = conditions_of(filters)
    if "customer" in filters:
        rows += " AND k.customer_id = :customer"
    # Nothing else is asked of customers.
    if "country" in (*group_by, *filters):
        rows = f"SELECT o.*, c.country FROM ({rows}) o JOIN customers c ON c.id = o.customer"
    return text(f"""
        SELECT {keys}, {_FIGURES}, grouping(bucket) AS whole
        FROM (SELECT *, {bucket_of(window)} AS bucket FROM ({rows}) f) b
        {f"WHERE {conditions}" if conditions else ""}
        GROUP BY GROUPING SETS (({keys}), ()) LIMIT :most""")


async def _sums(
    connection: AsyncConnection, rows: str, asked: Asked, most: int
) -> tuple[list[Sums], Figures]:
    number = len(asked.group_by)
    query = _sql(rows, asked.group_by, tuple(asked.filters), asked.window)
    values: dict[str, Any] = {"from": asked.start, "to": asked.end, "most": most + 1}
    values.update((str(name), value) for name, value in asked.filters.items())
    sums, whole = [], Figures()
    for row in await connection.execute(query, values):
        figures = _figures(*row[number + 1 : -1])
        if row.whole:
            whole = figures
        else:
            sums.append(Sums(row[0], tuple(row[1 : number + 1]), figures))
    return sums, whole


def _figures(number: int, percentiles: list[float] | None, *counts: int) -> Figures:
    return Figures(number, *(percentiles or (None, None)), *counts)


async def responses(
    connection: AsyncConnection, asked: Asked, most: int
) -> tuple[list[Sums], Figures]:
    """First responses by the day of opening: at most so many sums, and the whole period."""
    return await _sums(connection, _OPENED, asked, most)


async def resolutions(
    connection: AsyncConnection, asked: Asked, most: int
) -> tuple[list[Sums], Figures]:
    """Resolutions by the day of closing: at most so many sums, and the whole period."""
    return await _sums(connection, _CLOSED, asked, most)


async def behind(connection: Connection) -> tuple[bool, datetime | None]:
    """Whether old cases are still measured, and since when something waits to be."""
    row = (await connection.execute(_AS_OF)).one()
    return row.walking, row.behind_since
