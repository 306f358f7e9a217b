"""A replica that answers reads, as far as it is known to be fresh enough.

Every look asks the primary how far its log (WAL) reaches, and then the replica how far it has
replayed that. Whatever was committed before the primary was asked is visible on the replica once it
has replayed so much. So it is known without comparing clocks since when the replica lacks nothing,
and nobody reads from it when that is longer ago than the bound. A position is a place in that log:
the answer to a write carries one, and a read that brings it sees that write.
"""

import asyncio
import re
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any

import asyncpg
import structlog
from sqlalchemy import text

from app.settings import Settings
from app.store.database import Connection, Database
from app.store.failures import FAILURES, is_disconnect
from app.store.raw_reads import RawReadPool, prepare

UNKNOWN = "FFFFFFFF/FFFFFFFF"
"""A position that no replica reaches: the read goes to the primary."""
_EVERY = 0.2
"""Seconds between two looks."""
_SOON = 0.01
"""The same while a read waits for its position."""
_WAIT = 0.05
"""How long a read waits for its position before it goes to the primary."""
_PATIENCE = 1.0
"""How long a look waits for an answer; then the replica is lost."""
_LONGEST_PAUSE = 5.0
"""Seconds between two looks at a replica that is lost, once it has been lost for a while."""
_PAGE, _PAGE_HEADER = 8192, 24

_position = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", re.ASCII)
_PRIMARY = text("""
    SELECT pg_current_wal_insert_lsn()::text AS position,
        (SELECT system_identifier FROM pg_control_system()) AS system""")
_REPLICA = prepare(
    text("""
    SELECT pg_is_in_recovery() AS follows, pg_last_wal_replay_lsn()::text AS position,
        (SELECT system_identifier FROM pg_control_system()) AS system""")
)

log = structlog.get_logger(__name__)


def parse(position: str) -> int | None:
    """A position as PostgreSQL writes it (`16/B374D848`); None if it is none."""
    match = _position.fullmatch(position)
    return None if match is None else (int(match[1], 16) << 32) + int(match[2], 16)


async def current_position(connection: Connection) -> str:
    """How far the log reaches, on a connection whose transaction has just been committed.

    `UNKNOWN` if it cannot be told: the write is done, and its answer must not fail.
    """
    try:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        position: str = await driver.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    except FAILURES:
        return UNKNOWN
    return position


def _end_of_record(position: int) -> int:
    """The end of the last record before an insert position.

    After a record that fills its page, the insert position lies behind the header of the next page,
    which a replica reaches with the next record only.
    """
    return position - _PAGE_HEADER if position % _PAGE == _PAGE_HEADER else position


class Replica:
    """The pools of a replica, and whether they may be used. Needs `run` beside it."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError without ASSISTENZA_READ_DATABASE_URL."""
        if settings.read_database_url is None:
            raise ValueError("no address of a replica is set")
        # The replica has no pooler before it, so the service takes the role of bound tokens itself.
        own = settings.model_copy(update={"bound_database_url": None})
        self.database = Database(own, settings.read_database_url)
        self._bound = settings.read_staleness
        self._looking = RawReadPool(self.database.operations, 1, _PATIENCE, self.database.abandon)
        self._asked: deque[tuple[float, int]] = deque()
        """When the primary was asked, and how far its log reached, for what is not replayed yet."""
        self._replayed = 0
        self._complete_at: float | None = None
        """Everything committed before is visible on the replica; None while it is lost."""
        self._lost: str | None = "not looked at yet"
        self._waiting = 0
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def lag(self) -> float | None:
        """By how many seconds the replica is behind at most; None if that is not known."""
        return None if self._complete_at is None else monotonic() - self._complete_at

    async def serves(self, position: int | None) -> bool:
        """Whether a read may go to the replica: it is fresh enough, and has the position if any.

        Waits a little for a position that will be reached soon.
        """
        if not self._is_fresh():
            return False
        if position is None or position <= self._replayed:
            return True
        lag = self.lag
        if lag is None or lag > 2 * _EVERY + _WAIT:
            return False
        self._waiting += 1
        self._wanted.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAIT):
                    while self._is_fresh() and position > self._replayed:
                        await self._news.wait()
        finally:
            self._waiting -= 1
        return self._is_fresh() and position <= self._replayed

    def _is_fresh(self) -> bool:
        return self._complete_at is not None and monotonic() - self._complete_at <= self._bound

    def failed(self, failure: BaseException) -> None:
        """A read has failed on the replica: do not use it until the next look if it is gone."""
        if is_disconnect(failure) or isinstance(
            failure, (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
        ):
            self._lose(type(failure).__name__)

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            log.warning("replica_lost", reason=reason)
        self._lost, self._complete_at, self._replayed = reason, None, 0
        self._asked.clear()
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def run(self, primary: Database) -> None:
        """Look at both servers until cancelled."""
        while True:
            try:
                await self._follow(primary)
            except Exception as error:
                # A mistake of our own. The task must not end: its error would keep the service from
                # ending in order.
                log.error("replica_broken", error=type(error).__name__)
                self._lose(type(error).__name__)
                await asyncio.sleep(_LONGEST_PAUSE)

    async def _follow(self, primary: Database) -> None:
        next_sample, pause = 0.0, _EVERY
        while True:
            system: int | None = None
            try:
                if monotonic() >= next_sample:
                    next_sample = monotonic() + _EVERY
                    system = await self._sample(primary)
            except FAILURES as failure:
                # The replica gets older in the meantime, until it is beyond the bound.
                log.warning("primary_not_looked_at", error=type(failure).__name__)
            try:
                await self._look(system)
                pause = _EVERY
            except FAILURES as failure:
                self._lose(type(failure).__name__)
                self.database.abandon()
                pause = min(2 * pause, _LONGEST_PAUSE)
            self._tell()
            if self._waiting:
                await asyncio.sleep(_SOON)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _sample(self, primary: Database) -> int:
        asked_at = monotonic()
        async with asyncio.timeout(_PATIENCE), primary.operations.connect() as connection:
            row = (await connection.execute(_PRIMARY)).one()
        position = parse(row.position)
        if position is not None:
            self._asked.append((asked_at, _end_of_record(position)))
        system: int = row.system
        return system

    async def _look(self, system: int | None) -> None:
        async with asyncio.timeout(_PATIENCE):
            (row,) = await self._looking.fetch(_REPLICA, {})
        position = parse(row.position or "")
        if not row.follows or position is None:
            self._lose("it is not a replica")
            return
        if system is not None and row.system != system:
            self._lose("it is a replica of another server")
            return
        self._replayed = position
        while self._asked and self._asked[0][1] <= position:
            self._complete_at = self._asked.popleft()[0]
        # A replica that is behind for long needs no sample for every moment of it.
        while len(self._asked) > 10_000:
            self._asked.popleft()
        if self._lost is not None and self._complete_at is not None:
            self._lost = None
            log.info("replica_found")

    async def close(self) -> None:
        await self._looking.dispose()
        await self.database.close()
