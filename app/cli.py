"""The `assistenza` command."""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from app import importing, serving
from app.commands.keys import keys
from app.commands.shared import (
    database_settings,
    embedded,
    failure,
    on_embedded,
    operator_errors,
    printer,
    screen,
)
from app.http.logs import configure
from app.main import create_app
from app.policy.document import load
from app.settings import Settings
from app.store import migrations, reconcile
from app.store.database import Database
from app.store.roles import roles_sql

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Answers what support a customer may use, on what grounds, and how much is left.",
)
cli.add_typer(keys, name="keys")


def main() -> None:
    cli()


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Fill an empty database with examples.")
    ] = False,
) -> None:
    """Serve the API on the database of ASSISTENZA_DATABASE_URL, or on an embedded PostgreSQL.

    On SIGTERM the service accepts no more requests, finishes those in progress (20 seconds at
    most), stops the embedded database and exits with 0.
    """
    with operator_errors():
        options: dict[str, Any] = {"host": host, "port": port}
        settings = Settings(**{name: given for name, given in options.items() if given is not None})
        configure(settings.log_level)
        load(settings.policy_dir)
        if settings.database_url is not None:
            asyncio.run(_check_schema(settings))
            _serve(settings, demo)
            return
        with embedded(settings).serve() as server:
            settings = on_embedded(settings, server)
            asyncio.run(migrations.upgrade_or_accept(settings.migration_database_url))
            threading.Thread(
                target=lambda: asyncio.run(server.watch()), name="database-watch", daemon=True
            ).start()
            _serve(settings, demo)


async def _check_schema(settings: Settings) -> None:
    async with Database(settings) as database:
        refusal = await migrations.refusal(database.reading)
    if refusal is not None:
        raise failure(refusal)


def _serve(settings: Settings, demo: bool) -> None:
    greeting = None
    if demo:
        from app.demo import DemoRefused, prepare

        try:
            greeting = asyncio.run(prepare(settings))
        except DemoRefused as refused:
            raise failure(str(refused)) from refused
    if not serving.serve(settings, greeting):
        raise typer.Exit(3)


@cli.command()
def migrate() -> None:
    """Migrate the database to this program's schema version."""
    with operator_errors():
        settings = Settings()
        url = settings.migration_database_url or settings.database_url
        if url is None:
            with embedded(settings).share() as server:
                url = on_embedded(settings, server).migration_database_url
                asyncio.run(migrations.upgrade(url))
        else:
            asyncio.run(migrations.upgrade(url))
        screen.print(f"The schema is at version {migrations.head()}.")


@cli.command()
def roles() -> None:
    """Print the SQL that creates the service's roles on your own PostgreSQL."""
    for statement in roles_sql("CHANGE-ME-1", "CHANGE-ME-2"):
        print(f"{statement};")
    print("CREATE DATABASE assistenza OWNER assistenza_owner;")


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    with operator_errors():
        # Without settings, so that the document is the same on every machine.
        app = create_app(Settings.model_construct(policy_dir=None))
        sys.stdout.buffer.write(
            orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )


@cli.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(help="CSV files, in any order.")],
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="HEADER=COLUMN",
            help="Read a header of another system as this column. Repeat the option for more.",
        ),
    ] = None,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Ignore columns that the import does not know.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and write nothing.")
    ] = False,
) -> None:
    """Import customers, licences, contracts and ticket packs from CSV files.

    The header of a file tells what it contains. A file is imported completely or not at all: if it
    has bad rows, each is listed with its line and the exit code is 1. Importing a file again
    changes nothing.
    """
    try:
        sources = importing.prepare(files, mapping or [], ignore_unknown)
    except importing.FileRefused as refused:
        raise failure(escape(str(refused))) from refused
    with database_settings() as settings:
        asyncio.run(_check_schema(settings))
        if not asyncio.run(importing.run(settings, sources, dry_run=dry_run)):
            raise typer.Exit(1)


@cli.command("reconcile")
def reconcile_command() -> None:
    """Compare every balance with the ledger. Exits with 1 on a difference; changes nothing."""

    async def compare(settings: Settings) -> tuple[dict[str, int], list[reconcile.Difference]]:
        async with (
            Database(settings, long_statements=True) as database,
            reconcile.snapshot(database) as snapshot,
        ):
            found = [difference async for difference in snapshot.differences()]
            return await snapshot.checked(), found

    with database_settings() as settings:
        checked, differences = asyncio.run(compare(settings))
    if differences:
        table = Table("check", "customer", "what", "field", "kept", "ledger", box=None)
        for one in differences:
            table.add_row(*("" if cell is None else escape(cell) for cell in one))
        printer().print(table)
    rows = ", ".join(f"{count} {check}" for check, count in checked.items())
    screen.print(f"Checked {rows}. Differences: {len(differences)}.")
    if differences:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
