"""`assistenza import`: customers, licences, contracts and ticket packs from files."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from app.commands.shared import database_settings, failure, operator_errors
from app.settings import Settings

# Where processors are short, a process that serves gets nine times as much.
_NICE = 10


def _kinds() -> list[str]:
    from app import importing

    return importing.kinds()


def import_files(
    files: Annotated[
        list[Path] | None,
        # `readable`: whether they are is told of all files together.
        typer.Argument(
            help="CSV files, in any order. - is standard input.", show_default=False, readable=False
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Print the columns of a kind of file: customers, licences, contracts or"
            " ticket-packs.",
            autocompletion=_kinds,
        ),
    ] = None,
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
    batches: Annotated[
        bool,
        typer.Option(
            "--batches",
            help="Check each file as a whole, then commit it 500 customers at a time. To run it"
            " again after an interruption imports the rest.",
        ),
    ] = False,
) -> None:
    """Import customers, licences, contracts and ticket packs from CSV files.

    The header of a file tells what it contains. A file is imported completely or not at all: if it
    has bad rows, each is listed with its line and the exit code is 1. Importing a file again
    changes nothing. Meanwhile writes of its customers wait: see --batches.
    """
    from app import importing

    try:
        if columns is not None:
            print(importing.columns_of(columns))
            return
        if not files:
            raise typer.BadParameter("name a file, or - for standard input", param_hint="files")
        with operator_errors():
            most_bytes = Settings().import_max_bytes
        sources = importing.prepare(files, mapping or [], ignore_unknown, most_bytes)
    except importing.FileRefused as refused:
        raise failure(str(refused)) from refused
    with database_settings() as settings:
        # Requests of a service beside it come first. Not before the embedded PostgreSQL is started,
        # which would inherit the priority.
        os.nice(_NICE)
        work = importing.run(settings, sources, dry_run=dry_run, batches=batches)
        if not asyncio.run(work):
            raise typer.Exit(1)
