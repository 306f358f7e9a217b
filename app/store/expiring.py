"""Allowances that end soon, are nearly spent, or overrun, by the day on which they end."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.allowance_standings import FIELDS, AllowanceRow
from app.store.facts import FACTS_NOW

_INDEXED = (100, 90, 50)
LEAST_PERCENT = _INDEXED[-1]
"""The lowest share that an index of what is nearly spent finds."""

_ENDING = """a.begun AND a.starts_on <= :today AND a.stops_on > :today AND a.stops_on <= :until
    AND (a.kind <> 'ticket_pack' OR a.held > 0 OR a.ends <> '{}')"""
_SPENT = """a.used_percent >= :percent
    AND a.begun AND a.starts_on <= :today AND a.stops_on > :today"""
_OVERRUN = "a.overrun > 0"
_ORDER = "a.stops_on, a.customer_id, a.key"
_AFTER = f"({_ORDER}) > (:last_stop, :last_customer, :last_key)"


def _branch(condition: str) -> str:
    return f"""(SELECT {_ORDER} FROM allowance_standings a
            WHERE a.kind = w.kind AND (a.renewed_by IS NOT NULL) = w.renewed
                AND {condition} AND {_AFTER}
            ORDER BY {_ORDER} LIMIT :most)"""


_SHOWN = f"""
    SELECT a.customer_id, c.code, c.name, r.number AS successor,
        json_build_array({", ".join(f"a.{name}" for name in FIELDS)})::text AS row
    FROM found a JOIN customers c ON c.id = a.customer_id
    LEFT JOIN allowance_standings r ON (r.customer_id, r.key) = (a.customer_id, a.renewed_by)
    ORDER BY {_ORDER}"""
# An index has each kind, renewed or not, in the order of the list, for each of the conditions.
_EVERYBODY = """
    WITH nearest AS (
        SELECT x.stops_on, x.customer_id, x.key
        FROM unnest(CAST(:kinds AS text[])) AS kind
        CROSS JOIN unnest(CAST(:renewed AS boolean[])) AS renewed
        CROSS JOIN LATERAL (SELECT kind, renewed) w
        CROSS JOIN LATERAL (
            {branches}) x
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT :most),
    found AS (
        SELECT a.* FROM nearest n
        JOIN allowance_standings a ON (a.customer_id, a.key) = (n.customer_id, n.key)){shown}"""


def _everybody(indexed: int) -> TextClause:
    """The list of everybody, where the index of what is spent begins with a share."""
    spent = f"a.used_percent >= {indexed} AND {_SPENT}"
    branches = " UNION ALL ".join(map(_branch, (_ENDING, spent, _OVERRUN)))
    return text(_EVERYBODY.format(branches=branches, shown=_SHOWN))


_EVERYBODY_FROM = {indexed: _everybody(indexed) for indexed in _INDEXED}
_OF_ONE = text(f"""
    WITH found AS (
        SELECT a.* FROM allowance_standings a
        WHERE a.customer_id = :customer AND a.kind = ANY (CAST(:kinds AS text[]))
            AND (a.renewed_by IS NOT NULL) = ANY (CAST(:renewed AS boolean[]))
            AND (({_ENDING}) OR ({_SPENT}) OR {_OVERRUN}) AND {_AFTER}
        ORDER BY {_ORDER} LIMIT :most){_SHOWN}""")
_FACTS = text(f"SELECT c.id, {FACTS_NOW} FROM customers c WHERE c.id = ANY (CAST(:ids AS uuid[]))")


class Place(NamedTuple):
    """After which row a page begins."""

    stops_on: date
    customer: UUID
    key: str


FIRST = Place(date.min, UUID(int=0), "")


class Wanted(NamedTuple):
    """What is listed on a civil date."""

    today: date
    until: date
    """The last day on which what ends is listed as ending."""
    used_percent: int
    """`LEAST_PERCENT` or more."""
    kinds: Sequence[str]
    renewed: Sequence[bool]
    customer: UUID | None


class Found(NamedTuple):
    customer: UUID
    code: str
    name: str
    successor: str | None
    """The number of the allowance that leaves no day uncovered."""
    row: str
    """As JSON text (`read`)."""

    def read(self) -> AllowanceRow:
        return AllowanceRow.parse(self.row)


async def page(connection: AsyncConnection, wanted: Wanted, after: Place, most: int) -> list[Found]:
    """At most so many allowances that follow a place, in the order of the list."""
    values = {
        "today": wanted.today,
        "until": wanted.until,
        "percent": wanted.used_percent,
        "kinds": list(wanted.kinds),
        "renewed": list(wanted.renewed),
        "last_stop": after.stops_on,
        "last_customer": after.customer,
        "last_key": after.key,
        "most": most,
    }
    if wanted.customer is None:
        indexed = next(one for one in _INDEXED if one <= wanted.used_percent)
        found = await connection.execute(_EVERYBODY_FROM[indexed], values)
    else:
        found = await connection.execute(_OF_ONE, values | {"customer": wanted.customer})
    return [Found(*row) for row in found]


async def facts(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """The facts of now of customers, as JSON text (`store.facts.parse`)."""
    return {row.id: row.facts for row in await connection.execute(_FACTS, {"ids": list(ids)})}
