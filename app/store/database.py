"""The connection pools of the service: for reads, for transactions, and for bound tokens."""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Self, cast
from uuid import uuid4

from sqlalchemy import AsyncAdaptedQueuePool, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.settings import Settings
from app.store.raw_reads import RawReadPool

_CLOSING_SECONDS = 2.0

Connection = AsyncConnection
"""The name for code that passes connections on and speaks no SQL."""

statements: ContextVar[list[int] | None] = ContextVar("statements", default=None)
"""Number of statements of the current request: a list of one number, shared with child tasks."""


def count_statement(*_: object) -> None:
    counter = statements.get()
    if counter is not None:
        counter[0] += 1


class Database:
    """Connection pools on one database, one for each use. Raises ValueError without an address.

    `writing`: transactions. `reading`: single statements in autocommit mode, each with its own
    snapshot; leaving out BEGIN and the reset on return gave a fifth more requests per second.
    `raw`: single statements on the driver itself, without SQLAlchemy. `bound` (transactions)
    and `bound_raw` (single statements): for tokens bound to one customer, with the role
    assistenza_bound (R38).
    """

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        address = url or settings.database_url
        if address is None:
            raise ValueError("no database address is set")
        arguments: dict[str, Any] = {
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
            # transaction, on which a statement prepared earlier does not exist.
            arguments["statement_cache_size"] = 0
            arguments["prepared_statement_cache_size"] = 0
            arguments["prepared_statement_name_func"] = lambda: f"__asyncpg_{uuid4()}__"
        common: dict[str, Any] = {
            "pool_size": settings.pool_size,
            "max_overflow": 0,
            "pool_timeout": settings.pool_timeout,
            "connect_args": arguments,
        }
        self.reading: AsyncEngine = create_async_engine(
            address, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **common
        )
        self.writing: AsyncEngine = create_async_engine(address, **common)

        def raw_pool(address: str) -> RawReadPool:
            return RawReadPool(
                create_async_engine(
                    address, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **common
                ),
                settings.pool_size,
                settings.pool_timeout,
            )

        self.raw = raw_pool(address)
        # Bound tokens have their own pools: every connection in them has the restricted role from
        # the start, so that no session setting can leak to another caller.
        if settings.bound_database_url is None:
            arguments = arguments | {
                "server_settings": arguments["server_settings"] | {"role": "assistenza_bound"}
            }
        bound_address = settings.bound_database_url or address
        common["connect_args"] = arguments
        self.bound: AsyncEngine = create_async_engine(bound_address, **common)
        self.bound_raw = raw_pool(bound_address)
        self._engines = (self.reading, self.writing, self.bound)
        for engine in self._engines:
            event.listen(engine.sync_engine, "after_cursor_execute", count_statement)

    def pools(self) -> dict[str, tuple[int, int]]:
        """For each pool: connections in use, and the most that it opens."""
        counts = {}
        for name in ("reading", "writing", "bound"):
            pool = cast("AsyncAdaptedQueuePool", getattr(self, name).pool)
            counts[name] = (pool.checkedout(), pool.size())
        return counts | {"asking": self.raw.counts, "bound_asking": self.bound_raw.counts}

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
