"""The customer's lock. Writers of facts that count take it before their first read.

Why one lock: DECISION-ledger-and-balances.md.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, Uuid, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import RecordMerged
from app.store.direct import DirectStatement
from app.store.tables import customers, merged_customers


def _locking(customer_id: ColumnElement[UUID]) -> Select[Any]:
    # FOR NO KEY UPDATE: inserting rows that refer to the customer does not wait for this lock.
    # A statement that had to wait returns `merged_at` as of the end of the wait: it sees a merge.
    locked = select(customers.c.id, customers.c.merged_at).where(customers.c.id == customer_id)
    return locked.with_for_update(key_share=True)


# Built once: building and comparing them would cost every opening of a case 35 µs.
_ID = bindparam("customer_id", type_=Uuid)
_RECORD = DirectStatement(_locking(_ID))
_BY_ID = DirectStatement(
    _locking(
        func.coalesce(
            select(merged_customers.c.survivor_id)
            .where(merged_customers.c.customer_id == _ID)
            .scalar_subquery(),
            _ID,
        )
    )
)


class Owner:
    """The customer whom a query finds as the owner of a thing; it changes by a merge alone.

    Made once for each query: making one costs more than its statement.
    """

    def __init__(self, found: ScalarSelect[UUID]) -> None:
        self.statement = DirectStatement(_locking(found))


async def customer(
    connection: AsyncConnection,
    customer_id: UUID | Owner,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> UUID | None:
    """Lock a customer until the transaction ends. Returns its id, None if it does not exist.

    The id of a merged record means its survivor (R49). An `Owner` takes `parameters`.

    Call this before reading anything that the decision depends on, as a separate statement: a
    statement that locks and reads at once sees the data as they were before it waited. Raises
    RecordMerged, and RuntimeError outside a transaction, because the lock would end with the
    statement.
    """
    if isinstance(customer_id, Owner):
        return await _lock(connection, customer_id.statement, parameters)
    return await _lock(connection, _BY_ID, {"customer_id": customer_id})


async def record(connection: AsyncConnection, customer_id: UUID) -> None:
    """Lock a customer's record that is known not to be merged. Raises as `customer` does.

    For those who lock several in the order of their ids: a survivor would come out of turn.
    """
    await _lock(connection, _RECORD, {"customer_id": customer_id})


async def _lock(
    connection: AsyncConnection, statement: DirectStatement, parameters: Mapping[str, Any]
) -> UUID | None:
    _require_transaction(connection)
    row = await statement.one_or_none(connection, parameters)
    if row is None:
        return None
    if row.merged_at is not None:
        # Waiting for the survivor with this lock in hand could end in a deadlock.
        raise RecordMerged
    found: UUID = row.id
    return found


async def customers_called(connection: AsyncConnection, codes: str) -> None:
    """Lock all customers whose code in lower case is returned by the constant SQL query `codes`.

    Of merged records the survivors are locked (R49). The rows are locked in the order of their ids,
    so that two callers cannot deadlock. Raises as `customer` does.
    """
    _require_transaction(connection)
    locked = f"""SELECT merged_at FROM customers WHERE id IN (
            SELECT coalesce(m.survivor_id, c.id)
            FROM customers c LEFT JOIN merged_customers m ON m.customer_id = c.id
            WHERE lower(c.code COLLATE "C") IN ({codes}))
        ORDER BY id FOR NO KEY UPDATE"""
    # The ids stay in the database: no caller needs them.
    if await connection.scalar(text(f"SELECT count(merged_at) FROM ({locked}) AS locked")):
        raise RecordMerged


def _require_transaction(connection: AsyncConnection) -> None:
    if not connection.in_transaction():
        raise RuntimeError("a lock has no effect outside a transaction")
