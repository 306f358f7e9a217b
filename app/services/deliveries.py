"""Deliveries of events to webhooks: when each is tried, and what follows from each attempt.

Why the tables are our own, and which locks keep the order: store/DECISION-webhooks.md.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from app.store import events
from app.store import webhooks as store
from app.store.database import Connection
from app.store.event_types import (
    EventType,
    WebhookDisabled,
    WebhookFailing,
    on_the_wire,
)
from app.store.events import Actor
from app.store.webhooks import Claimed, Health, Outcome, Taken

AttemptError = Literal[
    "address_refused",
    "bad_answer",
    "connection_failed",
    "name_not_found",
    "timeout",
    "tls_failed",
]
"""Why an attempt has no status. In this order: the host has an address that is not public, the
answer is not HTTP, the connection failed, the name was not found, the answer came too late, or the
certificate was not trusted."""

SCHEDULE = tuple(
    timedelta(seconds=seconds)
    for seconds in (
        5,
        300,
        1_800,
        *(3_600 * hours for hours in (2, 5, 10, 14, 20, 24, 48, 75)),
    )
)
"""How long after the first attempt the others are made. After the last one it is abandoned."""
_JITTER = 0.1
"""Each wait is longer by up to this part of itself, so that many do not end at once."""
LONGEST_RETRY_AFTER = 86_400.0
"""Seconds. A receiver cannot ask for more time at once."""
_SLOW_FIRST, _SLOW_MOST = 1.0, 60.0
_BUSY = frozenset({429, 502, 503, 504})
"""The receiver, or what stands before it, is overloaded or down: it gets time, and then one event
at a time until one succeeds."""
_GONE = 410
WOKEN_EVERY = timedelta(minutes=1)
"""How often at most a success has everything tried that waits for its next attempt."""
FAILING_AFTER, DISABLED_AFTER = timedelta(days=4), timedelta(days=5)
"""Nothing but failures for so long. In between there is at least a day."""
_ACTOR = Actor("webhooks")

LEASE_SECONDS = 30.0
"""For how long a process has an event to itself. It outlives an attempt and its record: after that
another process makes the attempt again."""
IN_FLIGHT = 10
"""Attempts of a process at once for one endpoint, each for another customer."""
MOST_TAKEN = 4 * IN_FLIGHT
"""Events that a process takes at once of an endpoint that answers quickly. The others wait for a
place, so that the database is not asked for each ten of them."""

Result = Literal["delivered", "failed", "abandoned"]


class Answer(NamedTuple):
    """What came of an attempt. Nothing of what the receiver wrote."""

    duration_ms: int
    status: int | None
    error: AttemptError | None
    retry_after: float | None
    """Seconds for which the receiver wants to be left alone."""
    answer_bytes: int
    """Of the answer's body, at most 1,024."""

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was made."""

    of: Claimed
    at: datetime
    """When it began."""
    answer: Answer


async def claim(
    connection: Connection, now: datetime, lease: UUID, taken: Mapping[UUID, Taken]
) -> list[Claimed]:
    """Take what is due, the first event of each endpoint and customer, for LEASE_SECONDS.

    `taken` says what this process has of each endpoint already; of others it takes IN_FLIGHT.
    """
    due = await store.claim(connection, now, lease, LEASE_SECONDS, taken, IN_FLIGHT)
    found = await store.heads(connection, now, due)
    if len(found) < len(due):
        await store.drop_empty_lanes(connection, due)
    return found


async def record(
    connection: Connection, attempts: Sequence[Attempt], unmade: Sequence[Claimed], now: datetime
) -> list[Result]:
    """Store attempts, and what follows from each: the results, in their order. Give back what was
    claimed and not attempted.

    What a process made after its lease had ended is left out. Locks endpoints, then lanes, each in
    the order of their ids.
    """
    failed = {one.of.endpoint_id for one in attempts if not one.answer.is_success}
    recovered = {one.of.endpoint_id for one in attempts if one.answer.is_success}
    health = await store.lock_endpoints(connection, failed, recovered)
    owned = await store.lock_lanes(connection, [*(one.of for one in attempts), *unmade])
    results: list[Result] = []
    outcomes: list[Outcome] = []
    for attempt in attempts:
        if (attempt.of.endpoint_id, attempt.of.customer_id, attempt.of.lease) not in owned:
            continue
        outcome = _outcome(attempt, now)
        outcomes.append(outcome)
        results.append("failed" if outcome.state == "waiting" else outcome.state)
        known = health.get(attempt.of.endpoint_id)
        if known is not None:
            health[known.id] = await _followed(connection, known, attempt, now)
    await store.record(connection, outcomes)
    await store.set_health(connection, list(health.values()))
    await store.give_back(connection, unmade)
    return results


def _outcome(attempt: Attempt, now: datetime) -> Outcome:
    """What becomes of the delivery, and when its lane is due again."""
    of, answer = attempt.of, attempt.answer
    first = of.first_attempt_at or attempt.at
    state: Literal["waiting", "delivered", "abandoned"] = "waiting"
    due, step = now, of.step
    if answer.is_success:
        state = "delivered"
    elif attempt.at < of.due_at:
        # Tried before its time, because another one had succeeded: its schedule stands.
        due = of.due_at
    elif step == len(SCHEDULE):
        state = "abandoned"
    else:
        due, step = next_attempt(first, step, now), step + 1
    return Outcome(
        endpoint_id=of.endpoint_id,
        customer_id=of.customer_id,
        delivery_id=of.delivery_id,
        number=of.attempts + 1,
        at=attempt.at,
        duration_ms=answer.duration_ms,
        status=answer.status,
        error=answer.error,
        answer_bytes=answer.answer_bytes,
        state=state,
        step=step,
        first_attempt_at=first,
        due_at=due,
        now=now,
    )


def next_attempt(first: datetime, step: int, now: datetime) -> datetime:
    """When to try again after the attempt at this place in the schedule has failed.

    Not at once where the place has passed, because the endpoint was paused or no process ran.
    """
    gap = SCHEDULE[step] - (SCHEDULE[step - 1] if step else timedelta(0))
    due = first + SCHEDULE[step]
    if due <= now:
        due = now + gap
    return due + gap * random.uniform(0, _JITTER)  # noqa: S311 - no secret


async def _followed(
    connection: Connection, known: Health, attempt: Attempt, now: datetime
) -> Health:
    """The health of an endpoint after one more attempt. Tells once of four and of five days."""
    answer = attempt.answer
    if answer.is_success:
        if known.failing_since is not None and (known.woken_at is None or known.woken_at <= now):
            woken = now if known.woken_at is None else max(now, known.woken_at + WOKEN_EVERY)
            known = known._replace(woken_at=woken)
        # Else what waits will be tried within a minute already.
        return known._replace(failing_since=None, failing_told_at=None, slow_seconds=0.0)
    since = known.failing_since or attempt.at
    known = known._replace(failing_since=since)
    if answer.status in _BUSY:
        seconds = min(max(2 * known.slow_seconds, _SLOW_FIRST), _SLOW_MOST)
        known = _left_alone(known._replace(slow_seconds=seconds), now, seconds)
    if answer.retry_after is not None:
        known = _left_alone(known, now, min(answer.retry_after, LONGEST_RETRY_AFTER))
    if known.disabled_at is not None:
        return known
    if answer.status == _GONE:
        return await _disable(connection, known, now, since, "gone")
    if known.failing_told_at is None:
        if now - since < FAILING_AFTER:
            return known
        failing: WebhookFailing = {
            "failing_since": on_the_wire(since),
            "disabled_from": on_the_wire(_disabled_from(since, now)),
        }
        await _record(connection, EventType.WEBHOOK_FAILING, known.id, now, failing)
        return known._replace(failing_told_at=now)
    if now < _disabled_from(since, known.failing_told_at):
        return known
    return await _disable(connection, known, now, since, "failing")


def _disabled_from(failing_since: datetime, told_at: datetime) -> datetime:
    return max(failing_since + DISABLED_AFTER, told_at + (DISABLED_AFTER - FAILING_AFTER))


def _left_alone(known: Health, now: datetime, seconds: float) -> Health:
    until = now + timedelta(seconds=seconds)
    if known.slow_until is not None:
        until = max(until, known.slow_until)
    return known._replace(slow_until=until)


async def _disable(
    connection: Connection,
    known: Health,
    now: datetime,
    failing_since: datetime,
    reason: Literal["failing", "gone"],
) -> Health:
    told: WebhookDisabled = {"reason": reason, "failing_since": on_the_wire(failing_since)}
    await _record(connection, EventType.WEBHOOK_DISABLED, known.id, now, told)
    return known._replace(disabled_at=now, disabled_reason=reason)


async def _record(
    connection: Connection,
    type_: EventType,
    endpoint_id: UUID,
    now: datetime,
    data: WebhookFailing | WebhookDisabled,
) -> None:
    await events.record(
        connection, type_, _ACTOR, now, customer_id=None, subject_id=endpoint_id, data=data
    )
