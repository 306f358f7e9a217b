"""The connection pools of the service, which share one budget of connections."""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from time import monotonic
from typing import Any, NamedTuple, Self, cast

from sqlalchemy import AsyncAdaptedQueuePool, event
from sqlalchemy import Connection as BlockingConnection
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.settings import Settings
from app.store.driver import OpenConnections, create_engine
from app.store.raw_reads import RawReadPool
from app.store.shares import Shares, shares

_CLOSING_SECONDS = 2.0
_AUTOCOMMIT: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}

Connection = AsyncConnection
"""The name for code that passes connections on and speaks no SQL."""

statements: ContextVar[list[int] | None] = ContextVar("statements", default=None)
"""Number of statements of the current request: a list of one number, shared with child tasks."""


def count_statement(*_: object) -> None:
    counter = statements.get()
    if counter is not None:
        counter[0] += 1


def _with(arguments: dict[str, Any], **server_settings: str) -> dict[str, Any]:
    """Arguments of a connection, with these server settings too."""
    return arguments | {"server_settings": arguments["server_settings"] | server_settings}


def _heard(connection: BlockingConnection, *_: object) -> None:
    driver: Any = connection.connection.driver_connection
    driver.heard = monotonic()


class PoolCounts(NamedTuple):
    """Connections in use, open and idle, and the most that the pool opens."""

    in_use: int
    idle: int
    size: int


class Database:
    """Connection pools on one database, one for each use. Raises ValueError without an address.

    `writing`: transactions. `reading`: single statements in autocommit mode, each with its own
    snapshot; leaving out BEGIN and the reset on return gave a fifth more requests per second.
    `raw`: single statements on the driver itself, without SQLAlchemy. `bound` (transactions)
    and `bound_raw` (single statements): for tokens bound to one customer, with the role
    assistenza_bound (R38). `exports`: long answers, which must not use up what writers need;
    `exporting` has as many places. `operations`: readiness, housekeeping and the jobs.

    `share`: the sizes of the pools; by default those of a worker. `long_statements`: for commands
    that lift `statement_timeout`.
    """

    def __init__(
        self,
        settings: Settings,
        url: str | None = None,
        *,
        share: Shares | None = None,
        long_statements: bool = False,
    ) -> None:
        address = url or settings.database_url
        if address is None:
            raise ValueError("no database address is set")
        self._open = OpenConnections(
            None if long_statements else settings.statement_timeout_ms / 1000
        )
        arguments: dict[str, Any] = {
            "async_creator_fn": self._open.connect,
            "timeout": settings.connect_timeout,
            "server_settings": {
                "application_name": "assistenza",
                "timezone": "UTC",
                "jit": "off",
                "statement_timeout": str(settings.statement_timeout_ms),
                "lock_timeout": str(settings.lock_timeout_ms),
                "idle_in_transaction_session_timeout": str(2 * settings.statement_timeout_ms),
            },
        }
        if not settings.prepared_statements:
            # A pooler in transaction mode may use another server connection for the next
            # transaction, on which a statement prepared earlier does not exist. In autocommit mode
            # even Parse and Bind of one statement may reach two servers. Only the unnamed
            # statement is safe: the driver sends its Parse again together with its Bind.
            arguments["statement_cache_size"] = 0
            arguments["prepared_statement_cache_size"] = 0
            arguments["prepared_statement_name_func"] = lambda: ""

        def pool(address: str, size: int, arguments: dict[str, Any], **more: Any) -> AsyncEngine:
            return create_engine(
                address,
                arguments,
                pool_size=size,
                max_overflow=0,
                pool_timeout=settings.pool_timeout,
                **more,
            )

        def raw_pool(address: str, size: int, arguments: dict[str, Any]) -> RawReadPool:
            engine = pool(address, size, arguments, **_AUTOCOMMIT)
            return RawReadPool(engine, size, settings.pool_timeout, self._open.silent)

        self.budget = settings.connections
        share = share or shares(settings)
        self.reading = pool(address, share.reading, arguments, **_AUTOCOMMIT)
        self.writing = pool(address, share.writing, arguments)
        self.raw = raw_pool(address, share.asking, arguments)
        # Used so rarely that its connections may have been lost unnoticed.
        self.operations = pool(address, share.operations, arguments, pool_pre_ping=True)
        # A reader may take its time: the server must not end an export before `send_timeout` does.
        idle_ms = int(1000 * settings.send_timeout) + 2 * settings.statement_timeout_ms
        self.exports = pool(
            address,
            share.exports,
            _with(arguments, idle_in_transaction_session_timeout=str(idle_ms)),
        )
        self.exporting = asyncio.Semaphore(share.exports)
        # Bound tokens have their own pools: every connection in them has the restricted role from
        # the start, so that no session setting can leak to another caller.
        if settings.bound_database_url is None:
            arguments = _with(arguments, role="assistenza_bound")
        bound_address = settings.bound_database_url or address
        self.bound = pool(bound_address, share.bound, arguments)
        self.bound_raw = raw_pool(bound_address, share.bound_asking, arguments)
        self._engines = (self.reading, self.writing, self.bound, self.exports, self.operations)
        for engine in self._engines:
            event.listen(engine.sync_engine, "after_cursor_execute", count_statement)
            event.listen(engine.sync_engine, "after_cursor_execute", _heard)
            event.listen(engine.sync_engine, "handle_error", self._handle_error)

    def _handle_error(self, context: ExceptionContext) -> None:
        # SQLAlchemy does not see a lost connection in the driver's TimeoutError.
        if isinstance(context.original_exception, TimeoutError) and context.connection is not None:
            self._open.silent()
            context.is_disconnect = True

    def abandon(self) -> None:
        """Abort every connection, so that whoever waits on one learns that it is lost."""
        self._open.abandon()

    def pools(self) -> dict[str, PoolCounts]:
        """The connections of each pool."""
        counts = {}
        for name in ("reading", "writing", "bound", "exports", "operations"):
            pool = cast("AsyncAdaptedQueuePool", getattr(self, name).pool)
            counts[name] = PoolCounts(pool.checkedout(), pool.checkedin(), pool.size())
        for name, raw in (("asking", self.raw), ("bound_asking", self.bound_raw)):
            counts[name] = PoolCounts(raw.in_use, raw.idle, raw.size)
        return counts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all pools; give up on a pool after 2 s if the database does not answer."""
        for engine in (*self._engines, self.raw, self.bound_raw):
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await engine.dispose()
