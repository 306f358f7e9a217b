"""Structured logs on standard error: one JSON object a line, or text at a terminal.

The logs contain ids, names of things, numbers and durations. They never contain a token, a query
string, a customer's words or the text of an exception, which may quote any of these.
"""

import logging
import os
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from types import MappingProxyType
from typing import Any

import orjson
import structlog

from app import clock

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OF_CLIENTS = {"uvicorn.error", "asyncio"}
"""Libraries that log a warning for each fault of a client."""
_SELDOM_SECONDS = 60.0

request: ContextVar[Mapping[str, str]] = ContextVar("request", default=MappingProxyType({}))
"""The members that every line of a request has. This is one variable because structlog's
`merge_contextvars` copies the whole context for every line."""
_unheard: ContextVar[bool] = ContextVar("unheard", default=False)


def configure(level: str = "info", form: str | None = None) -> None:
    """Set up structlog, and send standard logging through it. Call this once, at the start.

    `form` is "json" or "text"; None is text at a terminal, else JSON.
    """
    as_text = sys.stderr.isatty() if form is None else form == "text"
    structlog.configure(
        processors=[
            add_request,
            structlog.processors.add_log_level,
            *(_as_text() if as_text else (_as_json,)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr)
        if as_text
        else structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers = [_Forward()]
    logging.root.setLevel(_LEVELS[level])
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # The middleware logs requests with route, caller and duration. uvicorn's access log would show
    # the query string.
    logging.getLogger("uvicorn.access").handlers = []
    logging.getLogger("uvicorn.access").propagate = False
    # At `info` it logs every URL that it requests, including the query string.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # At `debug` it logs the headers of webhooks, which may hold secrets.
    logging.getLogger("httpcore").setLevel(logging.WARNING)


@contextmanager
def unheard() -> Iterator[None]:
    """Drop lines of level `info`, for the requests by which the program loads the demo data."""
    before = _unheard.set(True)
    try:
        yield
    finally:
        _unheard.reset(before)


def add_request(_logger: Any, method: str, event: Any) -> Any:
    """The structlog processor that adds `request` to a line."""
    if method == "info" and _unheard.get():
        raise structlog.DropEvent
    event.update(request.get())
    return event


def _as_json(_logger: Any, _method: str, event: Any) -> bytes:
    event["timestamp"] = clock.now()
    return orjson.dumps(event, default=str, option=orjson.OPT_UTC_Z)


def _as_text() -> tuple[Any, ...]:
    # NO_COLOR: https://no-color.org, set to anything but the empty text.
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return (
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not plain),
    )


def frames(error: BaseException) -> list[str]:
    """The frames of an exception as `file:line function`, without its message."""
    return [
        f"{frame.filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]


class Seldom:
    """Limits a log line that strangers can cause to one a minute."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._held_back = 0

    def about(self) -> dict[str, int] | None:
        """Fields for the line: the number of lines held back before it. None: do not log it."""
        now = monotonic()
        if now - self._last < _SELDOM_SECONDS:
            self._held_back += 1
            return None
        held_back, self._held_back, self._last = self._held_back, 0, now
        return {"held_back": held_back} if held_back else {}


class _Forward(logging.Handler):
    """Send standard logging to structlog. Of an exception only the type and place are logged."""

    def __init__(self) -> None:
        super().__init__()
        self._seldom: dict[tuple[str, str], Seldom] = defaultdict(Seldom)
        """Of each warning about clients, by its logger and its text before any value is put in:
        these are constants of the libraries."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        about: dict[str, Any] = {}
        if error is not None:
            about = {"error": type(error).__name__, "at": frames(error)}
        if record.name in _OF_CLIENTS and record.levelno == logging.WARNING:
            before = self._seldom[record.name, str(record.msg)].about()
            if before is None:
                return
            about |= before
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, **about)
