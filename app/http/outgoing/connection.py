"""An HTTP/1.1 connection to a receiver that nobody trusts: one request after another.

Of an answer nothing is kept but its status, the field `Retry-After` and the size of its body. A
general client took 2 ms of CPU for each request, more than everything else about a delivery.
"""

import asyncio
import select
from typing import NamedTuple, cast

import httptools

MOST_READ = 1_024
_LARGEST_HEAD = 65_536
# The answer's body tells nothing. It is read so that the connection can be used again.
_BODY_SECONDS = 1.0
_SWITCHING_PROTOCOLS = 101


class BadAnswer(Exception):
    """What came is not an answer of HTTP/1.1, or ended before its head did."""


class Heard(NamedTuple):
    """An answer."""

    status: int
    retry_after: bytes
    """The value of the field; empty without it."""
    body_bytes: int
    """At most MOST_READ."""


class Connection(asyncio.Protocol):
    """A connection, plain or with TLS. Used by one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._open = False
        self._pending: asyncio.Future[None] | None = None
        self._clear()

    def _clear(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = self._body_bytes = self._status = 0
        self._retry_after = b""
        self._has_head = self._has_body = self._keeps = False

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent on it."""
        return self._open and self._keeps

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come that the event loop has not read yet, such as its end."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        """Close it at once, whatever is on its way."""
        self._open = False
        self._transport.abort()

    async def send(self, request: bytes) -> Heard:
        """Send a whole request, and the answer to it.

        Raises BadAnswer, and ConnectionError if the connection is lost before the answer's head. A
        body that is longer than MOST_READ, or slow, is left.
        """
        self._clear()
        self._transport.write(request)
        try:
            while not self._has_head:
                await self._news()
            if not self._has_body:
                await self._rest()
        finally:
            if not self.reusable:
                self.abort()
        return Heard(self._status, self._retry_after, min(self._body_bytes, MOST_READ))

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while not self._has_body and self._body_bytes < MOST_READ:
                    await self._news()
        except (TimeoutError, BadAnswer, ConnectionError):
            # The status has come.
            pass

    async def _news(self) -> None:
        if not self._open:
            raise ConnectionError("the connection is closed")
        self._pending = asyncio.get_running_loop().create_future()
        try:
            await self._pending
        finally:
            self._pending = None

    def _tell(self, error: Exception | None = None) -> None:
        if self._pending is None or self._pending.done():
            return
        if error is None:
            self._pending.set_result(None)
        else:
            self._pending.set_exception(error)

    # --- called by the event loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open = True

    def data_received(self, data: bytes) -> None:
        if self._pending is None or self._has_body:
            # Nobody asked, or more came than the answer.
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keeps = False
            self._tell(None if self._has_head else BadAnswer())
            return
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > _LARGEST_HEAD:
                self._tell(BadAnswer())
        else:
            self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        self._open = False
        self._tell(BadAnswer() if error is None else ConnectionError(str(error)))

    # --- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._has_body:
            # A second answer to one request. The next request would take it for its own.
            raise BadAnswer

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head and not self._retry_after and name.lower() == b"retry-after":
            self._retry_after = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == _SWITCHING_PROTOCOLS:
            self._has_head, self._status = True, status
        else:
            self._retry_after = b""

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._has_body = True
            self._keeps = self._status != _SWITCHING_PROTOCOLS and self._parser.should_keep_alive()
