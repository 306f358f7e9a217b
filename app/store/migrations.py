"""The schema's versions: migrate a database, and decide whether this program may serve it.

The rule for serving is in alembic/DECISION-compatible-migrations.md.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import structlog
from alembic import command, op
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from packaging.version import Version
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

import app
from app.store.driver import create_engine
from app.store.tables import schema_compatibility

# An arbitrary number that no other program on this database uses for an advisory lock.
_LOCK = 0x415353_495354
# While a migration waits for a table, everybody who comes later waits behind it. So it gives up
# before the service does (ASSISTENZA_LOCK_TIMEOUT_MS), and tries again when they have gone on.
_LOCK_TIMEOUT = "2s"
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds between the tries."""

T = TypeVar("T")

log = structlog.get_logger(__name__)

_LOWEST = select(schema_compatibility.c.lowest_program_version)
_UNDEFINED_TABLE = "42P01"
_LOCKED = ("55P03", "40P01")
"""SQLSTATE: lock_not_available, deadlock_detected."""
_HINTS = {
    "42501": "Migrate as the role that owns the schema: ASSISTENZA_MIGRATION_DATABASE_URL",
    "42704": "First create the roles: run what `assistenza roles` prints, as a superuser",
    **dict.fromkeys(
        _LOCKED,
        "A long transaction holds a table. What was migrated stays: end that transaction"
        " (pg_stat_activity), then run `assistenza migrate` again",
    ),
}
"""What the operator does about an error of a migration, by SQLSTATE; the first two are
insufficient_privilege and undefined_object."""


class NewerSchema(Exception):
    """A later release has migrated the database; the message says which versions may serve it."""

    def __init__(self, revision: str, lowest: str) -> None:
        super().__init__(
            f"the database's schema is at version {revision}, newer than this program"
            f" ({app.__version__}) knows. It is served by version {lowest} or newer, and migrated"
            " by the version that made it."
        )
        self.may_be_served = Version(app.__version__) >= Version(lowest)


class CannotMigrate(Exception):
    """The role or the database does not permit the migration; the message says why."""


def _directory() -> Path:
    package = Path(app.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "alembic"


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_directory()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


def head() -> str:
    """The newest version that this program knows."""
    (revision,) = _scripts().get_heads()
    return revision


def _is_known(revision: str) -> bool:
    return revision in {script.revision for script in _scripts().walk_revisions()}


async def run_on(url: str | None, work: Callable[[Connection], T]) -> T:
    """Run `work` on one connection while holding the migration lock: migrations run one at a time.

    Raises ValueError if `url` is None.
    """
    if url is None:
        raise ValueError("ASSISTENZA_DATABASE_URL is not set")
    engine = create_engine(url, {}, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            await connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
            await connection.commit()
            result = await connection.run_sync(work)
            await connection.commit()
            return result
    finally:
        await engine.dispose()


async def upgrade(url: str | None, revision: str = "head") -> None:
    """Migrate the database. Raises NewerSchema if a later release has migrated it already.

    Each migration is a transaction. One that does not get a lock in time is tried again. Raises
    CannotMigrate if it never does, where the role may not change the schema, or where the roles
    that it grants rights to are missing. Raises ValueError if `url` is None.
    """

    def work(connection: Connection) -> None:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and not _is_known(current):
            raise NewerSchema(current, connection.execute(_LOWEST).scalar_one())
        if revision == "head" and current == head():
            return
        # Inside of a transaction that has begun, Alembic would run all migrations in that one, and
        # keep the locks of the first until the last is done.
        connection.rollback()
        command.upgrade(alembic_config(connection), revision)

    for pause in (*_PAUSES, None):
        try:
            await run_on(url, work)
        except DBAPIError as error:
            driver: Any = error.orig
            if pause is not None and driver.sqlstate in _LOCKED:
                log.warning("migration_waits", seconds=pause, error=str(driver.__cause__))
                await asyncio.sleep(pause)
                continue
            hint = _HINTS.get(driver.sqlstate or "")
            if hint is None:
                raise
            raise CannotMigrate(f"{driver.__cause__}. {hint}") from error
        return


def build_index(name: str, what: str, *, unique: bool = False) -> None:
    """In a migration: create an index on a table of any size while others write to it.

    `what` is the rest of the statement, such as `cases (customer_id) WHERE state = 'open'`. It is
    built outside of the migration's transaction, which must not have changed anything before. What
    is left of a try that failed is replaced.
    """
    with _outside_of_a_transaction():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {what}")


def remove_index(name: str) -> None:
    """In a downgrade: drop an index of `build_index` while others use its table."""
    with _outside_of_a_transaction():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


@contextmanager
def _outside_of_a_transaction() -> Iterator[None]:
    with op.get_context().autocommit_block():
        # It waits for every older transaction, and keeps nobody out meanwhile.
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")


async def upgrade_or_accept(url: str | None) -> None:
    """Migrate the database, but leave a newer schema as it is if this program may serve it.

    Raises NewerSchema if it may not.
    """
    try:
        await upgrade(url)
    except NewerSchema as newer:
        if not newer.may_be_served:
            raise


async def downgrade(url: str, revision: str) -> None:
    await run_on(url, lambda connection: command.downgrade(alembic_config(connection), revision))


async def check(url: str) -> None:
    """Raise alembic.util.AutogenerateDiffsDetected if tables and migrations differ."""
    await run_on(url, lambda connection: command.check(alembic_config(connection)))


async def refusal(engine: AsyncEngine) -> str | None:
    """Why this program may not serve the database, for the operator; None where it may.

    Takes no lock, so that it works through a pooler too, which would keep a session's lock.
    """
    async with engine.connect() as connection:
        try:
            current = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) != _UNDEFINED_TABLE:
                raise
            current = None
        if current == head():
            return None
        if current is not None and not _is_known(current):
            newer = NewerSchema(current, (await connection.execute(_LOWEST)).scalar_one())
            return None if newer.may_be_served else str(newer)
    found = "empty" if current is None else f"at version {current}"
    return (
        f"the database's schema is {found}, this program needs {head()}."
        " Run `assistenza migrate` first."
    )
