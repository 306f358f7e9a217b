"""What the operator sees of an import: progress, the result of each file, what is wrong."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app import clock
from app.errors import ServiceUnavailable
from app.importing.cells import Moment
from app.importing.columns import FileRefused, mapping_of
from app.importing.files import BadRows, Imported, import_files
from app.importing.reading import Source, look_at
from app.policy.civil import civil_date
from app.policy.document import load
from app.services.imports import ImportRefused
from app.settings import Settings
from app.store.database import Database
from app.store.failures import FAILURES, error_of


def prepare(paths: Sequence[Path], mapping: Sequence[str], ignore_unknown: bool) -> list[Source]:
    """Recognise every file before importing any. Raises FileRefused, which names all faults."""
    meant = mapping_of(mapping)
    sources: list[Source] = []
    refused: list[str] = []
    for path in paths:
        try:
            sources.append(look_at(path, meant, ignore_unknown))
        except FileRefused as reason:
            refused.append(f"{path}: {reason}")
    used = {header for source in sources for header in source.columns.headers.values()}
    if not refused and (unused := meant.keys() - used):
        refused.append(f"--map: no file has the header {', '.join(map(repr, sorted(unused)))}")
    if refused:
        raise FileRefused("\n".join(refused))
    return sources


async def run(settings: Settings, sources: Sequence[Source], *, dry_run: bool) -> bool:
    """Import the files and print the result of each; True if all were imported."""
    policies = load(settings.policy_dir)
    now = clock.now()
    moment = Moment(now, civil_date(now, policies.zone), policies)
    finished: list[Source] = []
    progress = _progress_bar()

    def done(imported: Imported) -> None:
        finished.append(imported.source)
        progress.print(_outcome(imported, dry_run), markup=False)

    task = progress.add_task("", total=1)

    def watch(source: Source, doing: str, read: int) -> None:
        name = f"{source.path.name}: {doing}"
        progress.update(task, description=name, completed=read, total=source.size)

    try:
        with progress:
            async with Database(settings, long_statements=True) as database:
                await import_files(
                    database, moment, sources, dry_run=dry_run, watch=watch, done=done
                )
    except (BadRows, ImportRefused, *FAILURES) as error:
        _print_failure(error)
        rest = ", ".join(str(source.path) for source in sources if source not in finished)
        _say(f"Not imported: {rest}")
        return False
    if dry_run:
        _say("Nothing was written: this was a dry run.")
    return True


def _progress_bar() -> Progress:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _outcome(imported: Imported, dry_run: bool) -> str:
    created, changed, unchanged = (f"{count:,}" for count in imported.counts)
    would = "would be " if dry_run else ""
    return (
        f"{imported.source.path}: {imported.rows:,} rows;"
        f" {imported.source.columns.layout.kind}: {created} {would}created,"
        f" {changed} {would}changed, {unchanged} unchanged"
    )


def _print_failure(error: BaseException) -> None:
    """Print why an import failed. Raises an error that is a defect of the program."""
    if isinstance(error, BadRows):
        for line, column, reason in error.rows:
            where = f"{error.source.columns.headers.get(column, column)}: " if column else ""
            print(f"{error.source.path}:{line}: {where}{reason}")
        lines = len({bad.line for bad in error.rows})
        _say(f"{error.source.path}: nothing imported, {lines:,} bad rows.")
        return
    if isinstance(error, ImportRefused):
        _say(str(error))
        return
    problem = error_of(error)
    if problem is None:
        raise error
    what = (
        "the database did not answer in time, or the connection broke"
        if isinstance(problem, ServiceUnavailable)
        else "another client wrote the same thing at the same time"
    )
    _say(f"{what}. Run it again: what is already imported stays unchanged.")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
