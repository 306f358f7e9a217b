"""What a caller can reach: the wall around a token bound to one customer.

Every row that a request names or lists is selected through here, so that anything of another
customer is answered exactly as if it did not exist.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Table, func, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from app.http.fields import as_id
from app.http.problems import CustomerNotFound, NotFound
from app.http.tokens import Caller
from app.store import lock
from app.store.tables import cases, contracts, customers, licences, ticket_packs

# What people call a thing by, where a path also takes its id.
_KNOWN_BY: dict[str, str] = {
    customers.name: "code",
    licences.name: "serial_number",
    contracts.name: "number",
    ticket_packs.name: "number",
    cases.name: "number",
}


def within(caller: Caller, table: Table) -> ColumnElement[bool]:
    """The rows of a table that the caller can reach: for a bound token, its customer's."""
    if caller.customer_id is None:
        return true()
    owner = table.c.id if table is customers else table.c.customer_id
    return owner == caller.customer_id


def called(table: Table, key: str | UUID) -> ColumnElement[bool]:
    """The row that an id names, or a code, serial number or number whatever its case."""
    identity = key if isinstance(key, UUID) else as_id(key)
    if identity is not None:
        return table.c.id == identity
    known_by = _KNOWN_BY[table.name]
    # The very expression of the unique index.
    column = func.lower(literal_column(f'{table.name}.{known_by} COLLATE "C"'))
    return column == func.lower(key)


def reachable(caller: Caller, table: Table) -> Select[Any]:
    """Every row of a table that the caller can reach: where a list begins."""
    return select(table).where(within(caller, table))


async def find(
    connection: AsyncConnection,
    caller: Caller,
    table: Table,
    key: str | UUID,
    rows: Select[Any] | None = None,
) -> Row[Any]:
    """The row that a path names. Raises NotFound, for what is out of reach as well.

    `rows` is where to look, made with `reachable`; the whole table without it.
    """
    query = (reachable(caller, table) if rows is None else rows).where(called(table, key))
    row: Row[Any] | None = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    return row


async def lock_customer_of(
    connection: AsyncConnection, caller: Caller, table: Table, key: str | UUID
) -> Row[Any]:
    """The row that a path names, read under its customer's lock. Raises NotFound.

    What decides is read after the lock, never before (a customer never changes for a row).
    """
    owner = table.c.id if table is customers else table.c.customer_id
    whose = select(owner).where(within(caller, table), called(table, key))
    locked = await lock.customer(connection, whose.scalar_subquery())
    if locked is None:
        raise NotFound
    # A code may have gone to another customer during the wait, who is not locked.
    return await find(
        connection, caller, table, key, reachable(caller, table).where(owner == locked)
    )


async def lock_named_customer(
    connection: AsyncConnection, caller: Caller, customer_id: UUID
) -> None:
    """Lock the customer that a body names. Raises CustomerNotFound, also for one out of reach."""
    if not caller.sees(customer_id) or await lock.customer(connection, customer_id) is None:
        raise CustomerNotFound
