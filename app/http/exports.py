"""Exports: long answers that are sent while they are read from the database.

An export holds a connection until its reader has taken the last line. Exports therefore have a
pool of their own, so that writers keep theirs; there are only as many at once as it has
connections, and each has a deadline for the whole answer.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.errors import ServiceUnavailable, TooManyRequests
from app.store.database import Connection, Database
from app.store.failures import FAILURES, error_of

_RETRY_AFTER_SECONDS = 10

log = structlog.get_logger(__name__)


class ExportResponse(StreamingResponse):
    """The parts that `read` yields on a connection of its own. `seconds` is for the whole answer.

    Until the first part is there, a failure is answered as a problem: TooManyRequests while
    `database` has no place for another export, ServiceUnavailable. After that the answer is cut
    off, which a reader sees by its missing end. Of `databases` each is tried before the next.
    """

    def __init__(
        self,
        databases: Sequence[Database],
        read: Callable[[Connection], AsyncGenerator[bytes, None]],
        *,
        seconds: float,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__((), headers=headers, media_type=media_type)
        self._databases = databases
        self._read = read
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        last = self._databases[-1]
        for database in self._databases:
            if database.exporting.locked():
                if database is not last:
                    continue
                raise TooManyRequests(_RETRY_AFTER_SECONDS)
            try:
                async with database.exporting, asyncio.timeout(self._seconds) as deadline:
                    await self._answer(database, scope, receive, noted)
                    return
            except FAILURES as failure:
                error = ServiceUnavailable() if deadline.expired() else error_of(failure)
                if error is None:
                    raise
                if not started and database is not last:
                    continue
                if not started:
                    raise error from failure
                # The server closes a connection whose answer was not completed.
                reason = (
                    "ASSISTENZA_EXPORT_TIMEOUT" if deadline.expired() else type(failure).__name__
                )
                log.warning("export_cut_off", reason=reason)
                return

    async def _answer(self, database: Database, scope: Scope, receive: Receive, send: Send) -> None:
        async with (
            database.exports.connect() as connection,
            aclosing(self._read(connection)) as parts,
        ):
            first = await anext(parts)

            async def every_part() -> AsyncIterator[Any]:
                yield first
                async for part in parts:
                    yield part

            self.body_iterator = every_part()
            await super().__call__(scope, receive, send)
