"""Signals that would end the process without stopping its server."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def termination_unwinds() -> Iterator[None]:
    """Let the default of SIGTERM and SIGHUP be SystemExit, which runs what stands in `finally`.

    uvicorn takes the signals while it serves, and raises them again when it has ended.
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
