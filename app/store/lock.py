"""The customer's lock: whoever writes a fact that counts holds it from before the first read."""

from uuid import UUID

from sqlalchemy import ScalarSelect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import customers


async def customer(
    connection: AsyncConnection, customer_id: UUID | ScalarSelect[UUID]
) -> UUID | None:
    """Lock a customer until the transaction ends: its id, None if there is none.

    `customer_id` may be a query that finds whose a thing is, which never changes.

    A statement of its own, before anything is read that decides: in one statement with the sum it
    guards it would see the sum as it was before the wait. Raises RuntimeError outside a
    transaction, where the lock would end with the statement.
    """
    _require_transaction(connection)
    locked = select(customers.c.id).where(customers.c.id == customer_id)
    # FOR NO KEY UPDATE: rows that only refer to the customer need not wait.
    locked = locked.with_for_update(key_share=True)
    found: UUID | None = (await connection.execute(locked)).scalar_one_or_none()
    return found


async def customers_called(connection: AsyncConnection, codes: str) -> None:
    """Lock every customer whose code in small letters `codes` finds, a query of the code's own.

    In the order of their ids, so that two who lock many wait for one another and never crosswise.
    Raises as `customer`.
    """
    _require_transaction(connection)
    locked = f"""SELECT id FROM customers WHERE lower(code COLLATE "C") IN ({codes})
        ORDER BY id FOR NO KEY UPDATE"""
    # Counted in the database: nobody asks which they were.
    await connection.execute(text(f"SELECT count(*) FROM ({locked}) AS locked"))


def _require_transaction(connection: AsyncConnection) -> None:
    if not connection.in_transaction():
        raise RuntimeError("a lock outside a transaction guards nothing")
