"""One file, one transaction; and all files in the order in which they rest on one another."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import InvalidInput
from app.importing.columns import LAYOUTS
from app.importing.contracts import Contracts
from app.importing.customers import Customers
from app.importing.kinds import Counts, Kind, Moment, bad_rows
from app.importing.licences import Licences
from app.importing.reading import BadRow, Source, rows
from app.importing.staging import ROWS, Stage
from app.importing.ticket_packs import TicketPacks
from app.store import lock
from app.store.database import Database

_KINDS: dict[str, type[Kind]] = {
    "customers": Customers,
    "licences": Licences,
    "contracts": Contracts,
    "ticket packs": TicketPacks,
}
_BATCH = 5_000
_ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(hashtext('assistenza import'))"
_MAY_STAGE = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"


class ImportRefused(Exception):
    """The database does not let us import, for the reason given."""


class BadRows(Exception):
    """Nothing of a file was imported: some rows are wrong."""

    def __init__(self, source: Source, found: list[BadRow]) -> None:
        super().__init__(source.path)
        self.source = source
        self.rows = sorted(found, key=lambda bad: (bad.line, bad.column or ""))


class Imported(NamedTuple):
    source: Source
    rows: int
    counts: Counts


class Watch(Protocol):
    def __call__(self, source: Source, doing: str, read: int) -> None:
        """Told now and then what is done with a file, and how many of its bytes were read."""


async def import_files(
    database: Database,
    moment: Moment,
    sources: Sequence[Source],
    *,
    dry_run: bool,
    watch: Watch,
    done: Callable[[Imported], None],
) -> None:
    """Import files, each whole and committed before `done` is told; those read first that others
    rest on. A dry run does the same in one transaction and rolls it back.

    Raises BadRows at the first file that has any; what was imported before stays.
    """
    order = [layout.kind for layout in LAYOUTS]
    ordered = sorted(sources, key=lambda source: order.index(source.columns.layout.kind))
    async with database.writing.connect() as connection:
        if dry_run:
            async with _rolled_back(connection):
                for source in ordered:
                    done(await _import(connection, moment, source, watch))
            return
        for source in ordered:
            async with connection.begin():
                imported = await _import(connection, moment, source, watch)
                watch(source, "committing", source.size)
            done(imported)


@asynccontextmanager
async def _rolled_back(connection: AsyncConnection) -> AsyncIterator[None]:
    transaction = await connection.begin()
    try:
        yield
    finally:
        await transaction.rollback()


async def _import(
    connection: AsyncConnection, moment: Moment, source: Source, watch: Watch
) -> Imported:
    # A set of a hundred thousand rows takes longer than any request may.
    await connection.execute(text("SELECT set_config('statement_timeout', '0', true)"))
    if not await connection.scalar(text(_MAY_STAGE)):
        raise ImportRefused(
            "the service's role may not make temporary tables in this database."
            " As its owner: GRANT TEMPORARY ON DATABASE … TO assistenza_app"
        )
    # Two that insert the same numbers in another order would wait for one another.
    if not await connection.scalar(text(_ONE_AT_A_TIME)):
        raise ImportRefused("another import is under way")
    kind = _KINDS[source.columns.layout.kind](source.columns, moment)
    stage = Stage(connection, now=moment.now, today=moment.today, systems=source.columns.systems)
    count, bad = await _read(stage, kind, source, watch)
    watch(source, "checking", source.size)
    # All that a row says by itself is checked by now: the locks are held for the rest alone.
    await lock.customers_called(connection, f"SELECT {kind.customers} FROM {ROWS}")
    bad += [row async for row in kind.check(stage)]
    if bad:
        raise BadRows(source, bad)
    watch(source, "writing", source.size)
    counts = await kind.write(stage)
    await stage.drop()
    return Imported(source, count, counts)


async def _read(stage: Stage, kind: Kind, source: Source, watch: Watch) -> tuple[int, list[BadRow]]:
    """Stage the rows that are right by themselves; how many were read, and what is wrong."""
    await stage.table(ROWS, kind.staged)
    bad: list[BadRow] = []
    batch: list[tuple[Any, ...]] = []
    count, read = 0, [0]
    for row in rows(source, read):
        count += 1
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            batch.append(kind.record(row))
        except InvalidInput as error:
            bad += bad_rows(row.line, error)
        if len(batch) == _BATCH:
            await stage.copy(ROWS, list(kind.staged), batch)
            batch.clear()
            watch(source, "reading", read[0])
    await stage.copy(ROWS, list(kind.staged), batch)
    await stage.settle(ROWS, "key")
    return count, bad
