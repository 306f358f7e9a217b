"""Delivering events to webhooks, in every process.

One loop records what has ended, claims what is due, and starts it. No transaction is open while a
receiver is called. Each endpoint has its own number of attempts at once, and each attempt ends by
itself: a receiver that hangs holds up its own events alone.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

import structlog

from app import __version__, clock
from app.http.logs import frames
from app.http.metrics import JobMetrics
from app.http.outgoing import signing
from app.http.outgoing.addresses import Allowed
from app.http.outgoing.sender import SECONDS, Sender
from app.ids import new_id
from app.services import deliveries
from app.services.deliveries import IN_FLIGHT, LEASE_SECONDS, MOST_TAKEN, Attempt, Result
from app.store import webhooks as store
from app.store.database import Connection, Database
from app.store.failures import FAILURES
from app.store.webhooks import Claimed, Taken

_EVERY_SECONDS = 0.15
# A turn costs ten statements, however many attempts it records: while there are many it waits twice
# as long for more.
_GATHERING_SECONDS = 0.05
_MANY = 20
_AFTER_A_FAILURE = 1.0
_LONGEST_SECONDS = 10.0
_END_SECONDS = 5.0
# An attempt that begins later could outlive its lease.
_LATEST_START = LEASE_SECONDS - SECONDS - 5.0
# A claimed delivery that waits longer than this is given back, for other processes.
_LONGEST_WAIT = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Line:
    """What this process has taken of one endpoint."""

    waiting: deque[tuple[Claimed, float]] = field(default_factory=deque)
    """For a place, and when each was claimed."""
    busy: int = 0
    """Attempts that are being made."""
    taken: int = 0
    """All that is not recorded yet."""
    succeeded: int = 0
    """Since the last turn."""


class Deliveries:
    """Makes deliveries. What it holds in memory is bounded by the number of endpoints."""

    def __init__(self, allowed: Allowed, metrics: JobMetrics) -> None:
        self._sender = Sender(allowed)
        self._metrics = metrics
        self._lines: dict[UUID, _Line] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._ended: list[tuple[Claimed, Attempt | None]] = []
        self._news = asyncio.Event()

    async def run(self, database: Database) -> None:
        """Run until cancelled. If the database is away, try again: what was sent is recorded once
        it is back, or sent again by whoever claims it next."""
        while True:
            taken = 0
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    taken = await self.step(database)
            except FAILURES as error:
                log.warning("deliveries_failed", error=type(error).__name__)
                await asyncio.sleep(_AFTER_A_FAILURE)
            except Exception as error:
                # A mistake of our own. The task must not end: nothing would be delivered until the
                # next start.
                log.error("deliveries_broken", error=type(error).__name__, at=frames(error))
                await asyncio.sleep(_AFTER_A_FAILURE)
            gathering = _GATHERING_SECONDS if taken < _MANY else 2 * _GATHERING_SECONDS
            await asyncio.sleep(gathering)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS - gathering):
                    await self._news.wait()

    async def step(self, database: Database) -> int:
        """Record what has ended, and begin what is due: how many attempts are not recorded."""
        self._news.clear()
        for line in self._lines.values():
            if line.waiting and monotonic() - line.waiting[0][1] > _LONGEST_WAIT:
                self._give_back(line)
        if self._ended or await store.is_waiting(database):
            await self._turn(database)
        return sum(line.taken for line in self._lines.values())

    async def ended(self) -> None:
        """Wait until an attempt ends."""
        await self._news.wait()

    async def _turn(self, database: Database) -> None:
        # Kept until they are stored: a lease that ends meanwhile has them made again.
        ended = self._ended[:]
        lease, began = new_id(), monotonic()
        async with database.operations.begin() as connection:
            results = await self._record(connection, ended)
            claimed = await deliveries.claim(connection, clock.now(), lease, self._taken(ended))
        self._recorded(ended, results)
        for one in claimed:
            line = self._lines.setdefault(one.endpoint_id, _Line())
            line.waiting.append((one, began))
            line.taken += 1
        for line in self._lines.values():
            for _ in range(min(len(line.waiting), IN_FLIGHT - line.busy)):
                line.busy += 1
                task = asyncio.create_task(self._work(line, *line.waiting.popleft()))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _record(
        self, connection: Connection, ended: list[tuple[Claimed, Attempt | None]]
    ) -> list[Result]:
        if not ended:
            return []
        made = [attempt for _, attempt in ended if attempt is not None]
        unmade = [of for of, attempt in ended if attempt is None]
        return await deliveries.record(connection, made, unmade, clock.now())

    def _taken(self, ended: list[tuple[Claimed, Attempt | None]]) -> dict[UUID, Taken]:
        """What is still taken once this is recorded. Of an endpoint that answers quickly twice as
        much may be as has just succeeded."""
        left = {endpoint: line.taken for endpoint, line in self._lines.items()}
        for of, _ in ended:
            left[of.endpoint_id] -= 1
        return {
            endpoint: Taken(
                number, min(max(2 * self._lines[endpoint].succeeded, IN_FLIGHT), MOST_TAKEN)
            )
            for endpoint, number in left.items()
        }

    def _recorded(self, ended: list[tuple[Claimed, Attempt | None]], results: list[Result]) -> None:
        del self._ended[: len(ended)]
        for of, _ in ended:
            self._lines[of.endpoint_id].taken -= 1
        for endpoint, line in list(self._lines.items()):
            line.succeeded = 0
            if not line.taken:
                del self._lines[endpoint]
        for result in results:
            self._metrics.delivery(result)

    async def _work(self, line: _Line, of: Claimed, claimed_at: float) -> None:
        """Make an attempt, and one after another those that wait for a place."""
        try:
            while True:
                attempt: Attempt | None = None
                try:
                    attempt = await self._attempt(of, claimed_at)
                except Exception as error:
                    log.error("delivery_broken", error=type(error).__name__, at=frames(error))
                finally:
                    self._end(of, attempt)
                if attempt is not None and attempt.answer.is_success:
                    line.succeeded += 1
                else:
                    # The receiver may want to be left alone.
                    self._give_back(line)
                if not line.waiting:
                    return
                of, claimed_at = line.waiting.popleft()
        finally:
            line.busy -= 1

    def _end(self, of: Claimed, attempt: Attempt | None) -> None:
        self._ended.append((of, attempt))
        self._news.set()

    def _give_back(self, line: _Line) -> None:
        while line.waiting:
            self._end(line.waiting.popleft()[0], None)

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

    async def end(self, database: Database) -> None:
        """Let attempts end for some seconds, and give back what others have to make again."""
        for line in self._lines.values():
            self._give_back(line)
        if self._running:
            await asyncio.wait(list(self._running), timeout=_END_SECONDS)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        ended = self._ended[:]
        if ended:
            async with database.operations.begin() as connection:
                results = await self._record(connection, ended)
            self._recorded(ended, results)
        await self._sender.close()
