"""What the operator sees of an import: its course, what became of each file, what is wrong."""

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
    """What kind of file each is, before anything is done. Raises FileRefused, for all at once."""
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
    """Import the files, tell what became of each; whether all went well."""
    policies = load(settings.policy_dir)
    now = clock.now()
    moment = Moment(now, civil_date(now, policies.zone), policies)
    told: list[Source] = []
    database = Database(settings)
    course = _course()

    def done(imported: Imported) -> None:
        told.append(imported.source)
        course.print(_outcome(imported, dry_run), markup=False)

    try:
        with course:
            task = course.add_task("", total=1)

            def watch(source: Source, doing: str, read: int) -> None:
                name = f"{source.path.name}: {doing}"
                course.update(task, description=name, completed=read, total=source.size)

            await import_files(database, moment, sources, dry_run=dry_run, watch=watch, done=done)
    except (BadRows, ImportRefused, *FAILURES) as error:
        _tell(error)
        rest = ", ".join(str(source.path) for source in sources if source not in told)
        _say(f"Not imported: {rest}")
        return False
    finally:
        await database.close()
    if dry_run:
        _say("Nothing was written: this was a dry run.")
    return True


def _course() -> Progress:
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


def _tell(error: BaseException) -> None:
    """Say why an import ended. Raises what is a mistake of ours."""
    if isinstance(error, BadRows):
        headers = error.source.columns.headers
        for line, column, reason in error.rows:
            where = "" if column is None else f"{headers.get(column, column)}: "
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
        "the database did not answer in time, or broke off"
        if isinstance(problem, ServiceUnavailable)
        else "somebody else wrote the same at the same moment"
    )
    _say(f"{what}. Run it again: what is there already is left as it is.")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
