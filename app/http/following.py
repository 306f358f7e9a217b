"""Waiting for what happens next: long polls and event streams, without a database connection.

One query of the process serves everybody who waits: it asks a few times a second how far the feed
is. Whoever waits reads on when it has advanced.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from app import clock
from app.errors import TooManyRequests
from app.http.auth.bearer import sent_token
from app.http.context import Context
from app.http.routes import Handler, ScopedRoute, reader
from app.services.feed import Cursor, last_position
from app.services.tokens import authenticate, is_bound
from app.store.database import Database
from app.store.failures import FAILURES

LONGEST_WAIT = 30
"""Seconds that a long poll may wait."""
WAITING_OF_A_CLIENT = 10
"""Streams and long polls of one client that wait on one process; more are refused. Each reads again
whenever the feed advances."""
_ASKED_EVERY = 0.2
_RETRY_SECONDS = 5

log = structlog.get_logger(__name__)


class Watch:
    """Knows how far the feed is while somebody waits for more."""

    def __init__(self) -> None:
        self.closed = False
        self._position = 0
        self._waiting = 0
        self._wanted = asyncio.Event()
        self._news = asyncio.Event()
        self._places: Counter[str] = Counter()

    async def run(self, database: Database) -> None:
        """Ask while somebody waits, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                self._position = await last_position(database)
            except FAILURES as error:
                log.warning("feed_not_read", error=type(error).__name__)
                await asyncio.sleep(1)
            else:
                self._tell()
                await asyncio.sleep(_ASKED_EVERY)

    def close(self) -> None:
        """Let everybody who waits answer: the service ends."""
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def beyond(self, position: int, seconds: float) -> bool:
        """Wait until the feed goes beyond a position; False if it has not after so many seconds."""
        self._waiting += 1
        self._wanted.set()
        try:
            async with asyncio.timeout(seconds):
                while self._position <= position and not self.closed:
                    await self._news.wait()
                return not self.closed
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._wanted.clear()

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """A place for a client to wait. Raises TooManyRequests if it has all of its own."""
        if self._places[client] >= WAITING_OF_A_CLIENT:
            raise TooManyRequests(_RETRY_SECONDS)
        self._places[client] += 1
        try:
            yield
        finally:
            self._places[client] -= 1
            if not self._places[client]:
                del self._places[client]


class NothingNew(Exception):
    """The handler of a `FollowRoute` has nothing to tell yet after a cursor, and may wait."""

    def __init__(self, after: Cursor, seconds: float) -> None:
        super().__init__()
        self.after = after
        self.seconds = seconds


class FollowRoute(ScopedRoute):
    """A route that may wait for news. A bound token needs no scope: it hears of its own customer.

    A handler that raises `NothingNew` is called again when there is news, until its time is up; a
    last time then, when it has to answer. `request.state.waited_after` is the cursor, and
    `request.state.may_wait` whether it may raise it again.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["openapi_extra"] = {"x-bound-needs-scope": False}
        super().__init__(path, endpoint, **options)

    def time_limit(self, request: Request) -> float:
        return super().time_limit(request) + LONGEST_WAIT

    async def _once(self, request: Request, handler: Handler, now: datetime) -> Response:
        watch: Watch = request.app.state.watch
        request.state.may_wait = True
        ends_at: float | None = None
        while True:
            async with reading(request, self.scope) as context:
                self.refuse_unanswerable(request)
                try:
                    return await handler(request)
                except NothingNew as nothing:
                    after = request.state.waited_after = nothing.after
                    ends_at = ends_at or monotonic() + nothing.seconds
            # Perhaps of other customers or types: then the rest of the time is waited for more.
            with watch.place(context.caller.client):
                news = await watch.beyond(after.position, max(0.0, ends_at - monotonic()))
            request.state.may_wait = news and monotonic() < ends_at


@asynccontextmanager
async def reading(request: Request, scope: str | None) -> AsyncIterator[Context]:
    """The context of an admitted request, with a connection for as long as this lasts."""
    now, token = clock.now(), sent_token(request)
    async with reader(request) as connection:
        needed = None if is_bound(token) else scope
        caller = await authenticate(connection, token, needed, now)
        yield Context.enter(request, connection, caller, now)
