"""Single reads through the driver itself, for the request that arrives most often.

SQLAlchemy runs the driver inside greenlets, and each switch between two of them copies the C stack
between them. Below the many nested awaits of a web framework, those copies and SQLAlchemy's own
layers took 40 % of the time of a request. The engine still opens the connections, with all its
settings.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import PoolProxiedConnection, TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.ext.asyncio import AsyncEngine

# The connection is closed, or was opened before the database's last restart.
_DISCONNECTED = (
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


class PreparedQuery(NamedTuple):
    """A statement in the driver's form: `$1`, `$2`, … stand for the parameters named in order."""

    text: str
    names: tuple[str, ...]


def prepare(clause: TextClause) -> PreparedQuery:
    """Compile a statement once, at import."""
    compiled = clause.compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call]
    return PreparedQuery(str(compiled), tuple(compiled.positiontup or ()))


class RawReadPool:
    """Connections that each answer one read-only statement at a time, in a snapshot of its own.

    They are opened when needed, at most `size`, and kept. A statement waits at most `patience`
    seconds for a free one. `silent` is called when a statement reaches the driver's time limit.
    """

    def __init__(
        self, engine: AsyncEngine, size: int, patience: float, silent: Callable[[], None]
    ) -> None:
        self._engine = engine
        self.size = size
        self._patience = patience
        self._silent = silent
        self._free = asyncio.Semaphore(size)
        self._idle: list[PoolProxiedConnection] = []
        self.in_use = 0

    @property
    def idle(self) -> int:
        """How many connections are open and not in use."""
        return len(self._idle)

    async def fetch(self, query: PreparedQuery, parameters: dict[str, Any]) -> list[Row]:
        """The rows. Raises the driver's errors, and TimeoutError if no connection is free."""
        values = [parameters[name] for name in query.names]
        if self._free.locked():
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        else:
            await self._free.acquire()
        self.in_use += 1
        try:
            if self._idle:
                try:
                    return await self._fetch_on(self._idle.pop(), query.text, values)
                except _DISCONNECTED:
                    # The other idle connections may be closed too. The statement only reads, so
                    # it is sent again on a new one.
                    while self._idle:
                        self._idle.pop().invalidate()
            return await self._fetch_on(await self._engine.raw_connection(), query.text, values)
        finally:
            self.in_use -= 1
            self._free.release()

    async def _fetch_on(
        self, connection: PoolProxiedConnection, text: str, values: list[Any]
    ) -> list[Row]:
        driver: Any = connection.driver_connection
        reusable = False
        try:
            rows: list[Row] = await driver.fetch(text, *values, record_class=Row)
            reusable = True
            driver.heard = monotonic()
            return rows
        except TimeoutError:
            self._silent()
            raise
        except asyncpg.PostgresError:
            reusable = not driver.is_closed()
            raise
        finally:
            # A connection that was left in the middle of an answer, as by a cancelled request,
            # cannot be used again.
            if reusable:
                self._idle.append(connection)
            else:
                connection.invalidate()

    async def dispose(self) -> None:
        """Close the idle connections and the engine."""
        while self._idle:
            self._idle.pop().close()
        await self._engine.dispose()
