"""Webhooks: endpoints that are called with what the feed publishes, and their deliveries."""

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    case,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.errors import NotFound, invalid, out_of_range
from app.ids import new_id
from app.services.feed_events import FeedType
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import named_customer
from app.store import feed
from app.store import webhooks as store
from app.store.database import Connection
from app.store.event_types import EventType, WebhookChanged
from app.store.feed import Extent, Published
from app.store.keyset import Listing
from app.store.tables import (
    webhook_deliveries,
    webhook_events,
    webhook_recoveries,
)
from app.store.tables import webhook_endpoints as table
from app.store.webhooks import Delivery, DeliveryState, Event

MOST_ENDPOINTS = 50
"""Each has attempts of its own in every process, so that none waits for another: their number
bounds the connections and the memory of a process."""
MOST_HEADERS = 10
LONGEST_ROTATION = 604_800
"""Seconds for which a receiver may go on with its old secret."""
KEPT = timedelta(days=30)
"""For how long deliveries and their attempts are kept, those that wait included."""
MOST_BODY = 20_000
"""Bytes of an event as it is sent."""
_SHOWN_ATTEMPTS = 20
_AT_ONCE = 500
_SECRET_BYTES = 32
_PREFIX = "whsec_"

State = Literal["active", "failing", "paused", "disabled"]
Render = Callable[[Published, Extent], bytes]
"""How an event of the feed is sent."""

_STATE = case(
    (table.c.disabled_at.is_not(None), "disabled"),
    (table.c.paused, "paused"),
    (table.c.failing_since.is_not(None), "failing"),
    else_="active",
).label("state")
_HEADER_NAMES: ColumnElement[list[str]] = literal_column(
    "ARRAY(SELECT jsonb_object_keys(webhook_endpoints.headers) ORDER BY 1)"
).label("header_names")
_SHOWN = (
    *(one for one in table.c if one.name not in ("secret", "previous_secret", "headers")),
    _STATE,
    _HEADER_NAMES,
)


def new_secret() -> str:
    """A secret as Standard Webhooks writes it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _there(work: UnitOfWork) -> Select[Any]:
    previous = case((table.c.previous_valid_until > work.now, table.c.previous_valid_until)).label(
        "old_secret_valid_until"
    )
    return select(*_SHOWN, previous).where(table.c.deleted_at.is_(None))


def search(work: UnitOfWork) -> Listing:
    """All endpoints, in the order in which they were made. Never with a secret."""
    return Listing("webhooks", _there(work), (table.c.id,))


async def read(work: UnitOfWork, webhook: UUID) -> Row[Any]:
    """One endpoint, without its secret. Raises NotFound."""
    return await _one(work, _there(work).where(table.c.id == webhook))


async def _one(work: UnitOfWork, query: Select[Any]) -> Row[Any]:
    row: Row[Any] | None = (await work.connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound
    return row


async def _locked(work: UnitOfWork, webhook: UUID) -> Row[Any]:
    return await _one(work, _there(work).where(table.c.id == webhook).with_for_update())


async def create(
    work: UnitOfWork,
    *,
    url: str,
    types: Sequence[FeedType] | None,
    customer_id: str | None,
    description: str | None,
    headers: Mapping[str, str] | None,
) -> tuple[Row[Any], str]:
    """Make an endpoint, which hears what is published from now on, and its secret.

    The caller has checked the URL and the headers. Raises CustomerNotFound, and InvalidInput for
    one endpoint too many.
    """
    owner = None if customer_id is None else await named_customer(work, customer_id)
    # One after the other, so that two at once cannot pass the limit.
    position = await _here(work)
    there = select(func.count()).where(table.c.deleted_at.is_(None))
    if (await work.connection.execute(there)).scalar_one() >= MOST_ENDPOINTS:
        raise invalid("", "too_many", limit=MOST_ENDPOINTS)
    secret = new_secret()
    made = new_id()
    values = {
        "id": made,
        "url": url,
        "types": None if types is None else [str(one) for one in types],
        "customer_id": owner,
        "description": description,
        "headers": dict(headers or {}),
        "secret": secret,
        "after_position": position,
        "created_at": work.now,
        "updated_at": work.now,
    }
    await work.connection.execute(insert(table).values(values))
    await _record(work, made, "created")
    return await read(work, made), secret


async def _here(work: UnitOfWork) -> int:
    """The last position of the feed, after which no delivery is made until this commits.

    What is published later is not published to anybody before: nothing is left out or heard twice.
    """
    await store.lock_state(work.connection)
    return await feed.position(work.connection)


async def change(
    work: UnitOfWork,
    webhook: UUID,
    precondition: Callable[[Row[Any]], None],
    changes: Mapping[str, Any],
) -> Row[Any]:
    """Change an endpoint. `paused=False` also enables one that was disabled, which hears what is
    published from then on, after what waits.

    Raises NotFound, and as `precondition`.
    """
    enabling = changes.get("paused") is False
    # Before the endpoint, as whoever publishes does.
    position = await _here(work) if enabling else None
    row = await _locked(work, webhook)
    precondition(row)
    values: dict[str, Any] = dict(changes)
    if enabling and row.disabled_at is not None:
        values |= {
            "disabled_at": None,
            "disabled_reason": None,
            "failing_since": None,
            "failing_told_at": None,
            "after_position": position,
        }
    resumes = enabling and (row.paused or row.disabled_at is not None)
    if resumes or values.keys() & {"url", "headers"}:
        # What waits is tried at once.
        values |= {"woken_at": work.now, "slow_until": None, "slow_seconds": 0.0}
    if values:
        values["updated_at"] = work.now
        await work.connection.execute(update(table).where(table.c.id == webhook).values(values))
        await _record(work, webhook, "changed", sorted(changes))
    return await read(work, webhook)


async def remove(work: UnitOfWork, webhook: UUID, precondition: Callable[[Row[Any]], None]) -> None:
    """Delete an endpoint: nothing is sent any more, and its secret and headers are gone.

    Its deliveries are deleted step by step. Raises NotFound, and as `precondition`.
    """
    precondition(await _locked(work, webhook))
    gone: dict[str, Any] = {
        "deleted_at": work.now,
        "secret": "",
        "previous_secret": None,
        "previous_valid_until": None,
        "headers": {},
        "description": None,
    }
    await work.connection.execute(update(table).where(table.c.id == webhook).values(gone))
    await _record(work, webhook, "deleted")


async def rotate(
    work: UnitOfWork, webhook: UUID, old_valid_for_seconds: int
) -> tuple[Row[Any], str]:
    """Give an endpoint another secret. Deliveries are signed with both for so long.

    Raises NotFound.
    """
    await _locked(work, webhook)
    secret = new_secret()
    values: dict[str, Any] = {"secret": secret, "updated_at": work.now}
    if old_valid_for_seconds:
        values["previous_secret"] = table.c.secret
        values["previous_valid_until"] = work.now + timedelta(seconds=old_valid_for_seconds)
    else:
        values |= {"previous_secret": None, "previous_valid_until": None}
    await work.connection.execute(update(table).where(table.c.id == webhook).values(values))
    await _record(work, webhook, "rotated")
    return await read(work, webhook), secret


async def _record(
    work: UnitOfWork,
    webhook: UUID,
    change: Literal["created", "changed", "rotated", "deleted"],
    fields: Sequence[str] = (),
) -> None:
    data: WebhookChanged = {"change": change, "fields": list(fields)}
    await work.record(EventType.WEBHOOK_CHANGED, data, customer_id=None, subject_id=webhook)


# --- deliveries -----------------------------------------------------------------------------------

_ATTEMPTS = literal_column(
    f"""coalesce((SELECT json_agg(a ORDER BY a.number) FROM (
            SELECT number, at, duration_ms, status, error, answer_bytes FROM webhook_attempts
            WHERE delivery_id = webhook_deliveries.id ORDER BY number DESC
            LIMIT {_SHOWN_ATTEMPTS}) a), '[]')""",
    JSONB,
).label("attempts")
_of = webhook_deliveries.c


def _deliveries(webhook: UUID) -> Select[Any]:
    shown = [one for one in _of if one.name not in ("attempts", "customer_id", "step")]
    customer = case(
        (_of.customer_id.in_((store.NO_CUSTOMER, store.TESTS)), None), else_=_of.customer_id
    )
    return (
        select(
            *shown,
            webhook_events.c.type.label("event_type"),
            customer.label("customer_id"),
            (_of.customer_id == store.TESTS).label("test"),
            _of.attempts.label("attempts_made"),
            _ATTEMPTS,
        )
        .join_from(webhook_deliveries, webhook_events, webhook_events.c.id == _of.event_id)
        .where(_of.endpoint_id == webhook)
    )


async def deliveries(
    work: UnitOfWork, webhook: UUID, state: DeliveryState | None, event: str | None
) -> Listing:
    """The deliveries of an endpoint, those of the latest events first. Raises NotFound."""
    await read(work, webhook)
    where: list[ColumnElement[bool]] = [_of.endpoint_id == webhook]
    if state is not None:
        where.append(_of.state == state)
    if event is not None:
        where.append(_of.event_id == event)
    return Listing(
        f"deliveries {webhook}",
        _deliveries(webhook),
        (_of.position, _of.id),
        descending=True,
        where=tuple(where),
    )


async def delivery(work: UnitOfWork, webhook: UUID, delivery_id: UUID) -> Row[Any]:
    """One delivery with its attempts. Raises NotFound."""
    await read(work, webhook)
    return await _one(work, _deliveries(webhook).where(_of.id == delivery_id))


async def send_again(work: UnitOfWork, webhook: UUID, delivery_id: UUID) -> Row[Any]:
    """Make a delivery again, whatever came of it, as soon as what its customer waits for before it
    is done. Raises NotFound."""
    await read(work, webhook)
    query = select(*(_of[name] for name in Delivery._fields)).where(
        _of.endpoint_id == webhook, _of.id == delivery_id
    )
    row = await _one(work, query)
    again = Delivery(**row._mapping)
    await store.retry(work.connection, [again], work.now)
    return await delivery(work, webhook, delivery_id)


async def send_test(work: UnitOfWork, webhook: UUID, event: Mapping[str, Any]) -> Row[Any]:
    """Send an example of an event, at once and beside all others. Its id begins with `test-`.

    Raises NotFound.
    """
    await read(work, webhook)
    made = new_id()
    event_id = f"test-{made}"
    position = feed.instant_position(work.now)
    shown = {**event, "id": event_id, "time": work.now, "sequence": f"{position:016}"}
    body = orjson.dumps(shown, option=orjson.OPT_UTC_Z).decode()
    await store.add(
        work.connection,
        [Event(event_id, position, str(event["type"]), body)],
        [Delivery(made, webhook, store.TESTS, event_id, position)],
        work.now,
    )
    return await delivery(work, webhook, made)


async def recover(
    work: UnitOfWork, webhook: UUID, since: datetime, *, only_failed: bool
) -> Row[Any]:
    """Begin to send again what was published since an instant: what was given up, or everything
    that the endpoint hears. Raises NotFound, and InvalidInput for an instant in the future or too
    long ago."""
    if since > work.now:
        raise invalid("/since", "in_future")
    if since < work.now - KEPT:
        raise out_of_range("/since", work.now - KEPT, work.now)
    await read(work, webhook)
    made = new_id()
    values = {
        "id": made,
        "endpoint_id": webhook,
        "since": since,
        "only_failed": only_failed,
        "position": feed.instant_position(since) - 1,
        "until_position": await _here(work),
        "created_at": work.now,
    }
    await work.connection.execute(insert(webhook_recoveries).values(values))
    return await recovery(work, webhook, made)


async def recovery(work: UnitOfWork, webhook: UUID, recovery_id: UUID) -> Row[Any]:
    """How far a recovery is. Raises NotFound."""
    await read(work, webhook)
    one = webhook_recoveries.c
    state = case((one.finished_at.is_(None), "running"), else_="finished").label("state")
    return await _one(
        work,
        select(webhook_recoveries, state).where(one.endpoint_id == webhook, one.id == recovery_id),
    )


# --- from the feed --------------------------------------------------------------------------------


class _Heard(NamedTuple):
    """The events of a page that some endpoint hears, and their deliveries."""

    events: list[Event]
    deliveries: list[Delivery]


def _heard(
    entries: Sequence[Published], extent: Extent, targets: Sequence[store.Target], render: Render
) -> _Heard:
    found = _Heard([], [])
    for entry in entries:
        lane = entry.customer_id or store.NO_CUSTOMER
        hearing = [
            one
            for one in targets
            if entry.position > one.after_position
            and (one.types is None or entry.type in one.types)
            and (one.customers is None or entry.customer_id in one.customers)
        ]
        if not hearing:
            continue
        event_id, body = extent.id_of(entry.position), render(entry, extent)
        found.events.append(Event(event_id, entry.position, entry.type, body.decode()))
        found.deliveries.extend(
            Delivery(new_id(), one.id, lane, event_id, entry.position) for one in hearing
        )
    return found


async def follow(connection: Connection, now: datetime, render: Render) -> bool:
    """Make deliveries of what the feed has published since the last time: True if there is more.

    One process at a time, which the lock on the state guards.
    """
    followed = await store.lock_state(connection)
    targets = await store.targets(connection)
    if targets:
        followed = max(followed, min(one.after_position for one in targets))
        extent, entries = await feed.page(
            connection, followed, _AT_ONCE, types=None, customers=None, bound=False
        )
        await store.add(connection, *_heard(entries, extent, targets, render), now)
        more = len(entries) == _AT_ONCE
        # What was read ends the feed, whatever was pruned.
        await store.set_followed(connection, entries[-1].position if more else extent.position)
    else:
        more = False
        await store.set_followed(connection, await feed.position(connection))
    return await _recover(connection, now, render) or more


async def _recover(connection: Connection, now: datetime, render: Render) -> bool:
    """Do the next step of the oldest recovery: True if there may be more to do."""
    one = await store.unfinished_recovery(connection)
    if one is None:
        return False
    if one.only_failed:
        abandoned = await store.abandoned(connection, one, _AT_ONCE)
        await store.retry(connection, abandoned, now)
        queued, last = len(abandoned), abandoned[-1].position if abandoned else one.position
        done = len(abandoned) < _AT_ONCE
    else:
        extent, entries = await feed.page(
            connection, one.position, _AT_ONCE, types=None, customers=None, bound=False
        )
        entries = [entry for entry in entries if entry.position <= one.until_position]
        targets = [
            target._replace(after_position=0)
            for target in await store.targets(connection)
            if target.id == one.endpoint_id
        ]
        heard = _heard(entries, extent, targets, render)
        queued = await store.add(connection, *heard, now, again=True)
        last = entries[-1].position if entries else one.position
        done = len(entries) < _AT_ONCE
    await store.set_recovered(connection, one, last, queued, now, done=done)
    return True


async def prune(connection: Connection, now: datetime, most: int) -> bool:
    """Delete deliveries older than KEPT, and those of deleted endpoints: False if there may be
    more."""
    before = now - KEPT
    return await store.prune(connection, before, feed.instant_position(before), most)
