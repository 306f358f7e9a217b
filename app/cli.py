"""The `assistenza` command."""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app import clock, importing, serving
from app.errors import CustomerNotFound
from app.http.logs import configure
from app.main import create_app
from app.policy.document import PolicyError, load
from app.services import tokens
from app.services.tokens import BOUND_SCOPES, SCOPES
from app.settings import Settings, unknown_settings
from app.store import migrations, reconcile
from app.store.database import Database
from app.store.embedded import EmbeddedPostgres, EmbeddedPostgresError
from app.store.roles import roles_sql

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="What support may this customer use, on what grounds, and what is left.",
)
keys = typer.Typer(no_args_is_help=True, help="Tokens of the service's clients.")
cli.add_typer(keys, name="keys")

_screen = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    cli()


def _printer() -> Console:
    # A pipe gets whole lines, however long; a terminal gets them folded.
    return Console(width=None if sys.stdout.isatty() else 400, highlight=False)


def _fail(message: str) -> typer.Exit:
    _screen.print(f"[bold red]assistenza:[/] {message}")
    return typer.Exit(1)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What an operator can mend is said in a line, without a traceback."""
    for name in unknown_settings(os.environ):
        _screen.print(f"[bold yellow]assistenza:[/] {name} is no setting and is ignored")
    try:
        yield
    except (
        EmbeddedPostgresError,
        PolicyError,
        migrations.NewerSchema,
        serving.CannotListen,
    ) as error:
        raise _fail(str(error)) from error
    except ValidationError as error:
        faults = (
            f"ASSISTENZA_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise _fail("\n".join(faults)) from error
    except OSError as error:
        raise _fail(f"the database cannot be reached: {error}") from error


@contextmanager
def _database() -> Iterator[Settings]:
    """The settings with a database to use: the one named, or the embedded one."""
    with _clear_errors():
        settings = Settings()
        if settings.database_url is not None:
            yield settings
            return
        with EmbeddedPostgres(settings.data_dir).share() as server:
            asyncio.run(_make_current(server))
            yield _on(settings, server)


def _on(settings: Settings, server: EmbeddedPostgres) -> Settings:
    return Settings(
        **settings.model_dump(exclude={"database_url", "migration_database_url"}),
        database_url=server.app_dsn,
        migration_database_url=server.owner_dsn,
    )


async def _make_current(server: EmbeddedPostgres) -> None:
    await migrations.upgrade_or_accept(_driver(server.owner_dsn))


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill an empty database with examples.")
    ] = False,
) -> None:
    """Serve the API, on the database named by ASSISTENZA_DATABASE_URL or on an embedded one.

    SIGTERM ends it: nothing new is taken, what is under way gets its answer (20 seconds at most),
    the embedded database is stopped, and the exit code is 0.
    """
    with _clear_errors():
        settings = Settings()
        changes = {"host": host, "port": port}
        settings = settings.model_copy(update={k: v for k, v in changes.items() if v is not None})
        configure(settings.log_level)
        load(settings.policy_dir)
        if settings.database_url is not None:
            asyncio.run(_check_schema(settings))
            _serve(settings, demo)
            return
        with EmbeddedPostgres(settings.data_dir).serve() as server:
            asyncio.run(_make_current(server))
            watcher = threading.Thread(
                target=lambda: asyncio.run(server.watch()), name="database-watch", daemon=True
            )
            watcher.start()
            _serve(_on(settings, server), demo)


async def _check_schema(settings: Settings) -> None:
    database = Database(settings)
    try:
        refusal = await migrations.refusal(database.reading)
    finally:
        await database.close()
    if refusal is not None:
        raise _fail(refusal)


def _serve(settings: Settings, demo: bool) -> None:
    greeting = None
    if demo:
        from app.demo import DemoRefused, prepare

        try:
            greeting = asyncio.run(prepare(settings))
        except DemoRefused as refused:
            raise _fail(str(refused)) from refused
    if not serving.serve(settings, greeting):
        raise typer.Exit(3)


@cli.command()
def migrate() -> None:
    """Bring the database's schema to this program's version."""
    with _clear_errors():
        settings = Settings()
        url = settings.migration_database_url or settings.database_url
        if url is None:
            with EmbeddedPostgres(settings.data_dir).share() as server:
                asyncio.run(migrations.upgrade(_driver(server.owner_dsn)))
        else:
            asyncio.run(migrations.upgrade(url))
        _screen.print(f"The schema is at version {migrations.head()}.")


@cli.command()
def roles() -> None:
    """Print the SQL that makes the service's roles on a PostgreSQL of your own."""
    for statement in roles_sql("CHANGE-ME-1", "CHANGE-ME-2"):
        print(f"{statement};")
    print("CREATE DATABASE assistenza OWNER assistenza_owner;")


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    with _clear_errors():
        # The document depends on nobody's settings: it is the program's own.
        app = create_app(Settings.model_construct(policy_dir=None))
        document = app.openapi()
        sys.stdout.buffer.write(
            orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )


@cli.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(help="CSV files, in any order.")],
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="HEADER=COLUMN",
            help="Which column a header of another system means; may be given several times.",
        ),
    ] = None,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Leave out columns that mean nothing here.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and write nothing.")
    ] = False,
) -> None:
    """Take customers, licences, contracts and ticket packs from a CRM's CSV files.

    The header tells which of them a file has. A file is imported whole, or not at all: then every
    bad row is listed with its line, and the exit code is 1. The same file again changes nothing.
    """
    try:
        sources = importing.prepare(files, mapping or [], ignore_unknown)
    except importing.FileRefused as refused:
        raise _fail(escape(str(refused))) from refused
    with _database() as settings:
        asyncio.run(_check_schema(settings))
        if not asyncio.run(importing.run(settings, sources, dry_run=dry_run)):
            raise typer.Exit(1)


@cli.command("reconcile")
def reconcile_command() -> None:
    """Recompute every balance from the ledger; exit with 1 on any difference. Changes nothing."""

    async def compare(settings: Settings) -> tuple[dict[str, int], list[reconcile.Difference]]:
        database = Database(settings)
        try:
            async with reconcile.snapshot(database) as snapshot:
                found = [difference async for difference in snapshot.differences()]
                return await snapshot.checked(), found
        finally:
            await database.close()

    with _database() as settings:
        checked, differences = asyncio.run(compare(settings))
    if differences:
        table = Table("check", "customer", "what", "field", "kept", "ledger", box=None)
        for one in differences:
            table.add_row(*("" if cell is None else escape(cell) for cell in one))
        _printer().print(table)
    rows = ", ".join(f"{count} {check}" for check, count in checked.items())
    _screen.print(f"Checked {rows}. Differences: {len(differences)}.")
    if differences:
        raise typer.Exit(1)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Whose it is; repeats of a request are told by it.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; may be given several times.")],
    customer: Annotated[
        str | None, typer.Option(help="Code of the one customer it is bound to.")
    ] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=36500)] = None,
) -> None:
    """Print a new token, once: it is kept as a hash and cannot be shown again."""
    allowed = SCOPES if customer is None else BOUND_SCOPES
    unknown = [one for one in scope if one not in allowed]
    if unknown:
        kind = "a scope" if customer is None else "a scope for a token bound to a customer"
        raise _fail(f"{unknown[0]!r} is not {kind}. There are: {', '.join(sorted(allowed))}")
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise _fail("a name has 1 to 100 printable characters")
    with _database() as settings:
        print(asyncio.run(_create_key(settings, name, scope, customer, expires_in_days)))


async def _create_key(
    settings: Settings, name: str, scopes: list[str], customer: str | None, days: int | None
) -> str:
    now = clock.now()
    database = Database(settings)
    try:
        async with database.writing.begin() as connection:
            return await tokens.create_key(
                connection,
                now,
                name=name,
                scopes=scopes,
                customer=customer,
                expires_at=None if days is None else now + timedelta(days=days),
            )
    except CustomerNotFound as error:
        raise _fail(f"no customer has the code {customer!r}") from error
    finally:
        await database.close()


@keys.command("list")
def list_keys() -> None:
    """Show every token that is valid: its id, name, scopes, never the token."""

    async def read(settings: Settings) -> list[tuple[str, ...]]:
        database = Database(settings)
        try:
            async with database.reading.connect() as connection:
                rows = await tokens.valid_keys(connection, clock.now())
        finally:
            await database.close()
        return [
            (
                str(row.id),
                row.name,
                " ".join(row.scopes),
                row.code or "",
                *(
                    "" if at is None else f"{at:%Y-%m-%d %H:%M}"
                    for at in (row.expires_at, row.last_used_at)
                ),
            )
            for row in rows
        ]

    with _database() as settings:
        table = Table("id", "name", "scopes", "customer", "expires", "last used", box=None)
        for line in asyncio.run(read(settings)):
            table.add_row(*line)
        _printer().print(table)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The token's id, or a client's name.")],
) -> None:
    """End a token, or all of a client's, at once."""

    async def revoke(settings: Settings) -> int:
        database = Database(settings)
        try:
            async with database.writing.begin() as connection:
                return await tokens.revoke(connection, clock.now(), key)
        finally:
            await database.close()

    with _database() as settings:
        count = asyncio.run(revoke(settings))
        if not count:
            raise _fail(f"no valid token has the id or name {key!r}")
        _screen.print(f"{count} revoked.")


if __name__ == "__main__":
    main()
