"""Dump and restore by PostgreSQL's own programs, into a second server or another database."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy import make_url

from app.main import create_app
from app.policy.document import load
from app.settings import Settings
from app.store.database import Database
from app.store.embedded import EmbeddedPostgres
from app.store.embedded.account import programs
from app.store.roles import DATABASE
from tests.conftest import Server, Service

_SECONDS = 120


@contextmanager
def other_server() -> Iterator[EmbeddedPostgres]:
    """A running embedded server of its own, with the roles and an empty database."""
    directory = Path(tempfile.mkdtemp(prefix="assistenza-restored-"))
    directory.chmod(0o755)
    try:
        with EmbeddedPostgres(directory / "data", durable=False).serve() as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def superuser(server: EmbeddedPostgres) -> str:
    """The superuser's address of the database that the service uses."""
    url = make_url(server.admin_dsn).set(drivername="postgresql", database=DATABASE)
    return url.render_as_string(hide_password=False)


async def _run(program: str, *arguments: str) -> None:
    done = await asyncio.create_subprocess_exec(
        programs(None, Path())[program],
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(_SECONDS):
        said, _ = await done.communicate()
    assert done.returncode == 0, said.decode()


def _plain(url: str) -> str:
    """An address as PostgreSQL's programs take it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


async def dump(url: str, file: Path) -> None:
    await _run("pg_dump", "-Fc", "--no-owner", "-f", str(file), f"--dbname={_plain(url)}")


async def restore(url: str, file: Path) -> None:
    """Replace what the database of the owner's address holds, as the README says."""
    await _run(
        "pg_restore",
        "--clean",
        "--if-exists",
        "--no-owner",
        "--single-transaction",
        f"--dbname={_plain(url)}",
        str(file),
    )


@asynccontextmanager
async def service_on(url: str, admin_url: str) -> AsyncIterator[Service]:
    """The service on a database that is there already; it publishes nothing by itself."""
    settings = Settings(database_url=url)
    policies = load()
    async with Database(settings) as database:
        app = create_app(settings, policies=policies, database=database)
        name = make_url(admin_url).database or ""
        yield Service(app, database, Server(admin_url, "", ""), name, policies)
