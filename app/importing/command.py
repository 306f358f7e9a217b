"""What the operator sees of an import: progress, the result of each file, what is wrong."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app import clock
from app.errors import ServiceUnavailable
from app.importing.cells import Moment
from app.importing.columns import FileRefused, layout_of, mapping_of
from app.importing.files import BadRows, Imported, import_files
from app.importing.reading import Source, look_at
from app.policy.civil import civil_date
from app.policy.document import load
from app.services.imports import ImportRefused
from app.settings import Settings
from app.store.database import Database
from app.store.failures import FAILURES, error_of


def prepare(
    paths: Sequence[Path], mapping: Sequence[str], ignore_unknown: bool, most_bytes: int
) -> list[Source]:
    """Recognise every file before importing any. Raises FileRefused, which names all faults.

    A file larger than `most_bytes` is refused.
    """
    meant = mapping_of(mapping)
    sources: list[Source] = []
    refused: list[str] = []
    for path in paths:
        try:
            sources.append(look_at(path, meant, ignore_unknown, most_bytes))
        except FileRefused as reason:
            refused.append(f"{path}: {reason}")
    used = {header for source in sources for header in source.columns.headers.values()}
    if not refused and (unused := meant.keys() - used):
        refused.append(f"--map: no file has the header {', '.join(map(repr, sorted(unused)))}")
    if refused:
        raise FileRefused("\n".join(refused))
    return sources


def columns_of(kind: str) -> str:
    """The columns of a kind of file, a line each. Raises FileRefused for another kind."""
    columns = layout_of(kind).columns
    width = max(len(column.name) for column in columns)
    return "\n".join(
        f"{column.name:{width}}  {'required' if column.required else 'optional'}  {column.form}"
        for column in columns
    )


async def run(
    settings: Settings, sources: Sequence[Source], *, dry_run: bool = False, batches: bool = False
) -> bool:
    """Import the files and print the result of each; True if all were imported."""
    policies = load(settings.policy_dir)
    now = clock.now()
    moment = Moment(now, civil_date(now, policies.zone), policies)
    shown = _Shown(dry_run)
    try:
        with shown.progress:
            async with Database(settings, long_statements=True) as database:
                await import_files(
                    database, moment, sources, shown, dry_run=dry_run, batches=batches
                )
    except (BadRows, ImportRefused, *FAILURES) as error:
        if isinstance(error, BrokenPipeError):
            raise
        _print_failure(error)
        rest = ", ".join(source.name for source in sources if source not in shown.finished)
        _say(f"Not imported: {rest}")
        return False
    finally:
        shown.tell_what_is_half_done()
    if dry_run:
        _say("Nothing was written: this was a dry run.")
    return True


class _Shown:
    """The progress bar, and a line for each file that is imported."""

    def __init__(self, dry_run: bool) -> None:
        self.finished: list[Source] = []
        self.progress = _progress_bar()
        self._dry_run = dry_run
        self._task = self.progress.add_task("", total=1)
        self._half_done = ""

    def doing(self, source: Source, what: str, read: int) -> None:
        name = f"{Path(source.name).name}: {what}"
        self.progress.update(self._task, description=name, completed=read, total=source.size)

    def committed(self, source: Source, customers: int, of: int) -> None:
        done = f"{customers:,} of {of:,} customers"
        self.progress.update(
            self._task, description=f"{source.name}: {done}", completed=customers, total=of
        )
        self._half_done = (
            f"{source.name}: {done} are imported. Run the same command again for the rest."
        )

    def done(self, imported: Imported) -> None:
        self._half_done = ""
        self.finished.append(imported.source)
        self.progress.print(_outcome(imported, self._dry_run), markup=False)

    def tell_what_is_half_done(self) -> None:
        """After an import in parts that failed or was interrupted."""
        if self._half_done:
            _say(self._half_done)


def _progress_bar() -> Progress:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.is_dumb_terminal,
    )


def _outcome(imported: Imported, dry_run: bool) -> str:
    created, changed, unchanged = (f"{count:,}" for count in imported.counts)
    would = "would be " if dry_run else ""
    return (
        f"{imported.source.name}: {imported.rows:,} rows;"
        f" {imported.source.columns.layout.kind}: {created} {would}created,"
        f" {changed} {would}changed, {unchanged} unchanged"
    )


def _print_failure(error: BaseException) -> None:
    """Print why an import failed. Raises an error that is a defect of the program."""
    if isinstance(error, BadRows):
        name, found = error.source.name, error.found
        for line, column, reason, *_ in found.first:
            where = f"{error.source.columns.headers.get(column, column)}: " if column else ""
            print(f"{name}:{line}: {where}{reason}")
        if rest := found.count - len(found.first):
            _say(f"{name}: {rest:,} more faults are not listed.")
        _say(f"{name}: nothing imported, {found.rows:,} bad rows.")
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
