"""Publishing what was recorded, keeping what follows from it, and handing over to webhooks, by the
process with the lease.

It runs in the background process of each `serve`, or in every process that serves. The one with the
lease looks for new events several times a second; the others see from time to time whether it is
still there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from time import monotonic

import structlog

from app import clock
from app.http.cloud_events import webhook_body
from app.http.logs import frames
from app.ids import new_id
from app.policy.document import Policies
from app.services import feed, responses, standings, webhooks
from app.services.feed_events import UnknownEvent
from app.store import feed as store
from app.store import leases
from app.store import responses as response_store
from app.store import standings as standing_store
from app.store import webhooks as webhook_store
from app.store.database import Connection, Database
from app.store.failures import FAILURES

LEASE = "publishing"
LEASE_SECONDS = 5.0
_EVERY_SECONDS = 0.2
# Standings less often than events: most of what a turn costs is the same for one customer as for
# forty, and the writes of the same process wait for it.
_FOLLOWED_EVERY = 0.4
_RENEWED_EVERY = 2.0
_OTHERS_EVERY = 1.0
_LONGEST_SECONDS = 10.0
_PRUNED_EVERY = 60.0
_PRUNED_AT_ONCE = 5_000

log = structlog.get_logger(__name__)


class Publishing:
    """Publishes events. `keep_days`: for how long the feed keeps them."""

    def __init__(self, policies: Policies, keep_days: int) -> None:
        self._policies = policies
        self._keep = timedelta(days=keep_days)
        self._id = new_id()
        self._renewed_at = -LEASE_SECONDS
        self._pruned_at = -_PRUNED_EVERY
        self._followed_at = -_FOLLOWED_EVERY

    async def run(self, database: Database) -> None:
        """Run until cancelled. If the database is away, try again."""
        while True:
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    pause = await self.step(database)
            except FAILURES as error:
                log.warning("publishing_failed", error=type(error).__name__)
                pause = _OTHERS_EVERY
            except Exception as error:
                # A mistake of our own. The task must not end: nobody would publish until the next
                # start, and nobody would notice.
                log.error("publishing_broken", error=type(error).__name__, at=frames(error))
                pause = _OTHERS_EVERY
            await asyncio.sleep(pause)

    async def step(self, database: Database) -> float:
        """Do what is due, if the lease is this process's: the seconds until the next step."""
        if monotonic() - self._renewed_at >= _RENEWED_EVERY:
            async with database.operations.begin() as connection:
                if not await leases.hold(connection, LEASE, self._id, LEASE_SECONDS):
                    return _OTHERS_EVERY
            self._renewed_at = monotonic()
        try:
            more = await publish(database) or await self._follow(database)
            more = await hand_over(database) or more
        except UnknownEvent as unknown:
            # A process of the release that recorded it publishes it.
            log.warning("unknown_event", type=str(unknown))
            await self.end(database)
            return 2 * LEASE_SECONDS
        if monotonic() - self._pruned_at >= _PRUNED_EVERY:
            async with database.operations.begin() as connection:
                now = clock.now()
                done = await store.prune(connection, now - self._keep, _PRUNED_AT_ONCE)
                if await webhooks.prune(connection, now, _PRUNED_AT_ONCE) and done:
                    self._pruned_at = monotonic()
        return 0.0 if more else _EVERY_SECONDS

    async def _follow(self, database: Database) -> bool:
        """Follow if it is time to: True if more are waiting."""
        if monotonic() - self._followed_at < _FOLLOWED_EVERY:
            return False
        more = await follow(database, self._policies)
        if not more:
            self._followed_at = monotonic()
        return more

    async def end(self, database: Database) -> None:
        """Give the lease up, so that another process need not wait for its end."""
        self._renewed_at = -LEASE_SECONDS
        async with database.operations.begin() as connection:
            await leases.end(connection, LEASE, self._id)


async def publish(database: Database) -> bool:
    """Publish the next events, if there are any: True if there may be more. Raises UnknownEvent."""
    if not await store.is_waiting(database):
        return False
    async with database.operations.begin() as connection:
        if not await store.lock(connection):
            return False
        return await feed.publish(connection, clock.now())


Due = Callable[[Database, datetime], Awaitable[tuple[bool, str]]]
Follow = Callable[[Connection, Policies, datetime], Awaitable[bool]]
FOLLOWERS: tuple[tuple[Due, Follow], ...] = (
    (standing_store.due, standings.follow),
    (response_store.due, responses.follow),
)
"""What follows the feed: whether there is something to do, and by what policy, and the doing."""


async def follow(database: Database, policies: Policies) -> bool:
    """Bring what follows the feed up to date, if it has to be: True if more is waiting.

    A walk over all customers or cases goes on with the next step, after a pause. Raises
    UnknownEvent.
    """
    more = False
    for due, turn in FOLLOWERS:
        now = clock.now()
        waiting, applied = await due(database, now)
        if not waiting and applied == policies.fingerprint:
            continue
        async with database.operations.begin() as connection:
            if await store.lock(connection):
                more = await turn(connection, policies, now) or more
    return more


async def hand_over(database: Database) -> bool:
    """Make deliveries to webhooks of what was published, if any have to be: True if there is more.

    In a transaction of its own, after those that publish.
    """
    if not await webhook_store.is_due(database):
        return False
    async with database.operations.begin() as connection:
        if not await store.lock(connection):
            return False
        return await webhooks.follow(connection, clock.now(), webhook_body)
