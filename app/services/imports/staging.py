"""The steps of every import, and the temporary tables that hold its rows until they are written."""

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import date, datetime
from operator import itemgetter
from typing import Any, ClassVar, Literal, NamedTuple
from zlib import crc32

from sqlalchemy import CursorResult, Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import InputCode, InvalidInput, RecordMerged
from app.policy.document import Policies
from app.store import lock
from app.store.events import Actor, record_each

FileKind = Literal["customers", "licences", "contracts", "ticket-packs"]

ROWS = "import_rows"
"""The temporary table of the rows that are valid by themselves."""

COMMAND = Actor("import")
"""Whoever runs `assistenza import`."""
_NO_TIMEOUT = "SELECT set_config('statement_timeout', '0', true)"
_MAY_STAGE = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"
_ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(hashtext('assistenza import'))"

CUSTOMERS_IN_A_PART = 500
_FETCHED = 1_000
_PARTS = "import_parts"
"""The temporary table of a file's rows that outlives a transaction."""


@asynccontextmanager
async def undone(connection: AsyncConnection) -> AsyncIterator[None]:
    """Undo what is done inside, after the constraints that wait for the commit were checked."""
    async with connection.begin_nested() as savepoint:
        yield
        await connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        await savepoint.rollback()


class Part(NamedTuple):
    """The rows of a file that are committed together."""

    number: int
    customers: int


class ImportRefused(Exception):
    """The database does not permit an import now; the message is for the operator."""


class ImportRunning(ImportRefused):
    """Another import has not ended."""


class MergedMeanwhile(ImportRefused):
    """A customer of the file was merged while the import waited for it."""


class Fault(NamedTuple):
    """Why a row cannot be imported."""

    line: int
    """The row's line in its file."""
    pointer: str
    """As in `app.errors.InputError`; "" is the whole row."""
    code: InputCode
    params: Mapping[str, object] = {}


class Counts(NamedTuple):
    """How many customers, licences, contracts or packs; a customer may have several rows."""

    created: int
    changed: int
    unchanged: int


def faults_of(line: int, error: InvalidInput) -> Iterator[Fault]:
    """The faults of a row that a rule of the API refuses."""
    for one in error.errors:
        yield Fault(line, one.pointer, one.code, one.params)


class Stage:
    """Temporary tables on a connection, and SQL on them with parameters that all statements share.

    `now`, `today` and `systems` are such parameters. `report` is called with each fault: a file can
    have one in every row, so they are not kept here.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        actor: Actor,
        report: Callable[[Fault], None],
        **parameters: Any,
    ) -> None:
        self.connection = connection
        self.actor = actor
        self.report = report
        self._parameters = parameters
        self._tables: list[str] = []

    async def table(self, name: str, columns: Mapping[str, str]) -> None:
        """Create an empty table; `columns` gives the type of each."""
        listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        await self._create(f"CREATE TEMPORARY TABLE {name} ({listed}) ON COMMIT DROP", name)

    async def table_as(self, name: str, query: str, key: str) -> None:
        """Create a table of what a query finds, indexed by a column."""
        await self._create(f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {query}", name)
        await self.settle(name, key)

    async def _create(self, statement: str, name: str) -> None:
        await self.run(statement)
        self._tables.append(name)

    async def settle(self, name: str, key: str) -> None:
        """Index a filled table, and give the planner its statistics."""
        await self.run(f"CREATE INDEX ON {name} ({key})")
        await self.run(f"ANALYZE {name}")

    async def copy(self, name: str, columns: Iterable[str], records: Iterable[Any]) -> None:
        raw = await self.connection.get_raw_connection()
        driver: Any = raw.driver_connection
        await driver.copy_records_to_table(name, records=records, columns=list(columns))

    async def run(self, statement: str, **parameters: Any) -> int:
        """Run a statement: the number of rows that it touched."""
        return (await self._execute(statement, parameters)).rowcount

    async def fetch(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        return (await self._execute(query, parameters)).all()

    async def stream(self, query: str) -> AsyncIterator[Row[Any]]:
        """The rows of a query, of which few are in memory at a time."""
        # The driver's own cursor stays open until the transaction ends; then no statement of it
        # can drop or index the tables that the cursor reads.
        # A name for each query, because the driver remembers the columns of a FETCH by its text.
        cursor = f"import_{crc32(query.encode()):x}"
        await self.run(f"DECLARE {cursor} NO SCROLL CURSOR FOR {query}")
        while found := await self.fetch(f"FETCH {_FETCHED} FROM {cursor}"):
            for row in found:
                yield row
        await self.run(f"CLOSE {cursor}")

    async def faults(self, code: InputCode, pointer: str, query: str) -> None:
        """Report a fault for each row of a query, which has its `line`.

        The other columns fill the placeholders of `pointer` and of the code's text.
        """
        async for row in self.stream(query):
            self.report(Fault(row.line, pointer.format_map(row._mapping), code, row._asdict()))

    async def count(self, table: str) -> int:
        (row,) = await self.fetch(f"SELECT count(*) AS rows FROM {table}")
        return int(row.rows)

    async def record_each(self, events: str) -> None:
        """Append one event for each row of a query (`store.events.record_each`)."""
        await record_each(self.connection, self.actor, self._parameters["now"], events)

    async def _execute(self, statement: str, own: Mapping[str, Any]) -> CursorResult[Any]:
        """Run a statement with those of its own and the shared parameters that it names."""
        clause = text(statement)
        given = {**self._parameters, **own}
        named = {name: given[name] for name in clause.compile().params}
        return await self.connection.execute(clause, named)

    async def drop(self) -> None:
        while self._tables:
            await self.run(f"DROP TABLE {self._tables.pop()}")


class Import(ABC):
    """The import of one file's rows, in one transaction of the caller's.

    The steps: `begin`; `add` for each batch of rows; `check`; `write` if there are no faults; `end`
    if the transaction goes on to another file.

    A large file can be committed in parts: `begin`, `add`, `check` and `divide` in a transaction of
    their own; then for each part, in a transaction each, `begin`, `take`, `check`, `write`.
    """

    staged: ClassVar[Mapping[str, str]]
    """The columns of a row with their SQL types. `line` and `key`, the code, serial number or
    number in lower case, are always among them."""
    customers: ClassVar[str] = "customer_key"
    """The column with the customer's code in lower case."""

    def __init__(
        self,
        connection: AsyncConnection,
        now: datetime,
        today: date,
        policies: Policies,
        fields: Collection[str],
        systems: Sequence[str],
        report: Callable[[Fault], None],
        actor: Actor,
        *,
        statement_timeout: bool = True,
    ) -> None:
        """`fields` are the staged columns that the file has, `systems` those whose references it
        has. What it has no column for stays as it is stored. `report` is called with each fault.

        Without `statement_timeout` a statement may take as long as it needs: one on a hundred
        thousand rows takes longer than a request may.
        """
        self._statement_timeout = statement_timeout
        self.now = now
        self.policies = policies
        self.fields = fields
        self.systems = systems
        self.stage = Stage(connection, actor, report, now=now, today=today, systems=systems)

    async def begin(self) -> None:
        """Prepare the staging. Raises ImportRefused."""
        if not self._statement_timeout:
            await self.stage.run(_NO_TIMEOUT)
        connection = self.stage.connection
        if not await connection.scalar(text(_MAY_STAGE)):
            raise ImportRefused(
                "The service's role may not create temporary tables in this database."
                " Run as the database's owner: GRANT TEMPORARY ON DATABASE … TO assistenza_app"
            )
        # Two imports that insert the same numbers in different orders would wait for each other.
        if not await connection.scalar(text(_ONE_AT_A_TIME)):
            raise ImportRunning("Another import is running.")
        await self.stage.table(ROWS, self.staged)

    async def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stage rows; each has every column of `staged`."""
        await self.stage.copy(ROWS, self.staged, map(itemgetter(*self.staged), rows))

    async def check(self, *, locking: bool = True) -> None:
        """Lock the customers; then report what is wrong between the rows, and with what is stored.

        Without the locks, what is found may have changed before it is written. Raises ImportRefused
        if a customer was merged meanwhile.
        """
        await self.stage.settle(ROWS, "key")
        if locking:
            # Checking each row by itself took the most time, and needed no lock.
            codes = f"SELECT {self.customers} FROM {ROWS}"
            try:
                await lock.customers_called(self.stage.connection, codes)
            except RecordMerged:
                message = "A customer of the file was merged just now: import it again."
                raise MergedMeanwhile(message) from None
        await self._faults()

    @abstractmethod
    async def _faults(self) -> None:
        """Report what is wrong, under the locks."""

    async def divide(self) -> list[Part]:
        """Keep the checked rows for this connection's later transactions, in parts.

        A part has all rows of up to 500 customers. The customers of `_together` are one part.
        """
        await self.stage.run(f"DROP TABLE IF EXISTS pg_temp.{_PARTS}")
        together = self._together() or "SELECT NULL::text AS key WHERE false"
        await self.stage.run(
            f"""CREATE TEMPORARY TABLE {_PARTS} AS
            SELECT r.*, p.part, p.customer FROM {ROWS} r JOIN (
                SELECT customer, CASE WHEN apart THEN 1 + (
                    row_number() OVER (PARTITION BY apart ORDER BY line) - 1
                ) / {CUSTOMERS_IN_A_PART} ELSE 0 END AS part
                FROM (SELECT {self.customers} AS customer, min(line) AS line,
                        {self.customers} NOT IN ({together}) AS apart
                    FROM {ROWS} GROUP BY 1) AS customers
            ) AS p ON p.customer = r.{self.customers}"""
        )
        await self.stage.run(f"CREATE INDEX ON {_PARTS} (part)")
        found = await self.stage.fetch(
            f"""SELECT part, count(DISTINCT customer) AS customers FROM {_PARTS}
            GROUP BY part ORDER BY part"""
        )
        return [Part(row.part, row.customers) for row in found]

    def _together(self) -> str | None:
        """A query of the `customers` that only one transaction can write, after `check`."""
        return None

    async def take(self, part: Part) -> None:
        """Stage the rows of a part. Raises ImportRefused if the connection is not the same."""
        if not await self.stage.connection.scalar(text(f"SELECT to_regclass('pg_temp.{_PARTS}')")):
            raise ImportRefused(
                "The database is behind a pooler, which gives each transaction another connection:"
                " import in batches with the address of PostgreSQL itself."
            )
        columns = ", ".join(self.staged)
        await self.stage.run(
            f"INSERT INTO {ROWS} ({columns}) SELECT {columns} FROM {_PARTS} WHERE part = :part",
            part=part.number,
        )

    @abstractmethod
    async def write(self) -> Counts:
        """Write what is new or differs, with its events."""

    async def end(self) -> None:
        await self.stage.drop()


def repeated(table: str, columns: str) -> str:
    """SQL for the rows that repeat an earlier row's `columns`: `line`, and that row's `earlier`."""
    return f"""SELECT line, earlier FROM (
            SELECT line, min(line) OVER (PARTITION BY {columns}) AS earlier FROM {table}
        ) AS numbered WHERE line > earlier"""
