"""Single reads straight through the driver, for the question that is asked most.

SQLAlchemy runs the driver inside greenlets, and each switch between two copies the C stack that
lies between them: below a web framework's many nested awaits, that and its own layers took four
tenths of the whole request. The engine still makes the connections, with all its settings.
"""

import asyncio
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import PoolProxiedConnection, TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.ext.asyncio import AsyncEngine

# The connection is gone, or was made before the database's last restart.
_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    OSError,
)


class Row(asyncpg.Record):
    """A row with its columns as attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Question(NamedTuple):
    """A statement as the driver takes it: the names of its parameters in their order."""

    text: str
    names: tuple[str, ...]


def question(clause: TextClause) -> Question:
    compiled = clause.compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call]
    return Question(str(compiled), tuple(compiled.positiontup or ()))


class Asking:
    """Connections that answer one read-only statement at a time, each its own snapshot.

    Made when needed, at most `size`, and kept. A question waits up to `patience` seconds for one.
    """

    def __init__(self, engine: AsyncEngine, size: int, patience: float) -> None:
        self._engine = engine
        self._size = size
        self._patience = patience
        self._free = asyncio.Semaphore(size)
        self._idle: list[PoolProxiedConnection] = []
        self._in_use = 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections are in use and how many there may be."""
        return self._in_use, self._size

    async def ask(self, asked: Question, parameters: dict[str, Any]) -> list[Row]:
        """The rows. Raises what the driver raises, and TimeoutError if no connection is free."""
        values = [parameters[name] for name in asked.names]
        if self._free.locked():
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        else:
            await self._free.acquire()
        self._in_use += 1
        try:
            if self._idle:
                try:
                    return await self._on(self._idle.pop(), asked.text, values)
                except _GONE:
                    # So may be all others. Nothing was sent yet: a new one is asked again.
                    self._drop()
            return await self._on(await self._engine.raw_connection(), asked.text, values)
        finally:
            self._in_use -= 1
            self._free.release()

    async def _on(
        self, connection: PoolProxiedConnection, text: str, values: list[Any]
    ) -> list[Row]:
        driver: Any = connection.driver_connection
        whole = False
        try:
            rows: list[Row] = await driver.fetch(text, *values, record_class=Row)
            whole = True
            return rows
        except asyncpg.PostgresError:
            whole = not driver.is_closed()
            raise
        finally:
            # Left in the middle of an answer, as by a request that is given up, it is of no use.
            if whole:
                self._idle.append(connection)
            else:
                connection.invalidate()

    def _drop(self) -> None:
        while self._idle:
            self._idle.pop().invalidate()

    async def dispose(self) -> None:
        while self._idle:
            self._idle.pop().close()
        await self._engine.dispose()
