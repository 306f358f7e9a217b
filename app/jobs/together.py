"""What runs beside requests whatever they are: publishing, summing, delivering."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from app.http.metrics import JobMetrics
from app.http.outgoing.addresses import Allowed
from app.jobs.deliveries import Deliveries
from app.jobs.publishing import Publishing
from app.jobs.summing import Summing
from app.policy.document import Policies
from app.settings import Settings
from app.store.database import Database
from app.store.failures import FAILURES


class Jobs:
    """The jobs of one process. Leases decide which process does what one alone does at a time."""

    def __init__(self, policies: Policies, settings: Settings, metrics: JobMetrics) -> None:
        self.publishing = Publishing(policies, settings.events_keep_days)
        self.summing = Summing(policies)
        self.deliveries = Deliveries(Allowed.of(settings.webhook_allow), metrics)

    @asynccontextmanager
    async def running(self, database: Database) -> AsyncIterator[None]:
        """Run them for as long as this lasts, and give up their leases at the end."""
        jobs = (self.publishing, self.deliveries, self.summing)
        tasks = [asyncio.create_task(one.run(database)) for one in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in jobs:
                with suppress(*FAILURES):
                    await one.end(database)
