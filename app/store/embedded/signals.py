"""Turn signals that would kill the process into an orderly exit that stops the server."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def termination_unwinds() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and SIGHUP, so that `finally` blocks run.

    Handlers that somebody else has installed stay. uvicorn handles these signals while it serves
    and raises them again afterwards.
    """

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    numbers: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        known = (signal.SIGTERM, signal.SIGHUP)
        numbers = [number for number in known if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
