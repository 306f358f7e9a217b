"""What every command needs: output, errors as one line, and a database to work on."""

import asyncio
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from app.http import logs
from app.policy.document import PolicyError
from app.serving.listening import CannotListen
from app.settings import Settings, unknown_settings
from app.store import addresses, migrations
from app.store.database import Database
from app.store.embedded import DataDirectoryUnusable, EmbeddedPostgres, EmbeddedPostgresError
from app.store.failures import FAILURES, explained

# Commands, an operator's psql, a backup.
_BESIDE_THE_SERVICE = 20

screen = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error, for messages: standard output has nothing but a command's result."""


_OF_OUTPUT = {errno.EPIPE, errno.ENOSPC, errno.EBADF}
"""What a write to standard output causes, and a connection to the database does not."""


def printer() -> Console:
    """Standard output for tables. Lines are wrapped on a terminal only, not in a pipe or file."""
    return Console(width=None if sys.stdout.isatty() else 400, highlight=False)


def failure(message: str, code: int = 1) -> typer.Exit:
    """Print a message and return the exception that ends the command with this exit code."""
    screen.print(f"[bold red]assistenza:[/] {escape(message)}")
    return typer.Exit(code)


@contextmanager
def operator_errors(code: int = 1) -> Iterator[None]:
    """Report errors that the operator can fix in one line, and exit with `code`.

    Errors that are defects of the program keep their traceback.
    """
    for name in unknown_settings(os.environ):
        screen.print(f"[bold yellow]assistenza:[/] {name} is not a setting and is ignored")
    try:
        yield
    except (
        EmbeddedPostgresError,
        PolicyError,
        migrations.CannotMigrate,
        migrations.NewerSchema,
        CannotListen,
        addresses.WrongAddress,
    ) as error:
        raise failure(str(error), code) from error
    except ValidationError as error:
        faults = (
            f"ASSISTENZA_{'_'.join(map(str, fault['loc'])).upper()}:"
            f" {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise failure("\n".join(faults), code) from error
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in _OF_OUTPUT:
            raise
        if isinstance(error, OSError) and error.filename is not None:
            raise failure(f"{error.filename}: {error.strerror}", code) from error
        reason = explained(error)
        if reason is None:
            raise
        raise failure(f"the database cannot be used: {reason}", code) from error


@contextmanager
def database_settings(code: int = 1) -> Iterator[Settings]:
    """Settings with the address of a database whose schema this program may use.

    It is the configured database, or the embedded server's.
    """
    with operator_errors(code):
        settings = Settings()
        addresses.check(settings)
        quiet_logs(settings)
        if settings.database_url is not None:
            asyncio.run(check_schema(settings, code))
            yield settings
            return
        with embedded(settings).share() as server:
            settings = on_embedded(settings, server)
            asyncio.run(migrations.upgrade_or_accept(settings.migration_database_url))
            yield settings


def quiet_logs(settings: Settings) -> None:
    """Log warnings only, for a short command, unless the operator has chosen a level."""
    chosen = "log_level" in settings.model_fields_set
    logs.configure(settings.log_level if chosen else "warning", settings.log_format)


async def check_schema(settings: Settings, code: int = 1) -> None:
    async with Database(settings) as database:
        refusal = await migrations.refusal(database.reading)
    if refusal is not None:
        raise failure(refusal, code)


def embedded(settings: Settings) -> EmbeddedPostgres:
    """The service's own PostgreSQL, with connections for the service and for what runs beside.

    Raises DataDirectoryUnusable if there is no directory for it.
    """
    if settings.data_dir is None:
        raise DataDirectoryUnusable(
            "this account has no home directory for the embedded PostgreSQL: choose a directory"
            " with ASSISTENZA_DATA_DIR, or a database with ASSISTENZA_DATABASE_URL"
        )
    return EmbeddedPostgres(
        settings.data_dir, max_connections=settings.connections + _BESIDE_THE_SERVICE
    )


def on_embedded(settings: Settings, server: EmbeddedPostgres) -> Settings:
    """The settings with the addresses of the embedded server."""
    return Settings(
        **settings.model_dump(exclude={"database_url", "migration_database_url"}),
        database_url=server.app_dsn,
        migration_database_url=server.owner_dsn,
    )
