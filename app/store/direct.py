"""Statements of a transaction that go past SQLAlchemy to the driver: DECISION-direct-statements.md.

They are written with SQLAlchemy, compiled once for each set of parameters, and sent on the very
connection of the transaction. Parameters and rows are those of SQLAlchemy's own execution.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple, cast

from sqlalchemy import Executable, Row
from sqlalchemy.dialects.postgresql import asyncpg as dialects
from sqlalchemy.engine import result_tuple
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from app.store.database import count_statement
from app.store.driver import DriverConnection

_DIALECT = dialects.dialect()  # type: ignore[no-untyped-call]
# Of one statement. A caller who changes some columns of many chooses the set.
_MOST_SETS = 100


class _Compiled(NamedTuple):
    text: str
    parameters: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    """The name of each parameter, in the order of `$1`, `$2`, …, and what turns its value into the
    driver's; None where that is the same."""
    constants: Mapping[str, Any]
    """Parameters whose values are part of the statement."""


class DirectStatement:
    """A statement for the driver. Its parameters and rows are those of `AsyncConnection.execute`.

    An INSERT or UPDATE without values writes the columns that are named in the parameters.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[tuple[str, ...], _Compiled | None] = {}
        self._row: Callable[[Any], Row[Any]] | None = None

    async def rows(
        self, connection: AsyncConnection, parameters: Mapping[str, Any]
    ) -> Sequence[Row[Any]]:
        """Run it, and return all rows that it gives.

        The first statement of a transaction, and one outside of any, is left to SQLAlchemy, which
        begins a transaction by its first statement. So is one that `compiled_for` does not compile.
        Raises the driver's errors, or SQLAlchemy's if the statement is left to it.
        """
        sync = connection.sync_connection
        driver: Any = sync and sync.connection.driver_connection
        compiled = self.compiled_for(tuple(parameters))
        # By its very type: asyncpg makes `isinstance` true for every connection of its own.
        ours = type(driver) is DriverConnection
        if compiled is None or not ours or not driver.is_in_transaction():
            result = await connection.execute(self._statement, parameters)
            return result.all() if result.returns_rows else ()
        if compiled.constants:
            parameters = {**compiled.constants, **parameters}
        values = [
            parameters[name] if convert is None else convert(parameters[name])
            for name, convert in compiled.parameters
        ]
        records = await _send(connection, driver, compiled.text, values)
        if not records:
            return ()
        if self._row is None:
            self._row = result_tuple(tuple(records[0].keys()))
        return [self._row(record) for record in records]

    async def one(self, connection: AsyncConnection, parameters: Mapping[str, Any]) -> Row[Any]:
        """The one row that it always gives. Raises as `rows`, and ValueError without that row."""
        (row,) = await self.rows(connection, parameters)
        return row

    async def one_or_none(
        self, connection: AsyncConnection, parameters: Mapping[str, Any]
    ) -> Row[Any] | None:
        """The one row that it gives, if any. Raises as `rows`, and ValueError for several."""
        rows = await self.rows(connection, parameters)
        if not rows:
            return None
        (row,) = rows
        return row

    def compiled_for(self, names: tuple[str, ...]) -> _Compiled | None:
        """The statement with these parameters; None if only SQLAlchemy can run it.

        That is one with an expanding IN, with defaults made in Python, or with columns that
        SQLAlchemy converts, as it does arrays.
        """
        if names in self._compiled:
            return self._compiled[names]
        if len(self._compiled) == _MOST_SETS:
            del self._compiled[next(iter(self._compiled))]
        compiled = self._compiled[names] = self._compile(names)
        return compiled

    def _compile(self, names: tuple[str, ...]) -> _Compiled | None:
        statement = cast("ClauseElement", self._statement)
        compiled = cast("SQLCompiler", statement.compile(dialect=_DIALECT, column_keys=list(names)))
        converts_rows = any(
            one.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None) is not None
            for one in getattr(self._statement, "exported_columns", ())
        )
        if compiled.prefetch or compiled.post_compile_params or converts_rows:
            return None
        binds = {name: compiled.binds[name] for name in compiled.positiontup or ()}
        return _Compiled(
            str(compiled),
            tuple(
                (name, bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
                for name, bind in binds.items()
            ),
            {name: bind.value for name, bind in binds.items() if not bind.required},
        )


async def _send(connection: AsyncConnection, driver: Any, text: str, values: list[Any]) -> Any:
    try:
        records = await driver.fetch(text, *values)
    except TimeoutError:
        driver.silent()
        await connection.invalidate()
        raise
    except asyncio.CancelledError:
        # It is in the middle of an answer.
        await connection.invalidate()
        raise
    driver.heard = monotonic()
    count_statement()
    return records
