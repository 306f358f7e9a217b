"""What a caller can see: the wall around a token bound to one customer (R38).

Every row that a request names or lists is selected through here, so that a row of another customer
is treated exactly as if it did not exist.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Table, func, literal_column, select, true

from app.errors import CustomerNotFound, NotFound
from app.ids import as_id
from app.services.unit_of_work import Caller, UnitOfWork
from app.store import lock
from app.store.tables import cases, contracts, customers, licences, ticket_packs

# The column with the name that people use for a thing; paths take it in place of the id.
_KNOWN_BY: dict[str, str] = {
    customers.name: "code",
    licences.name: "serial_number",
    contracts.name: "number",
    ticket_packs.name: "number",
    cases.name: "number",
}


def _owner(table: Table) -> ColumnElement[UUID]:
    return table.c.id if table is customers else table.c.customer_id


def within(caller: Caller, table: Table) -> ColumnElement[bool]:
    """The rows of a table that the caller can see: for a bound token, its customer's."""
    return true() if caller.customer_id is None else _owner(table) == caller.customer_id


def called(table: Table, key: str | UUID) -> ColumnElement[bool]:
    """The row with this id, code, serial number or number (in upper or lower case)."""
    identity = key if isinstance(key, UUID) else as_id(key)
    if identity is not None:
        return table.c.id == identity
    # The same expression as in the unique index, so that the index is used.
    column = func.lower(literal_column(f'{table.name}.{_KNOWN_BY[table.name]} COLLATE "C"'))
    return column == func.lower(key)


def visible(caller: Caller, table: Table) -> Select[Any]:
    """Every row of a table that the caller can see: the start of every list."""
    return select(table).where(within(caller, table))


async def find(
    work: UnitOfWork, table: Table, key: str | UUID, rows: Select[Any] | None = None
) -> Row[Any]:
    """The row that a path names. Raises NotFound, also for a row that the caller cannot see.

    `rows` is where to look, made with `visible`; by default the whole table.
    """
    query = (visible(work.caller, table) if rows is None else rows).where(called(table, key))
    row: Row[Any] | None = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    return row


async def find_locked(
    work: UnitOfWork, table: Table, key: str | UUID, rows: Select[Any] | None = None
) -> Row[Any]:
    """The row that a path names, read under its customer's lock. Raises NotFound.

    `rows` as for `find`. What decides is read after the lock, never before (the customer of a row
    never changes).
    """
    owner = _owner(table)
    whose = select(owner).where(within(work.caller, table), called(table, key))
    locked = await lock.customer(work.connection, whose.scalar_subquery())
    if locked is None:
        raise NotFound
    # During the wait the code may have moved to another customer, who is not locked.
    rows = visible(work.caller, table) if rows is None else rows
    return await find(work, table, key, rows.where(owner == locked))


async def lock_customer(work: UnitOfWork, customer_id: UUID) -> None:
    """Lock the customer that a body names. Raises CustomerNotFound, also for one out of sight."""
    seen = work.caller.sees(customer_id)
    if not seen or await lock.customer(work.connection, customer_id) is None:
        raise CustomerNotFound
