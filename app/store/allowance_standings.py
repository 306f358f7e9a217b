"""The rows of each customer's allowances, kept beside the standings.

Only the transaction that holds the lock of `store.feed` writes them, so that no two do.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.policy.allowance_standings import AllowanceStanding

FIELDS = (*AllowanceStanding._fields, "used_percent", "notices")
ROWS = f"json_agg(json_build_array(customer_id, {', '.join(FIELDS)}))::text"
"""SQL for rows as JSON text (`rows`)."""
_WRITE = text(f"""
    INSERT INTO allowance_standings (customer_id, {", ".join(FIELDS)})
    SELECT customer_id, {", ".join(FIELDS)} FROM json_to_recordset(CAST(:rows AS json)) AS r (
        customer_id uuid, key text, kind text, number text, starts_on date, ends_on date,
        stops_on date, granted integer, used integer, held integer, overrun integer,
        cancelled integer, begun boolean, ends jsonb, renewed_by text, used_percent integer,
        notices jsonb)
    ON CONFLICT (customer_id, key) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in FIELDS if name != "key")}""")
_DELETE = text("""
    DELETE FROM allowance_standings a
    USING unnest(CAST(:ids AS uuid[]), CAST(:keys AS text[])) AS gone (customer_id, key)
    WHERE (a.customer_id, a.key) = (gone.customer_id, gone.key)""")


class AllowanceRow(NamedTuple):
    """A row as JSON has it: dates are texts. Rows that say the same are equal."""

    key: str
    kind: str
    number: str | None
    starts_on: str
    ends_on: str
    stops_on: str
    granted: int
    used: int
    held: int
    overrun: int
    cancelled: int
    begun: bool
    ends: dict[str, int] | None
    renewed_by: str | None
    used_percent: int | None
    notices: list[Any] | None
    """`policy.notices.Announced`; None before anything was reached."""

    @classmethod
    def of(cls, one: AllowanceStanding, notices: list[Any] | None) -> "AllowanceRow":
        packed = {day.isoformat(): unused for day, unused in one.ends.items()}
        return cls(
            one.key,
            one.kind,
            one.number,
            one.starts_on.isoformat(),
            one.ends_on.isoformat(),
            one.stops_on.isoformat(),
            one.granted,
            one.used,
            one.held,
            one.overrun,
            one.cancelled,
            one.begun,
            packed if one.kind == "ticket_pack" else None,
            one.renewed_by,
            one.used_percent,
            notices,
        )

    @classmethod
    def parse(cls, document: str) -> "AllowanceRow":
        """From JSON text, an array of the fields."""
        return cls(*orjson.loads(document))

    def standing(self) -> AllowanceStanding:
        """The allowance that the row is kept of."""
        day = date.fromisoformat
        kind: Any = self.kind
        return AllowanceStanding(
            self.key,
            kind,
            self.number,
            day(self.starts_on),
            day(self.ends_on),
            day(self.stops_on),
            self.granted,
            self.used,
            self.held,
            self.overrun,
            self.cancelled,
            self.begun,
            {day(ends_on): unused for ends_on, unused in (self.ends or {}).items()},
            self.renewed_by,
        )


Rows = dict[str, AllowanceRow]
"""A customer's, by key."""


Owned = list[tuple[UUID, AllowanceRow]]
"""Rows, each with the customer that it is kept for."""


def rows(document: str | None) -> Owned:
    """Rows from JSON text, an array of arrays, or from NULL."""
    found: Owned = []
    customer, last = UUID(int=0), ""
    for id_, *row in orjson.loads(document or "[]"):
        # All rows of most documents are those of one customer.
        if id_ != last:
            customer, last = UUID(id_), id_
        found.append((customer, AllowanceRow(*row)))
    return found


async def write(
    connection: AsyncConnection,
    changed: Owned,
    gone: Sequence[tuple[UUID, str]],
) -> None:
    """Store rows that differ from what is stored, and remove others by customer and key."""
    if changed:
        values = [{"customer_id": str(id_)} | row._asdict() for id_, row in changed]
        await connection.execute(_WRITE, {"rows": orjson.dumps(values).decode()})
    if gone:
        ids, keys = zip(*gone, strict=True)
        await connection.execute(_DELETE, {"ids": list(ids), "keys": list(keys)})
