"""One file, one transaction; and all files in the order in which they depend on each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from app.errors import InvalidInput
from app.importing import contracts, customers, licences, ticket_packs
from app.importing.cells import Moment
from app.importing.columns import LAYOUTS
from app.importing.faults import bad_row
from app.importing.reading import BadRow, Source, rows
from app.services.imports import (
    ContractImport,
    Counts,
    CustomerImport,
    Import,
    LicenceImport,
    TicketPackImport,
    faults_of,
)
from app.store.database import Connection, Database

_BATCH = 5_000


class Kind(NamedTuple):
    record: Callable[[dict[str, str], Moment], dict[str, Any]]
    """Turns a row's cells into the row to stage. Raises InvalidInput."""
    service: type[Import]


_KINDS: dict[str, Kind] = {
    "customers": Kind(customers.record, CustomerImport),
    "licences": Kind(licences.record, LicenceImport),
    "contracts": Kind(contracts.record, ContractImport),
    "ticket packs": Kind(ticket_packs.record, TicketPackImport),
}


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
        """Called now and then: what is being done with a file, and how many bytes are read."""


async def import_files(
    database: Database,
    moment: Moment,
    sources: Sequence[Source],
    *,
    dry_run: bool,
    watch: Watch,
    done: Callable[[Imported], None],
) -> None:
    """Import files in the order of `LAYOUTS`, each whole and committed before `done` is called.

    A dry run does the same in one transaction and rolls it back. Raises BadRows at the first file
    that has any, and ImportRefused; what was imported before stays.
    """
    ordered = sorted(sources, key=lambda source: LAYOUTS.index(source.columns.layout))
    async with database.writing.connect() as connection:
        if dry_run:
            # Without a commit, closing the connection rolls everything back.
            await connection.begin()
            for source in ordered:
                done(await _import(connection, moment, source, watch))
            return
        for source in ordered:
            async with connection.begin():
                imported = await _import(connection, moment, source, watch)
                watch(source, "committing", source.size)
            done(imported)


async def _import(connection: Connection, moment: Moment, source: Source, watch: Watch) -> Imported:
    kind = _KINDS[source.columns.layout.kind]
    fields, systems = source.columns.staged, source.columns.systems
    work = kind.service(connection, moment.now, moment.today, moment.policies, fields, systems)
    await work.begin()
    count, bad = await _stage(work, kind, moment, source, watch)
    watch(source, "checking", source.size)
    bad += [bad_row(fault, source.columns.layout.kind) for fault in await work.check()]
    if bad:
        raise BadRows(source, bad)
    watch(source, "writing", source.size)
    counts = await work.write()
    await work.end()
    return Imported(source, count, counts)


async def _stage(
    work: Import, kind: Kind, moment: Moment, source: Source, watch: Watch
) -> tuple[int, list[BadRow]]:
    """Stage the rows that are valid by themselves: how many were read, and what is wrong."""
    bad: list[BadRow] = []
    batch: list[Mapping[str, Any]] = []
    count, read = 0, [0]
    for row in rows(source, read):
        count += 1
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        try:
            batch.append({"line": row.line, **kind.record(row.cells, moment)})
        except InvalidInput as error:
            bad += [
                bad_row(fault, source.columns.layout.kind) for fault in faults_of(row.line, error)
            ]
        if len(batch) == _BATCH:
            await work.add(batch)
            batch.clear()
            watch(source, "reading", read[0])
    await work.add(batch)
    return count, bad
