"""The feed of events: `GET /v1/events` and `GET /v1/events/stream`."""

import asyncio
import json
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app import clock
from app.services.tokens import BOUND_SCOPES
from app.store import feed as store
from tests.api.build import Customer, errors, made, refused
from tests.api.streams import listened, watched
from tests.conftest import Service, publish_all

_TYPES_OF_A_CASE = ["case.opened", "case.commented", "time.recorded", "case.closed"]


@pytest.fixture
async def holder(customer: Customer) -> Customer:
    """A customer with free hours."""
    await customer.licence()
    return customer


async def feed(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    return await made(await client.get("/v1/events", params=query), 200)


async def every(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """All events from the beginning, page by page."""
    found: list[dict[str, Any]] = []
    page = await feed(client, **query)
    while True:
        found += page["items"]
        if not page["has_more"]:
            return found
        page = await feed(client, **query, after=page["next_cursor"])


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def worked_case(holder: Customer) -> dict[str, Any]:
    """A case from its opening to its end."""
    case = await holder.open()
    comment = {"body": "We are looking into it.", "internal": False}
    await made(await holder.client.post(f"/v1/cases/{case['id']}/comments", json=comment))
    await holder.work(case, 30)
    return await holder.step(case, "closure", resolution="A newer driver helps.")


async def test_a_customer_s_events_in_order(service: Service, holder: Customer) -> None:
    case = await worked_case(holder)
    await publish_all(service)
    events = await every(holder.client, customer_id=holder.id)
    assert types(events) == ["customer.created", "licence.registered", *_TYPES_OF_A_CASE]
    opened = events[2]
    assert opened["data"] == {
        "number": case["number"],
        "state": "open",
        "paid_by": "free_hours",
        "channel": "email",
    }
    assert opened["subject"] == f"cases/{case['id']}"
    assert opened["partitionkey"] == holder.id
    assert events[4]["data"]["charged_minutes"] == 30
    assert len({event["id"] for event in events}) == len(events)
    assert [event["sequence"] for event in events] == sorted(event["sequence"] for event in events)


async def test_nothing_is_told_before_it_is_published(service: Service, holder: Customer) -> None:
    assert await every(holder.client, customer_id=holder.id) == []
    await publish_all(service)
    assert await every(holder.client, customer_id=holder.id) != []


async def test_pages(service: Service, holder: Customer) -> None:
    await worked_case(holder)
    await publish_all(service)
    whole = await every(holder.client, customer_id=holder.code)
    page = await feed(holder.client, customer_id=holder.id, limit=4)
    assert page["items"] == whole[:4]
    assert page["has_more"]
    page = await feed(holder.client, customer_id=holder.id, limit=4, after=page["next_cursor"])
    assert page["items"] == whole[4:]
    assert not page["has_more"]
    again = await feed(holder.client, customer_id=holder.id, after=page["next_cursor"])
    assert again["items"] == []
    assert again["next_cursor"] == page["next_cursor"]


async def test_types(service: Service, holder: Customer) -> None:
    await worked_case(holder)
    await publish_all(service)
    wanted = ["case.closed", "customer.created"]
    mine = await every(holder.client, customer_id=holder.id, type=wanted)
    assert types(mine) == ["customer.created", "case.closed"]
    closed = await every(holder.client, type="case.closed", limit=1)
    assert {event["type"] for event in closed} == {"case.closed"}
    assert mine[1] in closed


async def test_from_now_on(service: Service, holder: Customer) -> None:
    await publish_all(service)
    now = await feed(holder.client, after="now")
    assert now["items"] == []
    await holder.contract()
    await publish_all(service)
    page = await feed(holder.client, after=now["next_cursor"])
    assert types(page["items"]) == ["contract.signed"]


async def test_wrong_input(service: Service, client: httpx.AsyncClient) -> None:
    async def asked(**query: Any) -> list[tuple[str, str]]:
        return errors(await client.get("/v1/events", params=query))

    assert await asked(after="yesterday") == [("query/after", "bad_cursor")]
    assert await asked(type="case.exploded") == [("query/type", "not_allowed_value")]
    assert await asked(wait=31) == [("query/wait", "too_large")]
    assert await asked(limit=0) == [("query/limit", "too_small")]
    assert await asked(since="2026-01-01") == [("query/since", "unknown_parameter")]
    refused(await client.get("/v1/events?customer_id=C-404"), "not_found", 404)
    async with await service.client_with("cases:read") as other:
        refused(await other.get("/v1/events"), "insufficient_scope", 403)


async def test_a_bound_token_hears_of_its_own_customer(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    mine, other = [await Customer.new(client, today) for _ in range(2)]
    for customer in (mine, other):
        await customer.licence()
        await worked_case(customer)
        refused(await customer.try_open(channel="phone"), "not_entitled")
    await publish_all(service)
    assert "case.refused" in types(await every(client, customer_id=mine.id))
    async with await service.client_with(*BOUND_SCOPES, customer_id=mine.id) as bound:
        events = await every(bound)
        assert types(events) == ["customer.created", "licence.registered", *_TYPES_OF_A_CASE]
        assert {event["partitionkey"] for event in events} == {mine.id}
        refused(await bound.get(f"/v1/events?customer_id={other.id}"), "not_found", 404)
        assert await every(bound, type="case.refused") == []
    async with await service.client_with("licences:read", customer_id=mine.id) as bound:
        assert types(await every(bound)) == ["licence.registered"]


async def test_a_bound_token_hears_nothing_of_a_case_that_was_moved_away(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    wrong, right = [await Customer.new(client, today) for _ in range(2)]
    for customer in (wrong, right):
        await customer.licence()
    case = await wrong.open()
    await wrong.step(
        case, "move", customer_id=right.id, serial_number=right.serials[0], reason="Mixed up"
    )
    await publish_all(service)
    assert "case.moved" in types(await every(client, customer_id=wrong.id))
    async with await service.client_with("cases:read", customer_id=wrong.id) as bound:
        assert await every(bound) == []
    async with await service.client_with("cases:read", customer_id=right.id) as bound:
        assert types(await every(bound)) == ["case.opened"]


async def test_a_merged_customer_s_events_are_its_survivor_s(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    merged, kept = [await Customer.new(client, today) for _ in range(2)]
    answer = await client.post(
        f"/v1/customers/{merged.id}/merge", json={"into": kept.id, "reason": "Entered twice"}
    )
    assert answer.status_code == 200, answer.text
    await publish_all(service)
    events = await every(client, customer_id=kept.code)
    assert types(events) == ["customer.created"] * 2 + ["customer.merged"] * 2
    assert await every(client, customer_id=merged.code) == events


async def test_internal_comments_are_not_told(service: Service, holder: Customer) -> None:
    case = await holder.open()
    comment = {"body": "They never update.", "internal": True}
    await made(await holder.client.post(f"/v1/cases/{case['id']}/comments", json=comment))
    await publish_all(service)
    assert "case.commented" not in types(await every(holder.client, customer_id=holder.id))


async def test_changed_fields(service: Service, holder: Customer) -> None:
    case = await holder.open()
    changes = {"priority": "high", "subject": "The screen is black", "technician": "Help desk"}
    await made(await holder.client.patch(f"/v1/cases/{case['id']}", json=changes), 200)
    await publish_all(service)
    (event,) = await every(holder.client, customer_id=holder.id, type="case.assigned")
    assert event["data"] == {
        "number": case["number"],
        "state": "open",
        "paid_by": "free_hours",
        "changed": ["priority", "subject", "technician"],
        "before": {"priority": "normal"},
        "after": {"priority": "high"},
    }


async def test_a_long_poll_answers_with_the_first_event(service: Service, holder: Customer) -> None:
    await publish_all(service)
    async with watched(service):
        asked = asyncio.create_task(feed(holder.client, after="now", wait=20))
        await asyncio.sleep(0.3)
        assert not asked.done()
        await holder.contract()
        await publish_all(service)
        async with asyncio.timeout(5):
            page = await asked
    assert types(page["items"]) == ["contract.signed"]


async def test_a_long_poll_holds_no_connection(service: Service, holder: Customer) -> None:
    async with watched(service):
        asked = asyncio.create_task(feed(holder.client, after="now", wait=1))
        await asyncio.sleep(0.5)
        pools = service.database.pools()
        assert {name: counts.in_use for name, counts in pools.items() if counts.in_use} == {}
        page = await asked
    assert page["items"] == []
    assert not page["has_more"]


async def test_a_stream(service: Service, holder: Customer) -> None:
    await publish_all(service)
    start = (await feed(holder.client, after="now"))["next_cursor"]
    await holder.contract()
    await holder.pack()
    await publish_all(service)
    async with watched(service):
        heard = await listened(service, holder.client, 3, {"Last-Event-ID": start}, holder.pack)
        assert [one["event"] for one in heard] == ["contract.signed", *["tickets.purchased"] * 2]
        rest = await listened(service, holder.client, 2, {"Last-Event-ID": heard[0]["id"]})
    assert rest == heard[1:]
    whole = await every(holder.client, after=start)
    assert [json.loads(one["data"]) for one in heard] == whole


async def test_what_waits_is_bounded(service: Service, holder: Customer) -> None:
    watch = service.app.state.watch
    client = "client:hungry"
    token = await service.token("events:read", name="hungry")
    places = [watch.place(client) for _ in range(10)]
    for place in places:
        place.__enter__()
    try:
        async with service.client(token) as hungry:
            polled = await hungry.get("/v1/events?after=now&wait=1")
            refused(polled, "too_many_requests", 429)
            assert (await hungry.get("/v1/events", params={"after": "now"})).status_code == 200
            problem = refused(await hungry.get("/v1/events/stream"), "too_many_requests", 429)
            assert problem["status"] == 429
    finally:
        for place in places:
            place.__exit__(None, None, None)


async def test_old_events_are_forgotten(service: Service, holder: Customer) -> None:
    await publish_all(service)
    end = (await feed(holder.client, after="now"))["next_cursor"]
    oldest = await feed(holder.client, limit=1)
    async with service.database.operations.begin() as connection:
        assert await store.prune(connection, clock.now() + timedelta(seconds=1), 10_000)
    problem = refused(
        await holder.client.get("/v1/events", params={"after": oldest["next_cursor"]}),
        "cursor_expired",
        410,
    )
    assert problem["missed"]
    page = await feed(holder.client, after=problem["begin_after"])
    assert page["items"] == []
    assert (await feed(holder.client, after=end))["items"] == []
    await holder.contract()
    await publish_all(service)
    assert types(await every(holder.client)) == ["contract.signed"]
