"""Work of the service's own every half minute: it stores when tokens were last used, deletes
idempotency keys that are too old to be repeated and tokens that expired long ago, and clears
personal data after the days that the operator sets (R43)."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from app import clock
from app.services import idempotency, retention, tokens
from app.store.database import Connection, Database
from app.store.failures import FAILURES

# API: kept at least 24 hours; twice that leaves room for a client that was down for a day.
KEYS_KEPT = timedelta(hours=48)
EXPIRED_TOKENS_KEPT = timedelta(days=30)
_EVERY_SECONDS = 30.0
_LONGEST_SECONDS = 5.0
_FORGET_EVERY = timedelta(hours=1)

log = structlog.get_logger(__name__)


class Housekeeping:
    """Collects in memory what it writes from time to time, so that no request writes for it."""

    def __init__(
        self, case_text_keep_days: int | None = None, call_number_keep_days: int | None = None
    ) -> None:
        self._text_keep_days = case_text_keep_days
        self._number_keep_days = call_number_keep_days
        self._last_used: dict[UUID, datetime] = {}
        self._forgot_at: datetime | None = None

    def used(self, token_id: UUID, at: datetime) -> None:
        """Note that a token was used; stored within half a minute, and at the end."""
        self._last_used[token_id] = at

    async def run(self, database: Database) -> None:
        """Run until cancelled. If the database is away, try again the next time."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.tidy(database)

    async def tidy(self, database: Database) -> None:
        """Do what is due, each task in a transaction of its own: a slow one undoes no other."""
        now = clock.now()
        used, self._last_used = self._last_used, {}
        if used and not await _done(database, lambda it: tokens.record_uses(it, used)):
            self._last_used = used | self._last_used
        if self._forgot_at is None or now - self._forgot_at > _FORGET_EVERY:
            keys = await _done(database, lambda it: idempotency.forget(it, now - KEYS_KEPT))
            ended = await _done(
                database, lambda it: tokens.forget_expired(it, now - EXPIRED_TOKENS_KEPT)
            )
            if keys and ended:
                self._forgot_at = now
        if self._text_keep_days is not None:
            before = now - timedelta(days=self._text_keep_days)
            await _done(database, lambda it: retention.clear_texts(it, now, before))
        if self._number_keep_days is not None:
            noted = now - timedelta(days=self._number_keep_days)
            await _done(database, lambda it: retention.clear_numbers(it, noted))


async def _done(database: Database, task: Callable[[Connection], Awaitable[object]]) -> bool:
    """Whether a task succeeded and left nothing to do (it returns False otherwise)."""
    try:
        # A database host that has vanished must not keep the service from ending.
        async with asyncio.timeout(_LONGEST_SECONDS), database.operations.begin() as connection:
            return await task(connection) is not False
    except FAILURES as error:
        log.warning("housekeeping_failed", error=type(error).__name__)
        return False
