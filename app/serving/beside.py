"""Keeping the background process running, from the process that serves or supervises."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Self

import structlog

import app
from app.http.metrics import FOLDER
from app.settings import Settings

_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_STEADY_SECONDS = 60.0
"""A process that ran for so long is started again after the shortest pause."""
_END_SECONDS = 8.0
"""Deliveries that are being made get 5 s of it."""

log = structlog.get_logger("serving")


class Background:
    """The background process, from `start` to the end of the block. One that dies is replaced.

    It writes its metrics to files in `folder`.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._environment = os.environ | settings.environment() | {FOLDER: str(folder)}
        # This program, wherever it lies; `-P` keeps a package of the same name in the present
        # directory from taking its place.
        places = (str(Path(app.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
        self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        self._process: subprocess.Popen[bytes] | None = None
        self._ending, self._wake = Event(), Event()
        self._watch = Thread(target=self._keep, name="background-watch", daemon=True)

    def start(self) -> None:
        """Start the process, and another one whenever it ends."""
        self._watch.start()

    def replace(self) -> None:
        """Let the process end, if there is one, and start another one at once."""
        self._wake.set()
        if self._process is not None:
            self._process.terminate()

    def _keep(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._ending.is_set():
            started = time.monotonic()
            try:
                process = self._run()
            except OSError as error:
                log.error(
                    "background_not_started", error=type(error).__name__, again_in_seconds=pause
                )
            else:
                if time.monotonic() - started > _STEADY_SECONDS:
                    pause = _SHORTEST_PAUSE
                code = process.returncode
                if code not in (0, -signal.SIGTERM) and not self._ending.is_set():
                    log.error(
                        "background_died",
                        pid=process.pid,
                        exit_code=code,
                        again_in_seconds=pause,
                    )
            woken = self._wake.wait(pause)
            self._wake.clear()
            pause = _SHORTEST_PAUSE if woken else min(2 * pause, _LONGEST_PAUSE)

    def _run(self) -> subprocess.Popen[bytes]:
        """Start the process, and return it once it has ended."""
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "app.serving.background"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            # A terminal sends its signals to every process of a session.
            start_new_session=True,
        ) as process:
            self._process = process
            if self._ending.is_set():
                process.terminate()
            process.wait()
        return process

    def __enter__(self) -> Self:
        return self

    def end(self) -> None:
        """Let the process end, without waiting for it."""
        self._ending.set()
        self._wake.set()
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self._ending.set()
        self._wake.set()
        if self._process is not None:
            self._process.kill()

    def __exit__(self, *_: object) -> None:
        self.end()
        if not self._watch.is_alive():
            return
        self._watch.join(_END_SECONDS)
        if self._watch.is_alive():
            log.error("background_killed")
            self.kill()
            self._watch.join()
