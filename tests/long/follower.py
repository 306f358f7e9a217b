"""A process that follows the feed at the instants that it is told, until it is killed.

It says that it is ready, reads one instant a line, brings all that follows from the database's
events up to date as of then, and says so.
"""

import asyncio
import sys
from datetime import datetime
from unittest.mock import patch

from app import clock
from app.jobs.publishing import FOLLOWERS, follow, publish
from app.policy.document import load
from app.settings import Settings
from app.store.database import Database


async def _is_due(database: Database) -> bool:
    asked = [await due(database, clock.now()) for due, _ in FOLLOWERS]
    return any(waits for waits, _ in asked)


async def _run() -> None:
    async with Database(Settings()) as database:
        policies = load()
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            now = datetime.fromisoformat(line.strip())
            with patch.object(clock, "now", lambda now=now: now):
                while (
                    await publish(database)
                    or await follow(database, policies)
                    or await _is_due(database)
                ):
                    pass
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(_run())
