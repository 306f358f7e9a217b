"""Delivering events to webhooks, in every process.

One loop records what has ended, claims what is due, and starts it. No transaction is open while a
receiver is called. Each endpoint has its own number of attempts at once, and each attempt ends by
itself: a receiver that hangs holds up its own events alone.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from time import monotonic

import structlog

from app import __version__, clock
from app.http.logs import frames
from app.http.metrics import Metrics
from app.http.outgoing import signing
from app.http.outgoing.addresses import Allowed
from app.http.outgoing.sender import SECONDS, Sender
from app.ids import new_id
from app.services import deliveries
from app.services.deliveries import LEASE_SECONDS, Attempt
from app.store import webhooks as store
from app.store.database import Database
from app.store.failures import FAILURES
from app.store.webhooks import Claimed

_EVERY_SECONDS = 0.15
_AFTER_A_FAILURE = 1.0
_LONGEST_SECONDS = 10.0
_END_SECONDS = 5.0
# An attempt that begins later could outlive its lease.
_LATEST_START = LEASE_SECONDS - SECONDS - 5.0

log = structlog.get_logger(__name__)


class Deliveries:
    """Makes deliveries. What it holds in memory is bounded by the number of endpoints."""

    def __init__(self, allowed: Allowed, metrics: Metrics) -> None:
        self._sender = Sender(allowed)
        self._metrics = metrics
        self._running: dict[asyncio.Task[Attempt | None], Claimed] = {}
        self._ended: list[tuple[Claimed, Attempt | None]] = []
        self._news = asyncio.Event()

    async def run(self, database: Database) -> None:
        """Run until cancelled. If the database is away, try again: what was sent is recorded once
        it is back, or sent again by whoever claims it next."""
        while True:
            pause = _EVERY_SECONDS
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    await self.step(database)
            except FAILURES as error:
                log.warning("deliveries_failed", error=type(error).__name__)
                await asyncio.sleep(_AFTER_A_FAILURE)
            except Exception as error:
                # A mistake of our own. The task must not end: nothing would be delivered until the
                # next start.
                log.error("deliveries_broken", error=type(error).__name__, at=frames(error))
                await asyncio.sleep(_AFTER_A_FAILURE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def step(self, database: Database) -> int:
        """Record what has ended, and begin what is due: how many attempts are not recorded."""
        self._news.clear()
        await self._record(database)
        if await store.is_waiting(database):
            await self._begin(database)
        await self._sender.tidy()
        return len(self._running) + len(self._ended)

    async def ended(self) -> None:
        """Wait until an attempt ends."""
        await self._news.wait()

    async def _record(self, database: Database) -> None:
        # Kept until they are stored: a lease that ends meanwhile has them made again.
        ended = self._ended[:]
        if not ended:
            return
        made = [attempt for _, attempt in ended if attempt is not None]
        async with database.operations.begin() as connection:
            results = await deliveries.record(connection, made, clock.now())
            await store.give_back(connection, [of for of, attempt in ended if attempt is None])
        del self._ended[: len(ended)]
        for result in results:
            self._metrics.delivery(result)

    async def _begin(self, database: Database) -> None:
        flying = Counter(of.endpoint_id for of in self._running.values())
        flying.update(of.endpoint_id for of, _ in self._ended)
        lease, began = new_id(), monotonic()
        async with database.operations.begin() as connection:
            claimed = await deliveries.claim(connection, clock.now(), lease, flying)
        for one in claimed:
            task = asyncio.create_task(self._attempt(one, began))
            self._running[task] = one
            task.add_done_callback(self._note)

    async def _attempt(self, of: Claimed, claimed_at: float) -> Attempt | None:
        """Make an attempt. Returns None if the lease ends too soon for one."""
        if monotonic() - claimed_at > _LATEST_START:
            return None
        now = clock.now()
        body = of.body.encode()
        secrets = [one for one in (of.secret, of.previous_secret) if one]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Assistenza/{__version__}",
            **of.headers,
            **signing.headers(of.event_id, body, secrets, now),
        }
        return Attempt(of, now, await self._sender.send(of.url, headers, body, now))

    def _note(self, task: "asyncio.Task[Attempt | None]") -> None:
        of = self._running.pop(task)
        attempt = None if task.cancelled() or task.exception() else task.result()
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery_broken", error=type(error).__name__, at=frames(error))
        self._ended.append((of, attempt))
        self._news.set()

    async def end(self, database: Database) -> None:
        """Let attempts end for some seconds, and give back what others have to make again."""
        if self._running:
            await asyncio.wait(self._running, timeout=_END_SECONDS)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))
            # Their callbacks run next.
            await asyncio.sleep(0)
        await self._record(database)
        await self._sender.close()
