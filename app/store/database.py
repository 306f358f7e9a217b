"""The service's ways into the database: one engine that reads, one that writes."""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import AsyncAdaptedQueuePool, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.settings import Settings
from app.store.raw_reads import Asking

_CLOSING_SECONDS = 2.0

Connection = AsyncConnection
"""The name for code that passes connections on and speaks no SQL."""

statements: ContextVar[list[int] | None] = ContextVar("statements", default=None)
"""How many statements the current request has sent, in a list of one so that all may add to it."""


def count_statement(*_: object) -> None:
    counter = statements.get()
    if counter is not None:
        counter[0] += 1


class Database:
    """Pools on one database, each of its own kind.

    `bound` and `bound_asking` are for tokens bound to one customer. `asking` is past SQLAlchemy.
    `reading` sends single statements, each its own snapshot, with neither BEGIN nor a reset on
    return: a fifth more requests a second. `writing` is for transactions.
    """

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        address = url or settings.database_url
        if address is None:
            raise ValueError("no database is set")
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
            # Behind a pooler that hands out another server for each transaction, a statement
            # prepared once is not there the next time.
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

        def asking(address: str) -> Asking:
            engine = create_async_engine(
                address, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **common
            )
            return Asking(engine, settings.pool_size, settings.pool_timeout)

        self.asking = asking(address)
        # What a bound token asks for goes through a role of its own, which the database shows one
        # customer's rows: no session setting can leak, since the pool holds nothing else.
        if settings.bound_database_url is None:
            arguments = arguments | {
                "server_settings": arguments["server_settings"] | {"role": "assistenza_bound"}
            }
        bound_address = settings.bound_database_url or address
        common["connect_args"] = arguments
        self.bound: AsyncEngine = create_async_engine(bound_address, **common)
        self.bound_asking = asking(bound_address)
        self._engines = (self.reading, self.writing, self.bound)
        for engine in self._engines:
            event.listen(engine.sync_engine, "after_cursor_execute", count_statement)

    def pools(self) -> dict[str, tuple[int, int]]:
        """Of each pool, how many connections are in use and how many there may be."""
        counts = {}
        for name in ("reading", "writing", "bound"):
            pool = cast("AsyncAdaptedQueuePool", getattr(self, name).pool)
            counts[name] = (pool.checkedout(), pool.size())
        return counts | {"asking": self.asking.counts, "bound_asking": self.bound_asking.counts}

    async def close(self) -> None:
        """Close what is open; not in good order where the database does not answer."""
        for engine in (*self._engines, self.asking, self.bound_asking):
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await engine.dispose()
