"""Structured logs on standard error: one JSON object a line, or for people at a terminal.

What is logged are ids, names of things, numbers and durations; never a token, a query string, a
customer's words or the text of an exception, which may quote any of them.
"""

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import orjson
import structlog

from app import clock

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


request: ContextVar[Mapping[str, str]] = ContextVar("request", default=MappingProxyType({}))
"""What every line says of the request it belongs to. One variable, for structlog's own merging
copies the whole context for every line."""
_unheard: ContextVar[bool] = ContextVar("unheard", default=False)


def configure(level: str = "info") -> None:
    """Sets up structlog, and standard logging to go the same way. Called once, at the start."""
    people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            add_request,
            structlog.processors.add_log_level,
            *(_FOR_PEOPLE if people else (_as_json,)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr)
        if people
        else structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers = [_Forward()]
    logging.root.setLevel(_LEVELS[level])
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # Ours knows the route, the caller and the duration; uvicorn's would show the query string.
    logging.getLogger("uvicorn.access").handlers = []
    logging.getLogger("uvicorn.access").propagate = False
    # Tells every address it asks, query string and all.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@contextmanager
def unheard() -> Iterator[None]:
    """No lines of the kind `info`: for the program's own requests while it fills a database."""
    before = _unheard.set(True)
    try:
        yield
    finally:
        _unheard.reset(before)


def add_request(_logger: Any, method: str, event: Any) -> Any:
    """The processor that adds `request` to a line."""
    if method == "info" and _unheard.get():
        raise structlog.DropEvent
    event.update(request.get())
    return event


def _as_json(_logger: Any, _method: str, event: Any) -> bytes:
    event["timestamp"] = clock.now()
    return orjson.dumps(event, default=str, option=orjson.OPT_UTC_Z)


_FOR_PEOPLE = (
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.dev.ConsoleRenderer(),
)


def frames(error: BaseException) -> list[str]:
    """Where an exception came from, `file:line function`, and nothing of what it says."""
    return [
        f"{frame.filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]


class _Forward(logging.Handler):
    """Standard logging into structlog, exceptions by their kind and place alone."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        about = {} if error is None else {"error": type(error).__name__, "at": frames(error)}
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, **about)
