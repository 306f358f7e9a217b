"""The customer's lock. Writers of facts that count take it before their first read.

Why one lock: DECISION-ledger-and-balances.md.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import customers


def _locking(customer_id: ColumnElement[UUID]) -> Select[Any]:
    # FOR NO KEY UPDATE: inserting rows that refer to the customer does not wait for this lock.
    locked = select(customers.c.id).where(customers.c.id == customer_id)
    return locked.with_for_update(key_share=True)


# Built once: building and comparing it would cost every opening of a case 35 µs.
_BY_ID = _locking(bindparam("customer_id", type_=Uuid))


async def customer(
    connection: AsyncConnection,
    customer_id: UUID | ScalarSelect[UUID],
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> UUID | None:
    """Lock a customer until the transaction ends. Returns its id, None if it does not exist.

    `customer_id` may be a query, with its `parameters`, that finds the owner of a thing; an owner
    never changes.

    Call this before reading anything that the decision depends on, as a separate statement: a
    statement that locks and reads at once sees the data as they were before it waited. Raises
    RuntimeError outside a transaction, because the lock would end with the statement.
    """
    _require_transaction(connection)
    if isinstance(customer_id, ScalarSelect):
        statement = _locking(customer_id)
    else:
        statement, parameters = _BY_ID, {"customer_id": customer_id}
    found: UUID | None = (await connection.execute(statement, parameters)).scalar_one_or_none()
    return found


async def customers_called(connection: AsyncConnection, codes: str) -> None:
    """Lock all customers whose code in lower case is returned by the constant SQL query `codes`.

    The rows are locked in the order of their ids, so that two callers cannot deadlock. Raises as
    `customer` does.
    """
    _require_transaction(connection)
    locked = f"""SELECT id FROM customers WHERE lower(code COLLATE "C") IN ({codes})
        ORDER BY id FOR NO KEY UPDATE"""
    # count(*) keeps the ids in the database: no caller needs them.
    await connection.execute(text(f"SELECT count(*) FROM ({locked}) AS locked"))


def _require_transaction(connection: AsyncConnection) -> None:
    if not connection.in_transaction():
        raise RuntimeError("a lock has no effect outside a transaction")
