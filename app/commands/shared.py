"""What every command needs: output, errors as one line, and a database to work on."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError
from rich.console import Console

from app import serving
from app.policy.document import PolicyError
from app.settings import Settings, unknown_settings
from app.store import migrations
from app.store.embedded import EmbeddedPostgres, EmbeddedPostgresError

# Commands, an operator's psql, a backup.
_BESIDE_THE_SERVICE = 20

screen = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error, for messages: standard output has nothing but a command's result."""


def printer() -> Console:
    """Standard output for tables. Lines are wrapped on a terminal only, not in a pipe or file."""
    return Console(width=None if sys.stdout.isatty() else 400, highlight=False)


def failure(message: str) -> typer.Exit:
    """Print a message and return the exception that ends the command with exit code 1."""
    screen.print(f"[bold red]assistenza:[/] {message}")
    return typer.Exit(1)


@contextmanager
def operator_errors() -> Iterator[None]:
    """Report errors that the operator can fix in one line, without a traceback."""
    for name in unknown_settings(os.environ):
        screen.print(f"[bold yellow]assistenza:[/] {name} is not a setting and is ignored")
    try:
        yield
    except (
        EmbeddedPostgresError,
        PolicyError,
        migrations.NewerSchema,
        serving.CannotListen,
    ) as error:
        raise failure(str(error)) from error
    except ValidationError as error:
        faults = (
            f"ASSISTENZA_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise failure("\n".join(faults)) from error
    except OSError as error:
        raise failure(f"the database cannot be reached: {error}") from error


@contextmanager
def database_settings() -> Iterator[Settings]:
    """Settings with the address of a database: the configured one, or the embedded server's."""
    with operator_errors():
        settings = Settings()
        if settings.database_url is not None:
            yield settings
            return
        with embedded(settings).share() as server:
            settings = on_embedded(settings, server)
            asyncio.run(migrations.upgrade_or_accept(settings.migration_database_url))
            yield settings


def embedded(settings: Settings) -> EmbeddedPostgres:
    """The service's own PostgreSQL, with connections for the service and for what runs beside."""
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
