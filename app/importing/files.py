"""One file, one transaction; and all files in the order in which they depend on each other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from app.errors import (
    ImportInProgress,
    ImportsNotPermitted,
    InputError,
    InvalidInput,
    RecordMerged,
    RowsRefused,
)
from app.importing import contracts, customers, licences, ticket_packs
from app.importing.cells import Moment
from app.importing.columns import LAYOUTS
from app.importing.faults import Found
from app.importing.reading import BadRow, Pause, Source, rows
from app.services.imports import (
    COMMAND,
    ContractImport,
    Counts,
    CustomerImport,
    FileKind,
    Import,
    ImportRefused,
    ImportRunning,
    LicenceImport,
    MergedMeanwhile,
    TicketPackImport,
    faults_of,
    undone,
)
from app.services.unit_of_work import UnitOfWork
from app.store.database import Connection, Database
from app.store.events import Actor

_BATCH = 1_000


class Kind(NamedTuple):
    record: Callable[[dict[str, str], Moment], dict[str, Any]]
    """Turns a row's cells into the row to stage. Raises InvalidInput."""
    service: type[Import]


_KINDS: dict[FileKind, Kind] = {
    "customers": Kind(customers.record, CustomerImport),
    "licences": Kind(licences.record, LicenceImport),
    "contracts": Kind(contracts.record, ContractImport),
    "ticket-packs": Kind(ticket_packs.record, TicketPackImport),
}


class BadRows(Exception):
    """A file cannot be imported: some rows are wrong."""

    def __init__(self, source: Source, found: Found) -> None:
        super().__init__(source.name)
        self.source = source
        self.found = found


class Imported(NamedTuple):
    source: Source
    rows: int
    counts: Counts


class Watcher(Protocol):
    """Is told how an import proceeds."""

    def doing(self, source: Source, what: str, read: int) -> None:
        """Called now and then: what is being done with a file, and how many bytes are read."""

    def committed(self, source: Source, customers: int, of: int) -> None:
        """Called after each part of a file that is committed in parts."""

    def done(self, imported: Imported) -> None:
        """Called when a file is imported, and committed unless it is a dry run."""


async def import_files(
    database: Database,
    moment: Moment,
    sources: Sequence[Source],
    watcher: Watcher,
    *,
    dry_run: bool,
    batches: bool,
) -> None:
    """Import files in the order of `LAYOUTS`, each whole and committed before the next.

    With `batches` a file is checked as a whole and then committed in parts. A dry run does all in
    one transaction and rolls it back. Raises BadRows at the first file that has any, and
    ImportRefused; what was imported before stays.
    """
    ordered = sorted(sources, key=lambda source: LAYOUTS.index(source.columns.layout))
    async with database.writing.connect() as connection:
        if dry_run:
            # Without a commit, closing the connection rolls everything back.
            await connection.begin()
        for source in ordered:
            one = _File(connection, moment, source, watcher, COMMAND, statement_timeout=False)
            if dry_run:
                watcher.done(await one.whole())
            elif batches:
                watcher.done(await one.in_parts())
            else:
                async with connection.begin():
                    imported = await one.whole()
                    watcher.doing(source, "committing", source.size)
                watcher.done(imported)


async def import_for_client(
    work: UnitOfWork, source: Source, *, dry_run: bool
) -> tuple[int, Counts]:
    """Import a file in the transaction of a request: the number of its rows, and the counts by
    what was done with them.

    A dry run undoes what it has done. Raises RowsRefused, ImportInProgress,
    ImportsNotPermitted, and RecordMerged.
    """
    moment = Moment(work.now, work.today, work.policies)
    one = _File(work.connection, moment, source, _Nobody(), work.caller.actor)
    # The events of an import are not of one customer.
    work.concerned.add(None)
    try:
        if dry_run:
            async with undone(work.connection):
                imported = await one.whole()
        else:
            imported = await one.whole()
    except BadRows as refused:
        found = refused.found
        errors = (
            InputError(
                f"line/{bad.line}{f'/{bad.column}' if bad.column else ''}", bad.code, bad.params
            )
            for bad in found.first
        )
        raise RowsRefused(errors, found.rows) from refused
    except ImportRunning as refused:
        raise ImportInProgress from refused
    except MergedMeanwhile as refused:
        raise RecordMerged from refused
    except ImportRefused as refused:
        raise ImportsNotPermitted from refused
    return imported.rows, imported.counts


class _Nobody:
    """Watches an import of which only the end matters."""

    def doing(self, source: Source, what: str, read: int) -> None: ...

    def committed(self, source: Source, customers: int, of: int) -> None: ...

    def done(self, imported: Imported) -> None: ...


class _File:
    """The import of one file."""

    def __init__(
        self,
        connection: Connection,
        moment: Moment,
        source: Source,
        watcher: Watcher,
        actor: Actor,
        *,
        statement_timeout: bool = True,
    ) -> None:
        self._actor = actor
        self._statement_timeout = statement_timeout
        self._connection = connection
        self._moment = moment
        self._source = source
        self._watcher = watcher
        self._kind = _KINDS[source.columns.layout.option]
        self._found = Found(source.columns.layout)

    async def whole(self) -> Imported:
        """All rows, in the caller's transaction. Raises BadRows and ImportRefused."""
        work = self._work()
        await work.begin()
        rows = await self._stage(work)
        await self._check(work)
        self._watcher.doing(self._source, "writing", self._source.size)
        counts = await work.write()
        await work.end()
        return Imported(self._source, rows, counts)

    async def in_parts(self) -> Imported:
        """All rows, committed some customers at a time. Raises BadRows and ImportRefused."""
        async with self._connection.begin():
            work = self._work()
            await work.begin()
            rows = await self._stage(work)
            # The locks are taken for each part: nobody waits for the whole file.
            await self._check(work, locking=False)
            parts = await work.divide()
        counts, customers, total = Counts(0, 0, 0), 0, sum(part.customers for part in parts)
        for part in parts:
            async with self._connection.begin():
                work = self._work()
                await work.begin()
                await work.take(part)
                await self._check(work)
                written = await work.write()
            counts = Counts(*(old + new for old, new in zip(counts, written, strict=True)))
            customers += part.customers
            self._watcher.committed(self._source, customers, total)
        return Imported(self._source, rows, counts)

    def _work(self) -> Import:
        moment, columns = self._moment, self._source.columns
        return self._kind.service(
            self._connection,
            moment.now,
            moment.today,
            moment.policies,
            columns.staged,
            columns.systems,
            self._found.fault,
            self._actor,
            statement_timeout=self._statement_timeout,
        )

    async def _check(self, work: Import, *, locking: bool = True) -> None:
        self._watcher.doing(self._source, "checking", self._source.size)
        await work.check(locking=locking)
        if self._found.count:
            raise BadRows(self._source, self._found)

    async def _stage(self, work: Import) -> int:
        """Stage the rows that are valid by themselves; returns how many were read."""
        batch: list[Mapping[str, Any]] = []
        count, read = 0, 0
        for row in rows(self._source):
            if isinstance(row, Pause):
                read = row.read
                await asyncio.sleep(0)
                continue
            count += 1
            if isinstance(row, BadRow):
                self._found.add(row)
                continue
            try:
                batch.append({"line": row.line, **self._kind.record(row.cells, self._moment)})
            except InvalidInput as error:
                for fault in faults_of(row.line, error):
                    self._found.fault(fault)
            if len(batch) == _BATCH:
                await work.add(batch)
                batch.clear()
                self._watcher.doing(self._source, "reading", read)
        await work.add(batch)
        return count
