"""Bounds what one connection may cost: uvicorn itself sets no limit of size, number or time."""

import asyncio
import sys
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from starlette.requests import HTTPConnection
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import HeadersTooLarge, MalformedRequest, ServiceError
from app.http import cors
from app.http.errors.rendering import problem_response
from app.http.logs import Seldom
from app.http.middleware import EDGE_HEADERS, identify

LARGEST_HEAD = 65_536
"""The largest head of a request, in bytes: its line and all header fields."""
MOST_FIELDS = 100
"""The most header fields of a request."""
_LAST_REQUEST_SECONDS = 1.0
"""How long a connection that was just used, or just opened, waits for one more request when the
process ends. The request may be on its way already, and closing would lose it."""
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 262_144

log = structlog.get_logger("connections")


class Connections:
    """All client connections of a process, `limit` at most.

    One more closes another: the one that has been without a complete request for longest, because
    an honest client sends its request at once; failing that, the one that has been idle for longest
    since its last answer. If all are being answered, the new one is closed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.unfinished: dict[Protocol, None] = {}
        """Connections whose next request has not arrived completely, the longest first."""
        self.idle: dict[Protocol, None] = {}
        """Connections whose requests are all answered, the longest first."""
        self._warning = Seldom()

    def make_room(self, newcomer: "Protocol") -> "Protocol":
        """The connection to close because there is no room for `newcomer`."""
        about = self._warning.about()
        if about is not None:
            setting = "ASSISTENZA_CLIENT_CONNECTIONS"
            log.warning("connection_limit", setting=setting, limit=self.limit, **about)
        unfinished = next(iter(self.unfinished), newcomer)
        return unfinished if unfinished is not newcomer else next(iter(self.idle), newcomer)

    def forget(self, connection: "Protocol") -> None:
        """The connection is being answered, or has ended."""
        self.unfinished.pop(connection, None)
        self.idle.pop(connection, None)


class _LingeringTransport:
    """A transport whose `close` lets the client read the answer although it is still sending.

    Closing a socket that has unread input makes the kernel reset the connection, and a reset
    discards what the client has not read yet (RFC 9112, 9.6). So close the writing side only, and
    discard what arrives for a while.
    """

    def __init__(self, transport: Transport, unfinished: Callable[[], bool]) -> None:
        self._transport = transport
        self._unfinished = unfinished
        self.lingering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._unfinished() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self.lingering = True
        self._transport.resume_reading()
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._transport.close)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines, in seconds, and bounds of size and number.

    `header_timeout`: from connecting, or from the first byte of a later request, to the end of
    its headers. `send_timeout`: how long an answer may lie unread before more of it is sent.
    Either cuts the connection. The body's deadline is the application's, which can answer.

    A head larger than LARGEST_HEAD, or with more than MOST_FIELDS fields, is answered by 431
    (RFC 6585, 5), and the connection ends. Pages of `origins` may read that.
    """

    def __init__(
        self,
        *arguments: Any,
        header_timeout: float,
        send_timeout: float,
        connections: Connections,
        origins: Sequence[str] = (),
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self._header_timeout = header_timeout
        self._send_timeout = send_timeout
        self._all = connections
        self._origins = origins
        self._header_deadline: TimerHandle | None = None
        self._send_deadline: TimerHandle | None = None
        self._unparsed = 0
        """Bytes received since the parser last completed a head, or gave a piece of a body."""
        self._discarded = 0
        self._receiving = False
        """Whether a request has begun and its end has not arrived."""
        self._used_at = 0.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        lingering = _LingeringTransport(transport, lambda: self._receiving)
        super().connection_made(lingering)  # type: ignore[arg-type]
        self._all.unfinished[self] = None
        self._used_at = self.loop.time()
        self._await_headers()
        if len(self.connections) > self._all.limit:
            self._all.make_room(self)._cut()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self._cut()
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(HeadersTooLarge(LARGEST_HEAD, MOST_FIELDS))
        # uvicorn's keep-alive timer ends with the first byte, whatever it belongs to: the
        # beginning of a request, the rest of a body that nobody read, an empty line.
        if self.cycle is None or self.cycle.response_complete:
            self._await_headers()
        elif self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving = True
        self._all.idle.pop(self, None)
        self._all.unfinished[self] = None

    def on_headers_complete(self) -> None:
        if len(self.headers) > MOST_FIELDS or (
            self._unparsed > LARGEST_HEAD
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            > LARGEST_HEAD
        ):
            raise HeadersTooLarge(LARGEST_HEAD, MOST_FIELDS)
        self._unparsed = 0
        super().on_headers_complete()
        if (draining := self.app_state.get("draining")) and draining.closing:
            self.cycle.keep_alive = False
        # Trailers must not become header fields of the request (RFC 9110, 6.5.1).
        self.headers = []

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        self._receiving = False
        self._all.forget(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._used_at = self.loop.time()
        if self.cycle.response_complete and not self._receiving:
            self._all.idle[self] = None

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses; the exception that it raised is being handled."""
        # httptools wraps what a callback raises.
        raised = sys.exception()
        cause = raised.__context__ if raised else None
        self._refuse(cause if isinstance(cause, HeadersTooLarge) else MalformedRequest())

    def _refuse(self, error: ServiceError) -> None:
        """Answer a request that the application does not see, and end the connection.

        An answer of an earlier request that is not complete yet would be taken for this one.
        """
        # uvicorn sets the scope when a request begins.
        begun: Scope | None = self.scope  # type: ignore[assignment]
        scope = begun or {"type": "http", "headers": []}
        unanswered = self.cycle is not None and not self.cycle.response_complete
        if unanswered and (self.cycle.scope is not scope or self.cycle.response_started):
            self._cut()
            return
        if unanswered:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._receiving = True
        request_id = identify(scope)
        response = problem_response(HTTPConnection(scope), error)
        cors.tell(response, scope, self._origins)
        head = [STATUS_LINE[response.status_code]]
        headers = (*response.raw_headers, *EDGE_HEADERS, (b"x-request-id", request_id.encode()))
        for name, value in (*headers, (b"connection", b"close")):
            head += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*head, b"\r\n", bytes(response.body)]))
        self.transport.close()
        log.info("refused", status=response.status_code, problem=error.code, request_id=request_id)

    def _await_headers(self) -> None:
        if self._header_deadline is None:
            self._header_deadline = self.loop.call_later(self._header_timeout, self._cut)

    def shutdown(self) -> None:
        # Who waits for news would keep the server from ending.
        if end_waiting := self.app_state.get("end_waiting"):
            end_waiting()
        self._close_when_unused()

    def _close_when_unused(self) -> None:
        """Close the connection once its last request is answered."""
        seconds = self._used_at + _LAST_REQUEST_SECONDS - self.loop.time()
        if (self.cycle is None or self.cycle.response_complete) and seconds > 0:
            self.loop.call_later(seconds, self._close_when_unused)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._send_deadline is None:
            self._send_deadline = self.loop.call_later(self._send_timeout, self._cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._all.forget(self)
        for deadline in (self._header_deadline, self._send_deadline):
            if deadline is not None:
                deadline.cancel()

    def _cut(self) -> None:
        # Not closed: what a client does not read would be kept for it.
        self.transport.abort()
