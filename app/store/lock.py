"""The customer's lock. Writers of facts that count take it before their first read.

Why one lock: DECISION-ledger-and-balances.md.
"""

from uuid import UUID

from sqlalchemy import ScalarSelect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import customers


async def customer(
    connection: AsyncConnection, customer_id: UUID | ScalarSelect[UUID]
) -> UUID | None:
    """Lock a customer until the transaction ends. Returns its id, None if it does not exist.

    `customer_id` may be a query that finds the owner of a thing; an owner never changes.

    Call this before reading anything that the decision depends on, as a separate statement: a
    statement that locks and reads at once sees the data as they were before it waited. Raises
    RuntimeError outside a transaction, because the lock would end with the statement.
    """
    _require_transaction(connection)
    locked = select(customers.c.id).where(customers.c.id == customer_id)
    # FOR NO KEY UPDATE: inserting rows that refer to the customer does not wait for this lock.
    locked = locked.with_for_update(key_share=True)
    found: UUID | None = (await connection.execute(locked)).scalar_one_or_none()
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
