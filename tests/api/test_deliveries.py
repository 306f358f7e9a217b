"""Deliveries to webhooks: by a receiver that does what it wants, and a clock that moves."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from standardwebhooks import Webhook

from app import clock
from app.http.cloud_events import webhook_body
from app.http.outgoing import sender
from app.jobs.deliveries import Deliveries
from app.jobs.publishing import hand_over
from app.policy.civil import civil_date
from app.services import deliveries, webhooks
from app.services.deliveries import SCHEDULE
from app.services.tokens import SCOPES
from app.store.feed import Epoch, Extent, Published
from tests.api.build import Customer, made
from tests.conftest import Service, follow_all, publish_all
from tests.receiver import ALLOWED, Call, Receiver, Reply, misordered, receiving

Hook = dict[str, Any]


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.instant = datetime.now(UTC)

    def now(self) -> datetime:
        return self.instant

    def move(self, **by: float) -> None:
        self.instant += timedelta(**by)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The service's clock."""
    stopped = Clock()
    monkeypatch.setattr(clock, "now", stopped.now)
    monkeypatch.setattr(random, "uniform", lambda least, _: least)
    return stopped


@pytest.fixture
async def service(
    new_service: Callable[..., Awaitable[Service]],
) -> AsyncIterator[Service]:
    service = await new_service(webhook_allow=ALLOWED)
    yield service
    await worker(service).end(service.database)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.client_with(*SCOPES) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def hook_at(client: httpx.AsyncClient, url: str, **body: Any) -> Hook:
    return await made(await client.post("/v1/webhooks", json={"url": url, **body}))


async def handed_over(service: Service) -> None:
    await publish_all(service)
    while await hand_over(service.database):
        pass


def worker(service: Service) -> Deliveries:
    found: Deliveries = service.app.state.jobs.deliveries
    return found


async def deliver(service: Service) -> None:
    """Hand over what was recorded, and deliver until nothing is due."""
    await handed_over(service)
    async with asyncio.timeout(60):
        while await worker(service).step(service.database):
            await worker(service).ended()


async def sent(client: httpx.AsyncClient, hook: Hook, **query: Any) -> list[dict[str, Any]]:
    """The deliveries of a webhook, the first first."""
    found: list[dict[str, Any]] = []
    query["limit"] = 200
    while True:
        path = f"/v1/webhooks/{hook['id']}/deliveries"
        page = await made(await client.get(path, params=query), 200)
        found += page["items"]
        if page["next_cursor"] is None:
            return found[::-1]
        query["cursor"] = page["next_cursor"]


async def feed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query["limit"] = 200
    while True:
        page = await made(await client.get("/v1/events", params=query), 200)
        found += page["items"]
        if not page["has_more"]:
            return found
        query["after"] = page["next_cursor"]


async def state(client: httpx.AsyncClient, hook: Hook) -> dict[str, Any]:
    return await made(await client.get(f"/v1/webhooks/{hook['id']}"), 200)


# --- what is sent ---------------------------------------------------------------------------------


async def test_what_happens_is_sent_as_the_feed_tells_it(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    before = await Customer.new(client, service.today())
    hook = await hook_at(client, receiver.url("/a?b=1"), headers={"X-Tenant": "7"})
    await before.licence()
    other = await Customer.new(client, service.today())
    await other.pack()
    await deliver(service)
    expected = [one for one in await feed(client) if one["type"] != "customer.created"]
    told = [one for one in await feed(client) if one["subject"] == f"customers/{other.id}"]
    # What was recorded before it and not yet published is sent too: never too little.
    by_id = {call.id: call for call in receiver.calls}
    assert {one["id"] for one in expected + told} <= by_id.keys()
    for event in expected + told:
        call = by_id[event["id"]]
        assert call.event == event
        assert call.path == "/a?b=1"
        assert call.headers["content-type"] == "application/json"
        assert call.headers["x-tenant"] == "7"
        assert len(call.body) < 20_000
        call.verify(hook["secret"])
    for one in await sent(client, hook):
        assert (one["state"], one["attempts_made"]) == ("delivered", 1)
        (attempt,) = one["attempts"]
        assert (attempt["number"], attempt["status"], attempt["error"]) == (1, 204, None)


async def test_a_webhook_begins_where_the_feed_is(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    first = await hook_at(client, receiver.url("/first"))
    customer = await Customer.new(client, service.today())
    await publish_all(service)
    # Published, and not handed over to the first yet.
    second = await hook_at(client, receiver.url("/second"))
    await customer.licence()
    await deliver(service)
    paths = [(call.path, call.event["type"]) for call in receiver.calls]
    assert sorted(paths) == [
        ("/first", "customer.created"),
        ("/first", "licence.registered"),
        ("/second", "licence.registered"),
    ]
    assert len(await sent(client, first)) == 2
    assert len(await sent(client, second)) == 1


async def test_types_and_customers(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    customer, twin, other = [await Customer.new(client, service.today()) for _ in range(3)]
    await publish_all(service)
    await hook_at(client, receiver.url("/types"), types=["tickets.purchased"])
    await hook_at(client, receiver.url("/customer"), customer_id=customer.code)
    both = {"types": ["licence.registered"], "customer_id": twin.id}
    await hook_at(client, receiver.url("/both"), **both)
    await hook_at(client, receiver.url("/off"))
    for one in (customer, twin, other):
        await one.licence()
        await one.pack()
    await deliver(service)
    heard: dict[str, list[str]] = defaultdict(list)
    for call in receiver.calls:
        heard[call.path].append(f"{call.event['type']} {call.event['partitionkey']}")
    assert sorted(heard["/types"]) == sorted(
        f"tickets.purchased {one.id}" for one in (customer, twin, other)
    )
    assert heard["/customer"] == [
        f"licence.registered {customer.id}",
        f"tickets.purchased {customer.id}",
    ]
    assert heard["/both"] == [f"licence.registered {twin.id}"]
    assert len(heard["/off"]) == 6
    # After a merge it hears of the survivor, and of the record that it was made for (R49).
    receiver.calls.clear()
    into = {"into": customer.id, "reason": "Entered twice."}
    await made(await client.post(f"/v1/customers/{twin.id}/merge", json=into), 200)
    await customer.licence()
    await deliver(service)
    types = [call.event["type"] for call in receiver.calls if call.path == "/both"]
    assert types == ["licence.registered"]
    events = [call.event for call in receiver.calls]
    merged = {one["partitionkey"] for one in events if one["type"] == "customer.merged"}
    assert merged == {customer.id, twin.id}


async def test_while_it_is_paused_events_wait(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    customer = await Customer.new(client, service.today())
    await publish_all(service)
    hook = await hook_at(client, receiver.url())
    path = f"/v1/webhooks/{hook['id']}"
    await client.patch(path, json={"paused": True})
    await customer.licence()
    await deliver(service)
    assert receiver.calls == []
    assert [one["state"] for one in await sent(client, hook)] == ["waiting"]
    await client.patch(path, json={"paused": False})
    await deliver(service)
    assert [call.event["type"] for call in receiver.calls] == ["licence.registered"]


async def test_during_a_rotation_both_secrets_verify_every_attempt(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url())
    path = f"/v1/webhooks/{hook['id']}"
    receiver.answer(status=500)
    await Customer.new(client, service.today())
    await deliver(service)
    body = {"old_valid_for_seconds": 600}
    new = (await made(await client.post(f"{path}/secret-rotation", json=body), 200))["secret"]
    stopped.move(seconds=5)
    await deliver(service)
    stopped.move(seconds=700)
    await deliver(service)
    first, during, after = receiver.calls
    stamps = [int(call.headers["webhook-timestamp"]) for call in receiver.calls]
    assert stamps == sorted(set(stamps))
    for call, verifying, failing in (
        (first, [hook["secret"]], [new]),
        (during, [hook["secret"], new], []),
        (after, [new], [hook["secret"]]),
    ):
        for secret in verifying:
            _verified(call, secret)
        for secret in failing:
            with pytest.raises(Exception, match="No matching signature"):
                _verified(call, secret)


def _verified(call: Call, secret: str) -> None:
    """The package compares with the real clock, and the test moves its own."""
    at = datetime.fromtimestamp(int(call.headers["webhook-timestamp"]), UTC)
    signature = Webhook(secret).sign(call.id, at, call.body.decode())
    if signature not in call.headers["webhook-signature"].split(" "):
        raise ValueError("No matching signature")


def test_an_event_that_is_too_large_says_that_it_is_not_whole() -> None:
    data = {"contact_ids": [], "case_numbers": [f"2026-{n:06}" for n in range(5_000)]}
    stored = orjson.dumps(data).decode()
    event = Published(7, "customer.erased", None, None, datetime.now(UTC), stored)
    body = webhook_body(event, Extent(7, 0, [Epoch("a", 0)]))
    assert len(body) < webhooks.MOST_BODY
    shown = orjson.loads(body)
    assert shown["incomplete"] is True
    assert shown["data"] == {"contact_ids": [], "case_numbers": []}


# --- what fails -----------------------------------------------------------------------------------


async def test_the_whole_schedule(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url())
    receiver.answer(status=500)
    customer = await Customer.new(client, service.today())
    await handed_over(service)
    began = stopped.instant
    await deliver(service)
    await customer.licence()
    for number, wait in enumerate(SCHEDULE, 2):
        # Not a second earlier.
        stopped.instant = began + wait - timedelta(seconds=1)
        await deliver(service)
        assert len(receiver.calls) == number - 1
        (one, later) = await sent(client, hook)
        assert datetime.fromisoformat(one["next_attempt_at"]) == began + wait
        assert (one["state"], later["state"]) == ("waiting", "waiting")
        assert later["attempts"] == []
        stopped.instant = began + wait
        await deliver(service)
        assert len(receiver.calls) >= number
    # Given up after the last, and the next of this customer goes on.
    (one, later) = await sent(client, hook)
    assert (one["state"], one["attempts_made"], one["next_attempt_at"]) == ("abandoned", 12, None)
    assert [attempt["number"] for attempt in one["attempts"]] == list(range(1, 13))
    assert (later["state"], later["attempts_made"]) == ("waiting", 1)
    assert receiver.heard == [one["event_id"]] * 12 + [later["event_id"]]
    assert SCHEDULE[-1] == timedelta(hours=75)


async def test_waits_are_longer_by_a_tenth_at_most(stopped: Clock) -> None:
    now = stopped.instant
    for step, wait in enumerate(SCHEDULE):
        before = SCHEDULE[step - 1] if step else timedelta(0)
        soonest = deliveries.next_attempt(now, step, now + before)
        assert soonest == now + wait
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(random, "uniform", lambda _, most: most)
        for step, wait in enumerate(SCHEDULE):
            before = SCHEDULE[step - 1] if step else timedelta(0)
            latest = deliveries.next_attempt(now, step, now + before)
            assert latest == now + wait + 0.1 * (wait - before)
    # Where no process ran for days it is not sent ten times at once.
    late = now + timedelta(days=9)
    assert deliveries.next_attempt(now, 4, late) == late + SCHEDULE[4] - SCHEDULE[3]


async def test_a_failing_event_holds_up_its_customer_alone(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    poison, other = [await Customer.new(client, service.today()) for _ in range(2)]
    await publish_all(service)
    hook = await hook_at(client, receiver.url())

    async def answering(call: Call) -> Reply:
        return Reply(500 if call.event["partitionkey"] == poison.id else 204)

    receiver.answering = answering
    for customer in (poison, other):
        await customer.licence()
        await customer.pack()
    await deliver(service)
    by_customer: dict[str, list[str]] = defaultdict(list)
    for call in receiver.calls:
        by_customer[call.event["partitionkey"]].append(call.event["type"])
    # The success of the other has it tried once more at once, which its schedule does not count.
    assert {*by_customer[poison.id]} == {"licence.registered"}
    assert len(by_customer[poison.id]) <= 2
    assert by_customer[other.id] == ["licence.registered", "tickets.purchased"]
    receiver.answer(status=200)
    stopped.move(seconds=6)
    await deliver(service)
    types = [c.event["type"] for c in receiver.calls if c.event["partitionkey"] == poison.id]
    assert types[-2:] == ["licence.registered", "tickets.purchased"]
    assert {one["state"] for one in await sent(client, hook)} == {"delivered"}


async def test_the_first_success_has_everything_tried_that_waits(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    customers = [await Customer.new(client, service.today()) for _ in range(25)]
    await publish_all(service)
    hook = await hook_at(client, receiver.url())
    receiver.answer(status=500)
    for customer in customers:
        await customer.licence()
    for seconds in (0, 6, 400):
        stopped.move(seconds=seconds)
        await deliver(service)
    assert len(receiver.calls) == 75
    # All wait for half an hour. Something new of another customer succeeds.
    stopped.move(seconds=1)
    receiver.answer(status=200)
    await Customer.new(client, service.today())
    await deliver(service)
    assert {one["state"] for one in await sent(client, hook)} == {"delivered"}
    assert len(receiver.calls) == 101


async def test_what_waits_is_tried_within_a_minute_of_successes_among_failures(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    """Each success after a failure would otherwise put off what the last one was to have tried."""
    poison = await Customer.new(client, service.today())
    await publish_all(service)
    hook = await hook_at(client, receiver.url())
    seen: set[str] = set()

    async def answering(call: Call) -> Reply:
        again = call.id in seen
        seen.add(call.id)
        return Reply(204 if again and call.event["partitionkey"] != poison.id else 500)

    receiver.answering = answering
    await poison.licence()
    for _ in range(10):
        await Customer.new(client, service.today())
        for _ in range(2):
            await deliver(service)
            stopped.move(seconds=6)
    (one, *_) = [x for x in await sent(client, hook) if x["customer_id"] == poison.id]
    assert one["state"] == "waiting"
    receiver.answer(status=200)
    stopped.move(seconds=61)
    await deliver(service)
    # Long before its own time, five minutes after the first attempt.
    assert {x["state"] for x in await sent(client, hook)} == {"delivered"}


async def test_what_fails_before_its_time_keeps_its_schedule(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    """Or the successes of others would use up the attempts of an event that always fails."""
    poison = await Customer.new(client, service.today())
    await publish_all(service)
    hook = await hook_at(client, receiver.url())

    async def answering(call: Call) -> Reply:
        return Reply(500 if call.event.get("partitionkey") == poison.id else 204)

    receiver.answering = answering
    await poison.licence()
    began = stopped.instant
    await deliver(service)
    for _ in range(30):
        await Customer.new(client, service.today())
        await deliver(service)
        stopped.move(seconds=9)
    (one, *_) = [x for x in await sent(client, hook) if x["customer_id"] == poison.id]
    assert one["state"] == "waiting"
    # Two of its own, and at most one a minute.
    assert 2 < one["attempts_made"] <= 2 + 5 + 1
    assert datetime.fromisoformat(one["next_attempt_at"]) == began + SCHEDULE[1]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_receiver_gets_time_and_one_at_a_time(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock, status: int
) -> None:
    hook = await hook_at(client, receiver.url())
    receiver.answer(status=status, headers={"Retry-After": "120"}, hang=0.02)
    for _ in range(30):
        await Customer.new(client, service.today())
    await deliver(service)
    # Those that were on their way, and no more.
    assert len(receiver.calls) <= deliveries.IN_FLIGHT
    stopped.move(seconds=119)
    await deliver(service)
    assert len(receiver.calls) <= deliveries.IN_FLIGHT
    before = len(receiver.calls)
    stopped.move(seconds=2)
    await deliver(service)
    assert len(receiver.calls) == before + 1
    receiver.most_at_once = 0
    receiver.answer(status=200, hang=0.02)
    stopped.move(seconds=121)
    await deliver(service)
    assert {one["state"] for one in await sent(client, hook)} == {"delivered"}


async def test_a_receiver_cannot_ask_for_more_than_a_day(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    await hook_at(client, receiver.url())
    receiver.answer(status=503, headers={"Retry-After": "99999999999999999999"})
    await Customer.new(client, service.today())
    await deliver(service)
    receiver.answer(status=200)
    stopped.move(hours=24, seconds=-1)
    await deliver(service)
    assert len(receiver.calls) == 1
    stopped.move(seconds=1)
    await deliver(service)
    assert len(receiver.calls) == 2


async def test_a_receiver_that_is_gone_is_disabled_at_once(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    customer = await Customer.new(client, service.today())
    await publish_all(service)
    hook = await hook_at(client, receiver.url())
    receiver.answer(status=410)
    await customer.licence()
    await deliver(service)
    await customer.pack()
    await deliver(service)
    now = await state(client, hook)
    assert (now["state"], now["disabled_reason"]) == ("disabled", "gone")
    assert len(receiver.calls) == 1
    (told,) = await feed(client, type="webhook.disabled")
    assert told["data"]["reason"] == "gone"
    assert told["subject"] == f"webhooks/{hook['id']}"
    # What waited goes on; what it missed does not come by itself.
    receiver.answer(status=200)
    await client.patch(f"/v1/webhooks/{hook['id']}", json={"paused": False})
    await customer.contract()
    await deliver(service)
    types = [call.event["type"] for call in receiver.calls]
    assert types == ["licence.registered", "licence.registered", "contract.signed"]
    since = (clock.now() - timedelta(minutes=5)).isoformat()
    path = f"/v1/webhooks/{hook['id']}/recovery"
    begun = await made(await client.post(path, json={"since": since, "only_failed": False}), 202)
    await deliver(service)
    assert "tickets.purchased" in [call.event["type"] for call in receiver.calls]
    path = f"/v1/webhooks/{hook['id']}/recoveries/{begun['id']}"
    ended = await made(await client.get(path), 200)
    assert ended["state"] == "finished"
    assert ended["queued"] >= 3


async def test_five_days_of_nothing_but_failures_disable(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url(), types=["customer.created"])
    watched = ["webhook.failing", "webhook.disabled"]
    watching = await hook_at(client, receiver.url("/watch"), types=watched)

    async def answering(call: Call) -> Reply:
        return Reply(200 if call.path == "/watch" else 500)

    receiver.answering = answering
    began = stopped.instant
    seen: dict[str, float] = {}
    for hour in range(0, 24 * 6, 3):
        stopped.instant = began + timedelta(hours=hour)
        await _new_customer(client, stopped)
        await deliver(service)
        await deliver(service)
        seen.setdefault((await state(client, hook))["state"], hour)
        for one in await feed(client, type=["webhook.failing", "webhook.disabled"]):
            seen.setdefault(one["type"], hour)
    assert seen == {"failing": 0, "webhook.failing": 96, "webhook.disabled": 120, "disabled": 120}
    told = [call.event for call in receiver.calls if call.path == "/watch"]
    assert [one["type"] for one in told] == ["webhook.failing", "webhook.disabled"]
    assert told[0]["data"]["failing_since"] == told[1]["data"]["failing_since"]
    assert datetime.fromisoformat(told[0]["data"]["disabled_from"]) == began + timedelta(days=5)
    assert (await state(client, watching))["state"] == "active"


async def test_a_success_between_ends_the_five_days(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url(), types=["customer.created"])
    for day in range(12):
        receiver.answer(status=200 if day % 4 == 3 else 500)
        await _new_customer(client, stopped)
        await deliver(service)
        stopped.move(days=1)
    assert (await state(client, hook))["disabled_at"] is None
    assert await feed(client, type=["webhook.failing", "webhook.disabled"]) == []


async def test_there_is_a_day_between_the_warning_and_the_end(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    """Although nothing was tried in the meantime, so that the warning came late."""
    hook = await hook_at(client, receiver.url(), types=["customer.created"])
    receiver.answer(status=500)
    await _new_customer(client, stopped)
    await deliver(service)
    stopped.move(days=9)
    await deliver(service)
    assert (await state(client, hook))["state"] == "failing"
    stopped.move(hours=23)
    await _new_customer(client, stopped)
    await deliver(service)
    assert (await state(client, hook))["state"] == "failing"
    stopped.move(hours=2)
    await _new_customer(client, stopped)
    await deliver(service)
    assert (await state(client, hook))["state"] == "disabled"


async def _new_customer(client: httpx.AsyncClient, stopped: Clock) -> None:
    await Customer.new(client, civil_date(stopped.instant, _ZONE))


@pytest.fixture(autouse=True)
def _zone(service: Service) -> None:
    global _ZONE
    _ZONE = service.policies.zone


_ZONE: Any = None


# --- again ----------------------------------------------------------------------------------------


async def test_one_is_sent_again(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url())
    await Customer.new(client, service.today())
    await deliver(service)
    (one,) = await sent(client, hook)
    path = f"/v1/webhooks/{hook['id']}/deliveries/{one['id']}"
    again = await made(await client.post(f"{path}/retry"), 200)
    assert (again["state"], again["finished_at"]) == ("waiting", None)
    receiver.answer(status=500)
    await deliver(service)
    # One that waits is sent at once.
    await made(await client.post(f"{path}/retry"), 200)
    receiver.answer(status=200)
    await deliver(service)
    ended = await made(await client.get(path), 200)
    assert (ended["state"], ended["attempts_made"]) == ("delivered", 3)
    assert [attempt["status"] for attempt in ended["attempts"]] == [204, 500, 200]
    assert receiver.heard == [one["event_id"]] * 3
    assert [x["id"] for x in await sent(client, hook, event=one["event_id"])] == [one["id"]]
    assert await sent(client, hook, event="nothing") == []


@pytest.mark.parametrize("only_failed", [True, False])
async def test_what_failed_or_everything_is_sent_again(
    service: Service,
    client: httpx.AsyncClient,
    receiver: Receiver,
    stopped: Clock,
    only_failed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "_AT_ONCE", 4)
    hook = await hook_at(client, receiver.url())
    other = await hook_at(client, receiver.url("/other"))

    async def answering(call: Call) -> Reply:
        bad = call.path == "/hook" and call.event["type"] == "licence.registered"
        return Reply(500 if bad else 204)

    receiver.answering = answering
    customers = [await Customer.new(client, service.today()) for _ in range(6)]
    since = stopped.instant
    stopped.move(seconds=1)
    for customer in customers:
        await customer.licence()
        await customer.pack()
    for wait in (timedelta(0), *SCHEDULE):
        stopped.instant = since + timedelta(seconds=1) + wait
        await deliver(service)
    failed = [one["event_id"] for one in await sent(client, hook, state="abandoned")]
    assert len(failed) == 6
    receiver.answer(status=200)
    receiver.calls.clear()
    body = {"since": since.isoformat(), "only_failed": only_failed}
    answer = await client.post(f"/v1/webhooks/{hook['id']}/recovery", json=body)
    begun = await made(answer, 202)
    assert begun["state"] == "running"
    await deliver(service)
    ended = await made(await client.get(answer.headers["location"]), 200)
    assert (ended["state"], ended["queued"]) == ("finished", 6 if only_failed else 18)
    every = [one["event_id"] for one in await sent(client, hook)]
    assert {call.path for call in receiver.calls} == {"/hook"}
    assert sorted(receiver.heard) == sorted(failed if only_failed else every)
    assert misordered(receiver.calls) == []
    assert {one["state"] for one in await sent(client, hook)} == {"delivered"}
    assert len(await sent(client, other)) == 18


async def test_a_test_event_is_sent_beside_what_waits(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url())
    receiver.answer(status=500)
    await Customer.new(client, service.today())
    await deliver(service)
    receiver.calls.clear()
    body = {"type": "entitlements.changed"}
    await made(await client.post(f"/v1/webhooks/{hook['id']}/test", json=body))
    await deliver(service)
    assert receiver.calls[0].id.startswith("test-")
    assert receiver.calls[0].event["type"] == "entitlements.changed"
    assert receiver.calls[0].event["id"] == receiver.calls[0].id
    assert len(receiver.calls) == 1


# --- what is kept ---------------------------------------------------------------------------------


async def test_deliveries_are_kept_for_thirty_days(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url())
    gone = await hook_at(client, receiver.url("/gone"))
    await Customer.new(client, service.today())
    await deliver(service)
    stopped.move(days=29)
    await Customer.new(client, civil_date(stopped.instant, service.policies.zone))
    await deliver(service)
    await client.delete(f"/v1/webhooks/{gone['id']}")
    await _prune(service, stopped)
    assert len(await sent(client, hook)) == 2
    stopped.move(days=2)
    await _prune(service, stopped)
    (left,) = await sent(client, hook)
    tables = ("endpoints", "deliveries", "attempts", "events", "lanes")
    counts = []
    for table in tables:
        command = f"SELECT count(*) FROM webhook_{table}"
        counts += [row[0] for row in await service.server.run_in(service.database_name, command)]
    assert counts == [1, 1, 1, 1, 0]
    path = f"/v1/webhooks/{hook['id']}/deliveries/{left['id']}"
    assert (await made(await client.post(f"{path}/retry"), 200))["state"] == "waiting"
    await deliver(service)
    assert len(receiver.calls) == 5


async def _prune(service: Service, stopped: Clock) -> None:
    while True:
        async with service.database.operations.begin() as connection:
            if await webhooks.prune(connection, stopped.instant, 1_000):
                return


async def test_of_an_answer_no_text_is_kept_or_logged(
    service: Service,
    client: httpx.AsyncClient,
    receiver: Receiver,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hook = await hook_at(client, receiver.url())
    said = "Mario Rossi called"
    receiver.answer(
        status=500,
        body=said.encode(),
        headers={"X-Said": said, "Retry-After": said, "Content-Type": "text/" + said},
    )
    await Customer.new(client, service.today())
    await deliver(service)
    assert len(receiver.calls) == 1
    captured = capsys.readouterr()
    assert said not in captured.out + captured.err
    answer = await client.get(f"/v1/webhooks/{hook['id']}/deliveries")
    assert said not in answer.text
    assert answer.json()["items"][0]["attempts"][0]["answer_bytes"] == len(said)
    found = await service.server.run_in(
        service.database_name, "SELECT a::text FROM webhook_attempts a WHERE a::text LIKE '%Mario%'"
    )
    assert found == []


# --- many at once ---------------------------------------------------------------------------------


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "SECONDS", 0.4)
    monkeypatch.setattr(
        deliveries, "SCHEDULE", tuple(timedelta(seconds=0.05 * n) for n in range(1, 200))
    )
    monkeypatch.setattr(deliveries, "_SLOW_MOST", 0.1)
    monkeypatch.setattr(deliveries, "_SLOW_FIRST", 0.05)


@pytest.mark.usefixtures("in_a_hurry")
async def test_a_receiver_that_fails_at_random_hears_everything_in_order(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    """By two processes at once."""
    customers = [await Customer.new(client, service.today()) for _ in range(12)]
    await publish_all(service)
    hook = await hook_at(client, receiver.url())
    chance = random.Random(7)
    flying: set[str] = set()
    crowded: list[str] = []

    async def answering(call: Call) -> Reply:
        lane = str(call.event.get("partitionkey"))
        if lane in flying:
            crowded.append(lane)
        flying.add(lane)
        try:
            await asyncio.sleep(chance.uniform(0, 0.02))
        finally:
            flying.discard(lane)
        return chance.choice(
            [Reply(), Reply(), Reply(), Reply(500), Reply(429), Reply(close=True), Reply(503)]
        )

    receiver.answering = answering
    other = Deliveries(worker(service)._sender._allowed, worker(service)._metrics)
    running = [asyncio.create_task(one.run(service.database)) for one in (worker(service), other)]

    async def publishing() -> None:
        while True:
            await handed_over(service)
            await asyncio.sleep(0.02)

    running.append(asyncio.create_task(publishing()))
    for _ in range(5):
        for customer in customers:
            await customer.licence()
            await customer.pack()
    async with asyncio.timeout(90):
        while len(await sent(client, hook, state="delivered")) < 120:
            assert not any(task.done() for task in running), running
            await asyncio.sleep(0.3)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await other.end(service.database)
    await worker(service).end(service.database)
    heard = {call.id for call in receiver.calls}
    assert heard == {one["event_id"] for one in await sent(client, hook)}
    assert misordered(receiver.calls) == []
    assert crowded == []
    for call in receiver.calls:
        call.verify(hook["secret"])


@pytest.mark.usefixtures("in_a_hurry")
async def test_a_receiver_that_hangs_delays_nobody_else(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "SECONDS", 8.0)
    for path in ("/hangs-1", "/hangs-2", "/hangs-3"):
        await hook_at(client, receiver.url(path))
    good = await hook_at(client, receiver.url("/good"))

    async def answering(call: Call) -> Reply:
        return Reply(hang=30 if call.path.startswith("/hangs") else 0)

    receiver.answering = answering
    for _ in range(40):
        await Customer.new(client, service.today())
    running = asyncio.create_task(worker(service).run(service.database))
    await handed_over(service)
    began = time.monotonic()
    while len(await sent(client, good, state="delivered")) < 40:
        assert time.monotonic() - began < 6
        await asyncio.sleep(0.05)
    hanging = [call for call in receiver.calls if call.path.startswith("/hangs")]
    assert len(hanging) == 3 * deliveries.IN_FLIGHT
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    monkeypatch.setattr("app.jobs.deliveries._END_SECONDS", 0.1)
    await worker(service).end(service.database)
    # What was cut off is given back: nobody waits for the end of a lease.
    rows = await service.server.run_in(
        service.database_name, "SELECT count(*) FROM webhook_lanes WHERE lease IS NOT NULL"
    )
    assert rows[0][0] == 0


async def test_what_is_in_flight_at_the_end_is_waited_for(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    hook = await hook_at(client, receiver.url())
    receiver.answer(status=200, hang=0.5)
    await Customer.new(client, service.today())
    await handed_over(service)
    assert await worker(service).step(service.database) == 1
    await worker(service).end(service.database)
    assert [one["state"] for one in await sent(client, hook)] == ["delivered"]


async def test_what_a_process_had_taken_is_made_again_after_its_lease(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed; and if it was only stopped, its result comes too late."""
    hook = await hook_at(client, receiver.url())
    await Customer.new(client, service.today())
    await handed_over(service)
    monkeypatch.setattr(deliveries, "LEASE_SECONDS", 0.5)
    stopped_process = Deliveries(worker(service)._sender._allowed, worker(service)._metrics)
    receiver.answer(status=500, hang=1.5)
    assert await stopped_process.step(service.database) == 1
    assert await worker(service).step(service.database) == 0
    await asyncio.sleep(0.7)
    receiver.answer(status=200)
    await deliver(service)
    (one,) = await sent(client, hook)
    assert (one["state"], one["attempts_made"]) == ("delivered", 1)
    await stopped_process.end(service.database)
    (after,) = await sent(client, hook)
    assert after == one


async def test_a_delivery_that_cannot_be_recorded_at_once_is_recorded_later(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await hook_at(client, receiver.url())
    await Customer.new(client, service.today())
    await handed_over(service)
    await worker(service).step(service.database)
    await worker(service).ended()
    real = deliveries.record

    async def away(*_: Any) -> Any:
        raise OSError("the database is away")

    monkeypatch.setattr(deliveries, "record", away)
    with pytest.raises(OSError, match="away"):
        await worker(service).step(service.database)
    monkeypatch.setattr(deliveries, "record", real)
    await deliver(service)
    assert [one["state"] for one in await sent(client, hook)] == ["delivered"]
    assert len(receiver.calls) == 1


# --- metrics --------------------------------------------------------------------------------------


async def test_the_metrics_count_results_and_tell_how_old_the_oldest_is(
    service: Service, client: httpx.AsyncClient, receiver: Receiver, stopped: Clock
) -> None:
    hook = await hook_at(client, receiver.url())
    receiver.answer(status=500)
    await Customer.new(client, service.today())
    await deliver(service)
    stopped.move(seconds=3)
    metrics = service.app.state.metrics

    async def value(name: str, **labels: str) -> float | None:
        await metrics.measure(service.database)
        found: float | None = metrics.get_sample_value(name, labels or None)
        return found

    assert await value("assistenza_webhook_attempts_total", result="failed") == 1
    assert await value("assistenza_webhook_lag_seconds") == 3
    await client.patch(f"/v1/webhooks/{hook['id']}", json={"paused": True})
    assert await value("assistenza_webhook_lag_seconds") == 0
    await client.patch(f"/v1/webhooks/{hook['id']}", json={"paused": False})
    receiver.answer(status=200)
    await deliver(service)
    assert await value("assistenza_webhook_attempts_total", result="delivered") == 1
    assert await value("assistenza_webhook_lag_seconds") == 0


async def test_what_a_webhook_hears_of_itself_changes_no_standing(
    service: Service, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    await hook_at(client, receiver.url())
    receiver.answer(status=410)
    await Customer.new(client, service.today())
    await deliver(service)
    await follow_all(service)
    await deliver(service)
    told = await feed(client, type="webhook.disabled")
    assert [one["type"] for one in told] == ["webhook.disabled"]
