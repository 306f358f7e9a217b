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
    Select,
    String,
    Table,
    Uuid,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import CustomerNotFound, NotFound
from app.ids import as_id
from app.services.unit_of_work import Caller, UnitOfWork
from app.store import lock
from app.store.direct import DirectStatement
from app.store.tables import (
    cases,
    contracts,
    customers,
    licences,
    merged_customers,
    ticket_packs,
)

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
    if caller.customer_id is None:
        return true()
    return and_(_owner(table) == caller.customer_id, _stays(table))


def _stays(table: Table) -> ColumnElement[bool]:
    """The rows that are still their customer's: a case that was moved away never was (R38, R47)."""
    return cases.c.moved_to.is_(None) if table is cases else true()


def _identity(key: str | UUID) -> UUID | None:
    return key if isinstance(key, UUID) else as_id(key)


def _name(table: Table, known_as: str | None = None) -> ColumnElement[str]:
    # The same expression as in the unique index, so that the index is used.
    name = f'{known_as or table.name}.{_KNOWN_BY[table.name]} COLLATE "C"'
    return func.lower(literal_column(name))


_record = customers.alias("record")
_merged = merged_customers.alias("merged")


def survivor(record: Any) -> ColumnElement[UUID]:
    """The id of a record, of a merged one that of its survivor (R49)."""
    into = select(_merged.c.survivor_id).where(_merged.c.customer_id == record)
    return func.coalesce(into.scalar_subquery(), record)


def _leads_to(key: Any, by_id: bool) -> ColumnElement[UUID]:
    """The id of the customer to whom an id or code leads: of a merged one its survivor's."""
    if by_id:
        return survivor(key)
    known = select(survivor(_record.c.id)).select_from(_record)
    return known.where(_name(customers, _record.name) == func.lower(key)).scalar_subquery()


def itself(key: str | UUID) -> ColumnElement[bool]:
    """The customer's record with this id or code, merged or not."""
    identity = _identity(key)
    return customers.c.id == identity if identity is not None else _named(customers, key)


def _named(table: Table, key: Any) -> ColumnElement[bool]:
    return _name(table) == func.lower(key)


def called(table: Table, key: str | UUID) -> ColumnElement[bool]:
    """The row with this id, code, serial number or number (in upper or lower case).

    The id and the code of a merged customer are the survivor's (R49).
    """
    identity = _identity(key)
    if table is customers:
        return customers.c.id == _leads_to(identity or key, identity is not None)
    return table.c.id == identity if identity is not None else _named(table, key)


def visible(caller: Caller, table: Table) -> Select[Any]:
    """Every row of a table that the caller can see: the start of every list."""
    return select(table).where(within(caller, table))


# Sorts the holders of a serial number by the day on which they got it, the latest first (R44). That
# is whoever holds it today, or held it last: a licence is never got on a day in the future.
_LAST = (
    func.coalesce(licences.c.held_from, licences.c.purchased_on).desc(),
    licences.c.id.desc(),
)


def latest(rows: Select[Any], table: Table) -> Select[Any]:
    """The row that a name stands for, of those with the name."""
    return rows.order_by(*_LAST).limit(1) if table is licences else rows


@cache
def _by_key(table: Table, by_id: bool, of_customer: bool, bound: bool) -> DirectStatement:
    # Built once: building it for each request cost 60 µs.
    return DirectStatement(_rows_by_key(table, by_id, of_customer, bound))


def _rows_by_key(table: Table, by_id: bool, of_customer: bool, bound: bool) -> Select[Any]:
    """The row with `:key`, and of `:customer` if `of_customer`; for a bound token if `bound`."""
    key: BindParameter[Any] = bindparam("key", type_=Uuid if by_id else String)
    if table is customers:
        found = customers.c.id == _leads_to(key, by_id)
    else:
        found = table.c.id == key if by_id else _named(table, key)
    rows = select(table).where(found)
    rows = rows.where(_owner(table) == bindparam("customer")) if of_customer else rows
    rows = rows.where(_stays(table)) if bound else rows
    return rows if by_id else latest(rows, table)


@cache
def _owner_by_key(table: Table, by_id: bool, bound: bool) -> lock.Owner:
    rows = _rows_by_key(table, by_id, bound, bound)
    return lock.Owner(rows.with_only_columns(_owner(table)).scalar_subquery())


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
    changes by a merge alone). Raises RecordMerged.
    """
    locked = await lock_owner(work.connection, table, key, work.caller.customer_id)
    if locked is None:
        raise NotFound
    # During the wait the code may have moved to another customer, who is not locked.
    return await _find(work, table, key, rows, locked)


async def lock_owner(
    connection: AsyncConnection, table: Table, key: str | UUID, own: UUID | None = None
) -> UUID | None:
    """Lock the customer to whom a row with this id or name belongs, and return its id.

    Returns None if no row has it, or if the row belongs to another customer than `own`. Raises
    RecordMerged.
    """
    identity = _identity(key)
    whose = _owner_by_key(table, identity is not None, own is not None)
    return await lock.customer(connection, whose, {"key": identity or key, "customer": own})


async def _find(
    work: UnitOfWork,
    table: Table,
    key: str | UUID,
    rows: Select[Any] | None,
    customer_id: UUID | None,
) -> Row[Any]:
    identity = _identity(key)
    if rows is None:
        bound = work.caller.customer_id is not None
        statement = _by_key(table, identity is not None, customer_id is not None, bound)
        parameters = {"key": identity or key, "customer": customer_id}
        row = await statement.one_or_none(work.connection, parameters)
    else:
        query = rows.where(called(table, key))
        if customer_id is not None:
            query = query.where(_owner(table) == customer_id)
        row = (await work.connection.execute(latest(query, table))).one_or_none()
    if row is None:
        raise NotFound
    return row


def of_customer(table: Table, key: str | UUID) -> ColumnElement[bool]:
    """The rows of a table that belong to the customer to whom this id or code leads."""
    identity = _identity(key)
    return _owner(table) == _leads_to(identity or key, identity is not None)


async def named_customer(work: UnitOfWork, key: str | UUID) -> UUID:
    """The id of the customer that a body names by id or code. Raises CustomerNotFound."""
    try:
        row = await find(work, customers, key)
    except NotFound:
        raise CustomerNotFound from None
    identity: UUID = row.id
    return identity


async def lock_customers(work: UnitOfWork, *ids: UUID) -> None:
    """Lock several customers, whose ids have just been read, in the order of their ids.

    So two callers cannot deadlock. Raises RecordMerged.
    """
    for identity in sorted(set(ids)):
        await lock.record(work.connection, identity)


async def lock_customer(work: UnitOfWork, key: str | UUID) -> UUID:
    """Lock the customer that a body names by id or code, and return its id.

    Of a merged one the survivor. Raises CustomerNotFound, also for one out of sight, and
    RecordMerged.
    """
    identity, own = _identity(key), work.caller.customer_id
    if identity is not None and work.caller.sees(identity):
        locked = await lock.customer(work.connection, identity)
    else:
        locked = await lock_owner(work.connection, customers, key, own)
    if locked is None:
        raise CustomerNotFound
    return locked


async def records(work: UnitOfWork, customer_id: UUID) -> list[UUID]:
    """The ids under which a customer's events stand: its own, and those of all records that were
    merged into it (R49). Events stay what they were when they were recorded."""
    into = select(merged_customers.c.customer_id).where(
        merged_customers.c.survivor_id == customer_id
    )
    return [customer_id, *(await work.connection.execute(into)).scalars()]
