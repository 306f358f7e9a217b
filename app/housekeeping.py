"""What the service does for itself now and then: last uses of tokens, and keys nobody repeats."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app import clock
from app.http import idempotency
from app.http.faults import FAILURES
from app.store.database import Database

# API: kept at least 24 hours; twice that leaves room for a client that was down for a day.
KEYS_KEPT = timedelta(hours=48)
_EVERY_SECONDS = 30.0
_LONGEST_SECONDS = 5.0
_FORGET_EVERY = timedelta(hours=1)

_USED = text("""
    UPDATE tokens t SET last_used_at = u.at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:instants AS timestamptz[])) u (id, at)
    WHERE t.id = u.id AND (t.last_used_at IS NULL OR t.last_used_at < u.at)""")

log = structlog.get_logger(__name__)


class Housekeeping:
    """Remembers in memory what is written once in a while, so that no request writes for it."""

    def __init__(self) -> None:
        self._last_used: dict[UUID, datetime] = {}
        self._forgot_at: datetime | None = None

    def used(self, token_id: UUID, at: datetime) -> None:
        """A token was used; said to the database within half a minute, and at the end."""
        self._last_used[token_id] = at

    async def run(self, database: Database) -> None:
        """Until cancelled. A database that is gone is tried again the next time round."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.tidy(database)

    async def tidy(self, database: Database) -> None:
        now = clock.now()
        used, self._last_used = self._last_used, {}
        try:
            # A database host that has vanished must not keep the service from ending.
            async with (
                asyncio.timeout(_LONGEST_SECONDS),
                database.writing.begin() as connection,
            ):
                if used:
                    # In one order, so that two processes never wait on each other.
                    ids = sorted(used)
                    await connection.execute(
                        _USED, {"ids": ids, "instants": [used[token_id] for token_id in ids]}
                    )
                if self._forgot_at is None or now - self._forgot_at > _FORGET_EVERY:
                    await idempotency.forget(connection, now - KEYS_KEPT)
                    self._forgot_at = now
        except (SQLAlchemyError, *FAILURES) as error:
            self._last_used = used | self._last_used
            log.warning("housekeeping_failed", error=type(error).__name__)
