"""Holds off slow clients, to whom uvicorn itself gives all the time they want."""

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines, in seconds.

    `header_timeout`: from connecting, or from the first byte of a later request, to the end of
    its headers. `send_timeout`: how long an answer may lie unread before more of it is sent.
    Either cuts the connection. The body's deadline is the application's, which can answer.
    """

    def __init__(
        self, *arguments: Any, header_timeout: float, send_timeout: float, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self._header_timeout = header_timeout
        self._send_timeout = send_timeout
        self._header_deadline: TimerHandle | None = None
        self._send_deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn's keep-alive timer ends with the first byte, whatever it belongs to: the
        # beginning of a request, the rest of a body that nobody read, an empty line.
        if self.cycle is None or self.cycle.response_complete:
            self._await_headers()
        elif self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _await_headers(self) -> None:
        if self._header_deadline is None:
            self._header_deadline = self.loop.call_later(self._header_timeout, self._cut)

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
        for deadline in (self._header_deadline, self._send_deadline):
            if deadline is not None:
                deadline.cancel()

    def _cut(self) -> None:
        # Not closed: what a client does not read would be kept for it.
        self.transport.abort()
