"""What a caller can see: the wall around a token bound to one customer (R38).

Every row that a request names or lists is selected through here, so that a row of another customer
is treated exactly as if it did not exist.
"""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    String,
    Table,
    Uuid,
    bindparam,
    func,
    literal_column,
    select,
    true,
)

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


def _identity(key: str | UUID) -> UUID | None:
    return key if isinstance(key, UUID) else as_id(key)


def _name(table: Table) -> ColumnElement[str]:
    # The same expression as in the unique index, so that the index is used.
    return func.lower(literal_column(f'{table.name}.{_KNOWN_BY[table.name]} COLLATE "C"'))


def called(table: Table, key: str | UUID) -> ColumnElement[bool]:
    """The row with this id, code, serial number or number (in upper or lower case)."""
    identity = _identity(key)
    return table.c.id == identity if identity is not None else _name(table) == func.lower(key)


def visible(caller: Caller, table: Table) -> Select[Any]:
    """Every row of a table that the caller can see: the start of every list."""
    return select(table).where(within(caller, table))


# Of the holders of a serial number the one who holds it today, failing that the last (R44): nobody
# gets a licence in the future.
_LAST = (
    func.coalesce(licences.c.held_from, licences.c.purchased_on).desc(),
    licences.c.id.desc(),
)


def latest(rows: Select[Any], table: Table) -> Select[Any]:
    """The row that a name stands for, of those with the name."""
    return rows.order_by(*_LAST).limit(1) if table is licences else rows


@cache
def _by_key(table: Table, by_id: bool, of_customer: bool) -> Select[Any]:
    """The row with `:key`, and of `:customer` if `of_customer`.

    Built once: building it for each request cost 60 µs.
    """
    key: BindParameter[Any] = bindparam("key", type_=Uuid if by_id else String)
    rows = select(table).where(table.c.id == key if by_id else _name(table) == func.lower(key))
    rows = rows.where(_owner(table) == bindparam("customer")) if of_customer else rows
    return rows if by_id else latest(rows, table)


@cache
def _owner_by_key(table: Table, by_id: bool, of_customer: bool) -> ScalarSelect[UUID]:
    rows = _by_key(table, by_id, of_customer)
    return rows.with_only_columns(_owner(table)).scalar_subquery()


async def find(
    work: UnitOfWork, table: Table, key: str | UUID, rows: Select[Any] | None = None
) -> Row[Any]:
    """The row that a path names. Raises NotFound, also for a row that the caller cannot see.

    `rows` is where to look, made with `visible`; by default the whole table.
    """
    return await _find(work, table, key, rows, work.caller.customer_id)


async def find_locked(
    work: UnitOfWork, table: Table, key: str | UUID, rows: Select[Any] | None = None
) -> Row[Any]:
    """The row that a path names, read under its customer's lock. Raises NotFound.

    `rows` as for `find`. What decides is read after the lock, never before (the customer of a row
    never changes).
    """
    own = work.caller.customer_id
    identity = _identity(key)
    whose = _owner_by_key(table, identity is not None, own is not None)
    parameters = {"key": identity or key, "customer": own}
    locked = await lock.customer(work.connection, whose, parameters)
    if locked is None:
        raise NotFound
    # During the wait the code may have moved to another customer, who is not locked.
    return await _find(work, table, key, rows, locked)


async def _find(
    work: UnitOfWork,
    table: Table,
    key: str | UUID,
    rows: Select[Any] | None,
    customer_id: UUID | None,
) -> Row[Any]:
    identity = _identity(key)
    if rows is None:
        query = _by_key(table, identity is not None, customer_id is not None)
    else:
        query = rows.where(called(table, key))
        if customer_id is not None:
            query = query.where(_owner(table) == customer_id)
        query = latest(query, table)
    parameters = {"key": identity or key, "customer": customer_id}
    row: Row[Any] | None = (await work.connection.execute(query, parameters)).one_or_none()
    if row is None:
        raise NotFound
    return row


def of_customer(table: Table, key: str | UUID) -> ColumnElement[bool]:
    """The rows of a table that belong to the customer with this id or code."""
    identity = _identity(key)
    if identity is not None:
        return _owner(table) == identity
    called_so = select(customers.c.id).where(called(customers, key))
    return _owner(table) == called_so.scalar_subquery()


async def named_customer(work: UnitOfWork, key: str | UUID) -> UUID:
    """The id of the customer that a body names by id or code. Raises CustomerNotFound."""
    try:
        row = await find(work, customers, key)
    except NotFound:
        raise CustomerNotFound from None
    identity: UUID = row.id
    return identity


async def lock_customers(work: UnitOfWork, *ids: UUID) -> None:
    """Lock several customers in the order of their ids, so that two callers cannot deadlock."""
    for identity in sorted(ids):
        await lock.customer(work.connection, identity)


async def lock_customer(work: UnitOfWork, key: str | UUID) -> UUID:
    """Lock the customer that a body names by id or code, and return its id.

    Raises CustomerNotFound, also for one out of sight.
    """
    identity, own = _identity(key), work.caller.customer_id
    locked: UUID | None = None
    if identity is None:
        whose = _owner_by_key(customers, False, own is not None)
        locked = await lock.customer(work.connection, whose, {"key": key, "customer": own})
    elif work.caller.sees(identity):
        locked = await lock.customer(work.connection, identity)
    if locked is None:
        raise CustomerNotFound
    return locked
