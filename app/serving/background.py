"""The process beside those that serve: it publishes events, sums usage and delivers to webhooks.

    python -m app.serving.background

`serve` starts it (`beside.py`), so that requests do not wait while it computes. It ends on SIGTERM,
and at the end of its standard input: then the process that started it has died.
"""

import asyncio
import gc
import os
import signal
import sys

import uvloop

from app.http import logs
from app.http.metrics import JobMetrics
from app.jobs.together import Jobs
from app.policy.document import load
from app.serving.freezing import freeze
from app.settings import Settings
from app.store.database import Database
from app.store.shares import BACKGROUND


class _Input(asyncio.Protocol):
    """Sets an event at the end of the input."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


async def run(settings: Settings) -> None:
    """Run the jobs until the process is to end."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    await loop.connect_read_pipe(lambda: _Input(ending), sys.stdin)
    jobs = Jobs(load(settings.policy_dir), settings, JobMetrics())
    gc.collect()
    freeze()
    async with Database(settings, share=BACKGROUND) as database, jobs.running(database):
        await ending.wait()


_NICE = 5
"""Where processors are short, a process that serves gets three times as much."""


def main() -> None:
    os.nice(_NICE)
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format)
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
