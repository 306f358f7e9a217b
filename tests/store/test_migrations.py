"""The migrations go up and down, and a schema says which programs may serve it."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from packaging.version import Version

from app import __version__
from app.settings import Settings
from app.store import migrations
from app.store.database import Database
from tests.conftest import Server, Service

ROOT = Path(__file__).parents[2]
_LATER = """
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    op.execute("ALTER TABLE customers ADD COLUMN later text")
    op.execute("UPDATE schema_compatibility SET lowest_program_version = '{lowest}'")


def downgrade() -> None:
    op.execute("ALTER TABLE customers DROP COLUMN later")
"""
_NEXT = f"{Version(__version__).major}.{Version(__version__).minor + 1}.0"
NewService = Callable[..., Awaitable[Service]]
Later = Callable[[str, str], Awaitable[None]]


def address(server: Server, name: str) -> str:
    return server.url(name).replace("postgresql://", "postgresql+asyncpg://", 1)


@pytest.fixture
async def later(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Later]:
    """Migrates a database as a later release would: to a version that this program lacks."""

    async def migrate(name: str, lowest: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(ROOT / "alembic", folder)
        script = _LATER.format(head=migrations.head(), lowest=lowest)
        (folder / "versions" / "9999_later.py").write_text(script)
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "_directory", lambda: folder)
            migrations._scripts.cache_clear()
            await migrations.upgrade(address(server, name))
        migrations._scripts.cache_clear()

    yield migrate
    migrations._scripts.cache_clear()


async def refusal(server: Server, name: str) -> str | None:
    database = Database(Settings(database_url=server.url(name, server.login)))
    try:
        return await migrations.refusal(database.reading)
    finally:
        await database.close()


async def test_down_to_nothing_and_up_again(
    server: Server, new_database: Callable[[], Awaitable[str]]
) -> None:
    name = await new_database()
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    before = {row["relname"] for row in await server.run_in(name, tables)}
    await migrations.downgrade(address(server, name), "base")
    left = {row["relname"] for row in await server.run_in(name, tables)}
    assert left == {"alembic_version", "alembic_version_pkc"}
    await migrations.upgrade(address(server, name))
    assert {row["relname"] for row in await server.run_in(name, tables)} == before
    await migrations.check(address(server, name))


@pytest.mark.parametrize("lowest", ["0.1.0", __version__])
async def test_a_compatible_later_schema_is_served(
    new_service: NewService, later: Later, lowest: str
) -> None:
    service = await new_service()
    await later(service.database_name, lowest)
    assert await refusal(service.server, service.database_name) is None
    async with await service.client_with("customers:write", "entitlements:read") as client:
        assert (await client.get("/readyz")).status_code == 200
        customer = {"code": "LATER", "name": "Later", "country": "IT"}
        assert (await client.post("/v1/customers", json=customer)).status_code == 201
        answer = await client.get("/v1/entitlements?customer_code=LATER")
        assert answer.status_code == 200
    await migrations.upgrade_or_accept(address(service.server, service.database_name))


@pytest.mark.parametrize("lowest", [_NEXT, "10.0.0"])
async def test_an_incompatible_later_schema_is_refused(
    new_service: NewService, later: Later, lowest: str
) -> None:
    service = await new_service()
    await later(service.database_name, lowest)
    said = await refusal(service.server, service.database_name)
    assert said is not None
    assert f"served by version {lowest} or newer" in said
    async with service.client(None) as client:
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
    with pytest.raises(migrations.NewerSchema, match=re.escape(said)):
        await migrations.upgrade_or_accept(address(service.server, service.database_name))


@pytest.mark.parametrize("version", ["0002", "base"])
async def test_an_older_schema_is_refused(new_service: NewService, version: str) -> None:
    service = await new_service()
    await migrations.downgrade(address(service.server, service.database_name), version)
    found = "empty" if version == "base" else "at version 0002"
    # A superuser, because a database without the schema has granted nothing yet.
    database = Database(Settings(database_url=service.admin_url))
    try:
        said = await migrations.refusal(database.reading)
    finally:
        await database.close()
    assert said == (
        f"the database's schema is {found}, this program needs {migrations.head()}."
        " Run `assistenza migrate` first."
    )
    async with service.client(None) as client:
        assert (await client.get("/readyz")).status_code == 503


async def test_commands_say_in_one_line_that_the_schema_is_newer(
    server: Server,
    new_database: Callable[[], Awaitable[str]],
    later: Later,
) -> None:
    name = await new_database()
    await later(name, _NEXT)
    said = (
        f"assistenza: the database's schema is at version 9999, newer than this program"
        f" ({__version__}) knows. It is served by version {_NEXT} or newer, and migrated by the"
        " version that made it.\n"
    )
    for command in ("migrate", "serve"):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "app.cli", command],
            cwd=ROOT,
            env={**os.environ, "ASSISTENZA_DATABASE_URL": server.url(name)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, done.stderr, done.stdout) == (1, said, "")


@asynccontextmanager
async def connection_to(server: Server, name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.url(name))
    # As long as the service waits for a lock.
    await connection.execute("SET lock_timeout = '3s'")
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_migration_that_waits_for_a_table_makes_no_request_fail(
    server: Server, new_database: Callable[[], Awaitable[str]], later: Later
) -> None:
    name = await new_database()
    async with connection_to(server, name) as long, connection_to(server, name) as other:
        held = long.transaction()
        await held.start()
        await long.execute("LOCK TABLE customers IN ACCESS SHARE MODE")
        migrating = asyncio.ensure_future(later(name, _NEXT))
        ends_at = time.monotonic() + 5
        while time.monotonic() < ends_at:
            assert await other.fetchval("SELECT count(*) FROM customers") == 0
            await asyncio.sleep(0.05)
        assert not migrating.done()
        await held.rollback()
        await migrating
        assert await other.fetchval("SELECT version_num FROM alembic_version") == "9999"


async def test_a_lock_that_is_never_given_back_is_told(
    server: Server,
    new_database: Callable[[], Awaitable[str]],
    later: Later,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = await new_database()
    monkeypatch.setattr(migrations, "_PAUSES", (0.1,))
    async with connection_to(server, name) as long, long.transaction():
        await long.execute("LOCK TABLE customers IN ACCESS SHARE MODE")
        with pytest.raises(migrations.CannotMigrate, match="A long transaction holds a table"):
            await later(name, _NEXT)


_INDEX = """
from app.store.migrations import build_index, remove_index

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    build_index("ix_customers_later", "customers (name)")


def downgrade() -> None:
    remove_index("ix_customers_later")
"""


async def test_an_index_is_built_while_others_write(
    server: Server,
    new_database: Callable[[], Awaitable[str]],
    later: Later,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = await new_database()
    monkeypatch.setitem(globals(), "_LATER", _INDEX)
    make = (
        "INSERT INTO customers (id, code, name, country, language, created_at, updated_at) VALUES"
    )
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_customers_later'::regclass"
    begun = "SELECT count(*) FROM pg_class WHERE relname = 'ix_customers_later'"
    async with connection_to(server, name) as long, connection_to(server, name) as other:
        await other.execute("CREATE INDEX ix_customers_later ON customers (code)")
        held = long.transaction()
        await held.start()
        await long.execute(f"{make} (gen_random_uuid(), 'A', 'A', 'IT', 'it', now(), now())")
        migrating = asyncio.ensure_future(later(name, _NEXT))
        for number in range(40):
            values = f"(gen_random_uuid(), 'B-{number}', 'B', 'IT', 'it', now(), now())"
            await other.execute(f"{make} {values}")
            await asyncio.sleep(0.05)
        assert not migrating.done()
        await held.commit()
        await migrating
        assert await other.fetchval(valid) is True
        assert await other.fetchval(begun) == 1
        definition = await other.fetchval("SELECT pg_get_indexdef('ix_customers_later'::regclass)")
        assert definition.endswith("(name)")
