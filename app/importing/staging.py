"""Rows on their way into the tables: temporary tables that end with the transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

ROWS = "import_rows"
"""The rows of a file that are right by themselves, as its kind stages them."""


class Stage:
    """One file's temporary tables on a connection, and SQL on them with the file's parameters."""

    def __init__(self, connection: AsyncConnection, **parameters: Any) -> None:
        self.connection = connection
        self._parameters = parameters
        self._made: list[str] = []

    async def table(self, name: str, columns: Mapping[str, str]) -> None:
        """Make a table; `columns` gives each one's type."""
        listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        await self._make(f"CREATE TEMPORARY TABLE {name} ({listed}) ON COMMIT DROP", name)

    async def table_as(self, name: str, query: str, key: str) -> None:
        """Make a table of what a query finds, indexed by a column."""
        await self._make(f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {query}", name)
        await self.settle(name, key)

    async def _make(self, statement: str, name: str) -> None:
        await self.run(statement)
        self._made.append(name)

    async def settle(self, name: str, key: str) -> None:
        """Index a filled table, and let the planner know how large it is."""
        await self.run(f"CREATE INDEX ON {name} ({key})")
        await self.run(f"ANALYZE {name}")

    async def copy(self, name: str, columns: Sequence[str], records: Iterable[Any]) -> None:
        raw = await self.connection.get_raw_connection()
        driver: Any = raw.driver_connection
        await driver.copy_records_to_table(name, records=records, columns=columns)

    async def run(self, statement: str, **parameters: Any) -> int:
        """Run a statement; the number of rows it touched."""
        done = await self.connection.execute(text(statement), self.known(statement, parameters))
        return done.rowcount

    async def fetch(self, query: str, **parameters: Any) -> Sequence[Row[Any]]:
        done = await self.connection.execute(text(query), self.known(query, parameters))
        return done.all()

    async def count(self, table: str) -> int:
        return int(
            (await self.connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
        )

    def known(self, statement: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that a statement names, out of its own and the file's."""
        names = text(statement).compile().params
        everything = {**self._parameters, **parameters}
        return {name: everything[name] for name in names}

    async def drop(self) -> None:
        """For another file in the same transaction, as in a dry run."""
        while self._made:
            await self.run(f"DROP TABLE {self._made.pop()}")
