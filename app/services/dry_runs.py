"""Corrections tried out: what a step would change, with nothing written (R40).

The step itself runs, in a savepoint that is rolled back, so that the trial cannot differ from it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import JSON, Table, column, select, text

from app.errors import RecordedRefusal
from app.services.cases import PAYER
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find_locked, survivor
from app.store.facts import Known, load


class FactChange(NamedTuple):
    """What a step changes of one record, as its event says it."""

    event: str
    """The type of the event that the step records."""
    id: UUID
    name: str | None
    """The serial number, number or code of the record."""
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class MovedCharge(NamedTuple):
    """What a step adds to the minutes of a case that count on a day against one allowance."""

    case_number: str
    allowance: Mapping[str, Any] | None
    """As in `services.cases.PAYER`; None for overrun that no allowance bears."""
    counts_on: date
    used_minutes: int
    overrun_minutes: int


class Preview(NamedTuple):
    """What a step would change."""

    facts: list[FactChange]
    charges_moved: list[MovedCharge]
    customers: list[tuple[Known, Known]]
    """Each customer concerned, before and after the step; after a merge, as its id is answered."""


_LAST_ENTRY = text("SELECT coalesce(max(id), 0) FROM ledger WHERE customer_id = ANY(:customers)")
# A savepoint's own transaction id appears nowhere here: `events.xid` and pg_current_xact_id() are
# both the top-level transaction's. The query finds the events of the step for that reason, and
# would find earlier ones of the transaction too; a trial records none before its step.
_FACTS = text("""
    SELECT type, subject_id,
        coalesce(data->>'serial_number', data->>'number', data->>'code') AS name,
        data->'before' AS before, data->'after' AS after
    FROM events
    WHERE xid = pg_current_xact_id() AND customer_id = ANY(:customers)
        AND data ? 'before' AND data ? 'after'
    ORDER BY id""").columns(column("before", JSON), column("after", JSON))
_MOVED = text(f"""
    SELECT k.number, {PAYER.format(allowance="m.allowance_id")} AS allowance, m.counts_on,
        m.used, m.overrun
    FROM (
        SELECT e.case_id, coalesce(y.superseded_by, e.allowance_id) AS allowance_id, e.counts_on,
            sum(e.used_minutes) AS used, sum(e.overrun_minutes) AS overrun, min(e.id) AS first
        FROM ledger e LEFT JOIN service_years y ON y.id = e.allowance_id
        WHERE e.customer_id = ANY(:customers) AND e.id > :last AND e.time_entry_id IS NOT NULL
        GROUP BY 1, 2, 3) m
    JOIN cases k ON k.id = m.case_id
    WHERE m.used <> 0 OR m.overrun <> 0
    ORDER BY m.first""").columns(column("allowance", JSON))


async def lock_owner(work: UnitOfWork, table: Table, key: str) -> list[UUID]:
    """Lock the customer of the row that a path names. Raises NotFound."""
    return [(await find_locked(work, table, key)).customer_id]


async def preview(
    work: UnitOfWork, customers: Sequence[UUID], step: Callable[[], Awaitable[object]]
) -> Preview:
    """What a step would change of these customers, whose locks the caller holds.

    Raises as the step does.
    """
    connection = work.connection
    async with connection.begin_nested() as savepoint:
        concerned = {"customers": list(customers)}
        before = [await load(connection, id_) for id_ in customers]
        last = await connection.scalar(_LAST_ENTRY, concerned)
        try:
            await step()
        except RecordedRefusal as refusal:
            # A trial leaves no record.
            raise refusal.error from None
        # A constraint that waits for the commit refuses the trial too.
        await connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        facts = await connection.execute(_FACTS, concerned)
        moved = await connection.execute(_MOVED, concerned | {"last": last})
        after = [
            await load(connection, await connection.scalar(select(survivor(id_))) or id_)
            for id_ in customers
        ]
        found = Preview(
            [FactChange(*row) for row in facts],
            [MovedCharge(*row) for row in moved],
            list(zip(before, after, strict=True)),
        )
        await savepoint.rollback()
    return found
