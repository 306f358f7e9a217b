"""What every test stands on: a real PostgreSQL of the tests' own.

`ASSISTENZA_TEST_DATABASE_URL` names another server (as a superuser, 15 to 18); the application's
own settings are never read. Databases are cloned from one migrated template and thrown away.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from app import clock
from app.ids import new_id
from app.jobs.publishing import FOLLOWERS, follow, publish
from app.main import create_app
from app.policy.civil import civil_date
from app.policy.document import Policies, load
from app.services.tokens import SCOPES, new_token
from app.settings import Settings
from app.store import migrations, tables
from app.store.database import Database
from app.store.embedded import EmbeddedPostgres
from app.store.event_types import EventType
from tests.contract import CheckedTransport
from tests.skips import pytest_configure

__all__ = ["pytest_configure"]

# How long an example takes depends on what else the machine does.
settings.register_profile("assistenza", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("assistenza")

_FOR_TESTS = {
    f"ASSISTENZA_{name}"
    for name in (
        "TEST_DATABASE_URL",
        "TEST_HISTORY",
        "LONG_SECONDS",
        "HISTORIES",
        "COMPARE_EVERY",
        "KILLS",
        "SEED",
    )
}
_GIVEN = "ASSISTENZA_TEST_DATABASE_URL"
for _name in [name for name in os.environ if name.startswith("ASSISTENZA_")]:
    if _name not in _FOR_TESTS:
        del os.environ[_name]


@dataclass(frozen=True)
class Server:
    """A PostgreSQL on which the tests may make databases and roles."""

    admin_url: str
    password: str
    prefix: str

    def url(self, database: str, role: str | None = None) -> str:
        """An address of a database; of its owner, the superuser, where no role is named."""
        url = make_url(self.admin_url).set(drivername="postgresql", database=database)
        if role is not None:
            url = url.set(username=role, password=self.password)
        return url.render_as_string(hide_password=False)

    @property
    def is_ours(self) -> bool:
        """Started for this run, with a data directory that goes with it."""
        return _GIVEN not in os.environ

    @property
    def login(self) -> str:
        return f"{self.prefix}_login"

    @property
    def template(self) -> str:
        return f"{self.prefix}_template"

    async def run(self, *commands: str) -> None:
        connection = await asyncpg.connect(self.url(make_url(self.admin_url).database or ""))
        try:
            for command in commands:
                await connection.execute(command)
        finally:
            await connection.close()

    async def run_in(self, database: str, command: str, *parameters: Any) -> list[asyncpg.Record]:
        """One statement as the superuser: what no client of the service can do."""
        connection = await asyncpg.connect(self.url(database))
        try:
            return await connection.fetch(command, *parameters)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The superuser's address of a running server."""
    given = os.environ.get(_GIVEN)
    if given:
        yield given
        return
    directory = Path(tempfile.mkdtemp(prefix="assistenza-tests-"))
    directory.chmod(0o755)
    try:
        with EmbeddedPostgres(
            directory / "data", durable=False, max_connections=200
        ).serve() as server:
            yield server.admin_dsn
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
async def server(postgres: str) -> AsyncIterator[Server]:
    prefix = f"assistenza_test_{secrets.token_hex(4)}"
    server = Server(postgres, secrets.token_hex(16), prefix)
    await server.run(f"CREATE DATABASE {server.template}")
    await migrations.upgrade(_driver(server.url(server.template)))
    # As on a real server: the role that logs in to serve owns nothing and is no superuser.
    # It may take the role of bound tokens and does not inherit it: filters meant for that role
    # would else be everybody's.
    await server.run(
        f"CREATE ROLE {server.login} LOGIN PASSWORD '{server.password}' IN ROLE assistenza_app",
        f"CREATE ROLE {server.login}_switch NOINHERIT IN ROLE assistenza_bound",
        f"GRANT {server.login}_switch TO {server.login}",
    )
    yield server
    if server.is_ours:
        return  # goes with its data directory; each DROP DATABASE would wait for a checkpoint
    await server.run(
        f"DROP DATABASE {server.template} WITH (FORCE)",
        f"DROP ROLE {server.login}",
        f"DROP ROLE {server.login}_switch",
    )


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


@pytest.fixture(scope="session")
async def new_database(server: Server) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Clones the template: the name of a database that nothing else uses."""
    made: list[str] = []

    async def make() -> str:
        name = f"{server.prefix}_{len(made)}"
        await server.run(f"CREATE DATABASE {name} TEMPLATE {server.template}")
        made.append(name)
        return name

    yield make
    if not server.is_ours:
        await server.run(*(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in made))


@dataclass
class Service:
    """The application on a database, and how to speak to it as anybody."""

    app: FastAPI
    database: Database
    server: Server
    database_name: str
    policies: Policies

    @property
    def admin_url(self) -> str:
        return self.server.url(self.database_name)

    def today(self) -> date:
        return civil_date(datetime.now(UTC), self.policies.zone)

    async def token(
        self,
        *scopes: str,
        customer_id: UUID | str | None = None,
        name: str | None = None,
        **more: Any,
    ) -> str:
        token, token_hash = new_token(customer_id is not None)
        async with self.database.writing.begin() as connection:
            await connection.execute(
                insert(tables.tokens).values(
                    id=new_id(),
                    name=name or f"test-{secrets.token_hex(4)}",
                    hash=token_hash,
                    scopes=sorted(scopes),
                    customer_id=customer_id and UUID(str(customer_id)),
                    created_at=datetime.now(UTC),
                    **more,
                )
            )
        return token

    def client(self, token: str | None, **headers: str) -> httpx.AsyncClient:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        transport = CheckedTransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    async def client_with(self, *scopes: str, **more: Any) -> httpx.AsyncClient:
        return self.client(await self.token(*scopes, **more))


@pytest.fixture(scope="session")
def policies() -> Policies:
    return load()


@pytest.fixture(scope="module")
async def new_service(
    server: Server, new_database: Callable[[], Awaitable[str]], policies: Policies
) -> AsyncIterator[Callable[..., Awaitable[Service]]]:
    """Makes services, each on a database of its own; settings by keyword.

    Closed with their module: one server has connections for some of them, not for all.
    """
    made: list[Service] = []

    async def make(**settings: Any) -> Service:
        name = await new_database()
        # Few tests are about the limits of bound tokens; the others are quicker than people.
        settings = {
            "bound_writes_per_minute": 600,
            "bound_open_cases": 1_000,
            "background_process": False,
            **settings,
        }
        chosen = Settings(database_url=server.url(name, server.login), **settings)
        database = Database(chosen)
        app = create_app(chosen, policies=policies, database=database)
        # No client of these tests can hang up: a stream ends with the events that are there.
        app.state.watch.close()
        made.append(Service(app, database, server, name, policies))
        return made[-1]

    yield make
    for service in made:
        await service.database.close()


@pytest.fixture(scope="module")
async def service(new_service: Callable[..., Awaitable[Service]]) -> AsyncIterator[Service]:
    """One for each file of tests: what they make must not be in each other's way.

    Every event that they have written must have the shape of its type.
    """
    made = await new_service()
    yield made
    assert await malformed_events(made) == []
    await follow_all(made)
    async with await made.client_with("events:read") as reader:
        after: dict[str, str] = {}
        while True:
            # The client holds every event against the document.
            page = (await reader.get("/v1/events?limit=200", params=after)).json()
            if not page["has_more"]:
                break
            after = {"after": page["next_cursor"]}


async def publish_all(service: Service) -> None:
    """Publish every event that is committed."""
    while await publish(service.database):
        pass


async def follow_all(service: Service) -> None:
    """Publish every event, and bring all that follows the feed up to date."""
    await publish_all(service)
    while await follow(service.database, service.policies) or await _is_due(service):
        await publish_all(service)


async def _is_due(service: Service) -> bool:
    asked = [await due(service.database, clock.now()) for due, _ in FOLLOWERS]
    return any(due for due, _ in asked)


async def malformed_events(service: Service) -> list[str]:
    """The events of a database whose data lacks a member of their type's shape or has others."""
    rows = await service.server.run_in(
        service.database_name,
        "SELECT DISTINCT type, ARRAY(SELECT jsonb_object_keys(data)) AS members FROM events",
    )
    found = []
    for row in rows:
        shape: Any = EventType(row["type"]).data
        missing = shape.__required_keys__ - set(row["members"])
        unknown = set(row["members"]) - shape.__required_keys__ - shape.__optional_keys__
        if missing or unknown:
            found.append(f"{row['type']}: lacks {missing}, has {unknown}")
    return found


@pytest.fixture(scope="module")
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Someone who holds every scope."""
    async with await service.client_with(*SCOPES) as client:
        yield client


@pytest.fixture
def today(service: Service) -> date:
    return service.today()
