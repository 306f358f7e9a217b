"""Statements past SQLAlchemy: they give what its own execution gives, and fail as safely."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import date
from itertools import combinations
from types import MappingProxyType
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Integer, Row, bindparam, func, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app import clock
from app.ids import new_id
from app.services import case_opening, case_steps, visibility
from app.services import time_entries as time_entry_services
from app.services.cases import WHOLE
from app.store import direct, facts, lock
from app.store import events as store_events
from app.store import ledger as store_ledger
from app.store.database import Database, statements
from app.store.direct import DirectStatement
from app.store.driver import create_engine
from app.store.tables import cases, customers, events, ledger, time_entries, tokens
from tests.api.build import Customer
from tests.conftest import Service


@pytest.fixture
async def connection(service: Service) -> AsyncIterator[AsyncConnection]:
    """In a transaction that has begun in the database too."""
    async with service.database.writing.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(text("SELECT 1"))
        yield connection
        if transaction.is_active:
            await transaction.rollback()


async def same(
    connection: AsyncConnection, statement: Any, parameters: dict[str, Any]
) -> list[Row[Any]]:
    """The rows by both ways, which must be the same, in a savepoint each."""
    found = []
    for execute in (DirectStatement(statement).rows, _by_sqlalchemy(statement)):
        nested = await connection.begin_nested()
        found.append(list(await execute(connection, parameters)))
        await nested.rollback()
    direct, other = found
    assert direct == other
    assert [row._mapping for row in direct] == [row._mapping for row in other]
    assert [tuple(map(type, row)) for row in direct] == [tuple(map(type, row)) for row in other]
    return direct


def _by_sqlalchemy(statement: Any) -> Any:
    async def rows(connection: AsyncConnection, parameters: dict[str, Any]) -> Any:
        result = await connection.execute(statement, parameters)
        return result.all() if result.returns_rows else []

    return rows


async def in_transaction(
    connection: AsyncConnection,
    statement: DirectStatement,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Run it as the second statement of a transaction."""
    async with connection.begin():
        await connection.execute(select(literal(1)))
        await statement.rows(connection, parameters)


async def test_every_kind_of_value_is_the_same(connection: AsyncConnection) -> None:
    now = clock.now()
    data = {"a": [1, None, "ü", True], "b": None}
    kinds = select(
        bindparam("uuid", new_id()).label("uuid"),
        bindparam("at", now).label("at"),
        bindparam("day", now.date()).label("day"),
        bindparam("data", type_=JSONB).label("data"),
        bindparam("nothing", None, type_=JSONB).label("nothing"),
        literal("constant").label("constant"),
        func.now().label("begun"),
    )
    (row,) = await same(connection, kinds, {"data": data})
    assert row.data == data
    assert row.constant == "constant"
    assert isinstance(row.uuid, UUID)
    assert isinstance(row.day, date)


async def test_a_case_is_read_and_changed_alike(
    service: Service, connection: AsyncConnection
) -> None:
    async with await service.client_with(
        "customers:write", "licences:write", "cases:write", "cases:work"
    ) as client:
        customer = await Customer.new(client, service.today())
        await customer.licence()
        case = await customer.open()
        await customer.work(case, 10)
    of = {"key": UUID(case["id"])}
    (read,) = await same(connection, select(*WHOLE).where(cases.c.id == bindparam("key")), of)
    assert read.worked_minutes == 10
    change = update(cases).where(cases.c.id == bindparam("key")).returning(*WHOLE)
    for fields in ({"subject": "Changed"}, {"technician": None, "description": "Changed"}):
        (changed,) = await same(connection, change, {**of, **fields})
        assert fields.items() <= changed._mapping.items()
    entries = select(time_entries).where(time_entries.c.case_id == bindparam("key"))
    assert len(await same(connection, entries, of)) == 1
    assert await same(connection, entries, {"key": new_id()}) == []


async def test_an_insert_writes_the_columns_that_are_named(connection: AsyncConnection) -> None:
    row = {"id": new_id(), "code": "DIRECT", "name": "Direct", "country": "IT", "language": "it"}
    made = {**row, "created_at": clock.now(), "updated_at": clock.now()}
    assert await same(connection, insert(customers), made) == []
    returning = insert(customers).returning(customers.c.code, customers.c.language)
    assert await same(connection, returning, made) == [("DIRECT", "it")]


async def test_what_only_sqlalchemy_can_run_is_left_to_it(connection: AsyncConnection) -> None:
    chosen = select(cases.c.id).where(cases.c.id.in_(bindparam("ids", expanding=True)))
    nested = select(bindparam("ids", type_=ARRAY(Integer)))
    for statement, ids in ((chosen, [new_id()]), (nested, [1])):
        assert DirectStatement(statement).compiled_for(("ids",)) is None
        await same(connection, statement, {"ids": ids})


async def test_the_first_statement_begins_the_transaction(service: Service) -> None:
    """Otherwise what it writes would be committed at once."""
    isolated = DirectStatement(text("SELECT pg_current_xact_id_if_assigned() IS NULL AS nothing"))
    event = insert(tokens).values(
        id=new_id(), name="direct", hash=b"direct", scopes=[], created_at=clock.now()
    )
    async with service.database.writing.connect() as connection:
        async with connection.begin() as transaction:
            await DirectStatement(event).rows(connection, {})
            assert not (await isolated.one(connection, {})).nothing
            await transaction.rollback()
        found = await connection.scalar(
            select(func.count()).select_from(tokens).where(tokens.c.name == "direct")
        )
    assert found == 0


async def test_it_is_counted_as_a_statement(connection: AsyncConnection) -> None:
    counter = [0]
    marker = statements.set(counter)
    await DirectStatement(select(literal(1))).one(connection, {})
    statements.reset(marker)
    assert counter == [1]


async def test_it_notes_when_the_server_was_heard(connection: AsyncConnection) -> None:
    driver: Any = (await connection.get_raw_connection()).driver_connection
    driver.heard = 0.0
    await DirectStatement(select(literal(1))).one(connection, {})
    assert driver.heard > 0


async def test_a_driver_that_is_not_the_pools_is_left_to_sqlalchemy(service: Service) -> None:
    address = service.admin_url.replace("postgresql:", "postgresql+asyncpg:", 1)
    engine = create_engine(address, {})
    async with engine.begin() as connection:
        await connection.execute(text("SELECT 1"))
        assert (await DirectStatement(select(literal(1).label("one"))).one(connection, {})).one == 1
    await engine.dispose()


def test_a_client_that_changes_any_columns_cannot_fill_the_memory() -> None:
    statement = DirectStatement(update(cases))
    names = [column.name for column in cases.c]
    for chosen in list(combinations(names, 3))[: 3 * direct._MOST_SETS]:
        assert statement.compiled_for(chosen) is not None
    assert len(statement._compiled) == direct._MOST_SETS


async def test_an_error_rolls_back_and_leaves_a_good_connection(service: Service) -> None:
    wrong = DirectStatement(insert(ledger))
    async with service.database.writing.connect() as connection:
        async with connection.begin():
            process = await connection.scalar(select(func.pg_backend_pid()))
        with pytest.raises(asyncpg.NotNullViolationError):
            await in_transaction(connection, wrong, {"kind": "hold"})
        assert await connection.scalar(select(func.pg_backend_pid())) == process


async def test_a_cancelled_statement_gives_its_connection_up(service: Service) -> None:
    sleep = DirectStatement(text("SELECT pg_sleep(30)"))
    async with service.database.writing.connect() as connection:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_transaction(connection, sleep), 0.2)
        assert connection.invalidated


async def test_a_silent_server_is_noticed(service: Service) -> None:
    """The other connections that were silent as long are aborted (`OpenConnections.silent`)."""
    settings = service.app.state.settings.model_copy(update={"statement_timeout_ms": 100})
    async with (
        Database(settings) as database,
        database.writing.connect() as connection,
        database.writing.connect() as other,
    ):
        for one in (connection, other):
            await one.execute(text("SELECT 1"))
            await one.execute(text("SET statement_timeout = 0"))
            # Otherwise the server ends them by itself.
            await one.execute(text("SET idle_in_transaction_session_timeout = 0"))
        with pytest.raises(TimeoutError):
            await DirectStatement(text("SELECT pg_sleep(30)")).rows(connection, {})
        assert connection.invalidated
        driver: Any = (await other.get_raw_connection()).driver_connection
        assert driver.is_closed()
        await other.invalidate()


async def test_a_lost_connection_is_not_used_again(service: Service) -> None:
    ends = DirectStatement(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    async with service.database.writing.connect() as connection:
        with pytest.raises((asyncpg.PostgresError, DBAPIError)):
            await in_transaction(connection, ends)
    async with service.database.writing.begin() as connection:
        assert await connection.scalar(select(func.count()).select_from(events)) is not None


def test_the_steps_of_a_case_are_direct() -> None:
    """None of them is left to SQLAlchemy unnoticed, as by a new column with an array."""
    from_modules = [
        (lock._BY_ID, ("customer_id",)),
        (facts._LOAD, ("id",)),
        (store_events._INSERT, tuple(c.name for c in events.c if c.name != "id")),
        (store_ledger._INSERT_ONE, tuple(store_ledger._COLUMNS)),
        (case_opening._INSERT, ("id", "opening_year")),
        (case_steps._UPDATE, ("changed_case", "state")),
        (time_entry_services._INSERT, tuple(time_entries.c.keys())),
        (time_entry_services._WHOLE, ("entry", "of_case", "to_staff")),
        (visibility._by_key(cases, True, True, False), ("key", "customer")),
        (visibility._owner_by_key(cases, True, False).statement, ("key", "customer")),
    ]
    for statement, names in from_modules:
        assert statement.compiled_for(names) is not None, names
