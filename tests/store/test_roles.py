"""What the role that serves requests cannot do, and the lock that guards what it does."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from app.ids import new_id
from app.store import lock
from tests.api.build import Customer
from tests.conftest import Service


@pytest.fixture
async def serving(service: Service) -> AsyncIterator[asyncpg.Connection]:
    url = service.server.url(service.database_name, service.server.login)
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    "command",
    [
        "UPDATE balances SET used_minutes = 0",
        "INSERT INTO balances SELECT * FROM balances",
        "DELETE FROM balances",
        "INSERT INTO ticket_uses SELECT * FROM ticket_uses",
        "UPDATE ticket_uses SET state = 'held'",
        "DELETE FROM ticket_uses",
        "UPDATE contracts SET customer_id = customer_id",
        "UPDATE ticket_packs SET quantity = 1000",
        "UPDATE service_years SET granted_minutes = 9999",
        "UPDATE time_entries SET minutes = 1",
        "DELETE FROM time_entries",
        "DELETE FROM cases",
        "DELETE FROM customers",
        "DELETE FROM licences",
        "UPDATE installation_keys SET key = key",
        "INSERT INTO installation_keys SELECT * FROM installation_keys",
        "DELETE FROM installation_keys",
    ],
)
async def test_balances_move_through_the_ledger_alone(
    serving: asyncpg.Connection, command: str
) -> None:
    """R19, R26, R30: what is granted is never rewritten, and nothing but contacts is deleted."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await serving.execute(command)


@pytest.mark.parametrize(
    "command",
    [
        "CREATE TABLE mine (id int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "ALTER TABLE ledger DISABLE TRIGGER USER",
        "DROP TRIGGER refuse_change ON ledger",
        "DROP TABLE events",
        "SET session_replication_role = replica",
        "SELECT refuse_change()",
    ],
)
async def test_the_schema_is_not_its_to_change(serving: asyncpg.Connection, command: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await serving.execute(command)


async def test_the_role_of_bound_tokens_reads_no_key(serving: asyncpg.Connection) -> None:
    assert len(await serving.fetchval("SELECT key FROM installation_keys")) == 32
    await serving.execute("SET ROLE assistenza_bound")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await serving.execute("SELECT key FROM installation_keys")


async def test_it_owns_nothing_and_is_nobody_special(serving: asyncpg.Connection) -> None:
    owned = "SELECT count(*) FROM pg_class WHERE pg_has_role(current_user, relowner, 'USAGE')"
    assert await serving.fetchval(owned) == 0
    row = await serving.fetchrow(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication"
        " FROM pg_roles WHERE rolname = current_user"
    )
    assert row is not None
    assert not any(row)


async def test_a_lock_outside_a_transaction_is_refused(service: Service) -> None:
    """It would end with its own statement and guard nothing."""
    async with service.database.reading.connect() as connection:
        assert not connection.in_transaction()
        with pytest.raises(RuntimeError, match="transaction"):
            await lock.customer(connection, new_id())


async def test_a_lock_holds_a_second_writer_off_until_the_transaction_ends(
    service: Service, client: httpx.AsyncClient, serving: asyncpg.Connection
) -> None:
    """R19, R20: and no reader."""
    customer = await Customer.new(client, service.today())
    attempt = f"SELECT id FROM customers WHERE id = '{customer.id}' FOR NO KEY UPDATE NOWAIT"
    async with service.database.writing.begin() as connection:
        assert await lock.customer(connection, customer.id)  # type: ignore[arg-type]
        with pytest.raises(asyncpg.LockNotAvailableError):
            await serving.execute(attempt)
        assert (await customer.entitlements())["columns"] == ["NO_DEV"]
    await serving.execute(attempt)


async def test_nobody_is_locked_where_there_is_nobody(service: Service) -> None:
    async with service.database.writing.begin() as connection:
        assert not await lock.customer(connection, new_id())
