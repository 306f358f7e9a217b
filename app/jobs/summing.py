"""Keeping the sums of usage by day, by the process that holds the lease (DECISION-usage.md).

It runs in the background process of each `serve`, or in every process that serves. It rests for
longer than it works, so that corrections of many days leave the database to those who ask; their
answers are right meanwhile.
"""

import asyncio
from time import monotonic

import structlog

from app import clock
from app.http.logs import frames
from app.ids import new_id
from app.policy.civil import civil_date
from app.policy.document import Policies
from app.services import usage_reports
from app.store import leases
from app.store.database import Database
from app.store.failures import FAILURES

LEASE = "usage"
LEASE_SECONDS = 15.0
_RENEWED_EVERY = 5.0
_EVERY_SECONDS = 2.0
_OTHERS_EVERY = 5.0
_LONGEST_SECONDS = 30.0
_RESTS = 4
"""How many times as long it rests as it worked, once it has caught up."""

log = structlog.get_logger(__name__)


class Summing:
    """Sums the days on which something was recorded."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._id = new_id()
        self._renewed_at = -LEASE_SECONDS

    async def run(self, database: Database) -> None:
        """Run until cancelled. If the database is away, try again."""
        while True:
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    pause = await self.step(database)
            except FAILURES as error:
                log.warning("summing_failed", error=type(error).__name__)
                pause = _OTHERS_EVERY
            except Exception as error:
                # A mistake of our own. The task must not end: nobody would sum until the next
                # start, and nobody would notice.
                log.error("summing_broken", error=type(error).__name__, at=frames(error))
                pause = _OTHERS_EVERY
            await asyncio.sleep(pause)

    async def step(self, database: Database) -> float:
        """Do what is due, if the lease is this process's: the seconds until the next step."""
        started = monotonic()
        if started - self._renewed_at >= _RENEWED_EVERY:
            async with database.operations.begin() as connection:
                if not await leases.hold(connection, LEASE, self._id, LEASE_SECONDS):
                    return _OTHERS_EVERY
            self._renewed_at = started
        more = await sum_days(database, self._policies)
        worked = monotonic() - started
        return worked if more else max(_EVERY_SECONDS, _RESTS * worked)

    async def end(self, database: Database) -> None:
        """Give the lease up, so that another process need not wait for its end."""
        self._renewed_at = -LEASE_SECONDS
        async with database.operations.begin() as connection:
            await leases.end(connection, LEASE, self._id)


async def sum_days(database: Database, policies: Policies) -> bool:
    """Sum the next days, if any have to be: True if more may be waiting."""
    today = civil_date(clock.now(), policies.zone)
    if not await usage_reports.are_days_due(database, policies, today):
        return False
    async with database.operations.begin() as connection:
        return await usage_reports.sum_next_days(connection, policies, today)
