"""What a bound token hears of: its own customer, by its scopes; by both walls and by each alone."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.services.tokens import BOUND_SCOPES
from app.store import feed as store
from tests.api.build import Customer, made, refused
from tests.api.streams import listened, watched
from tests.conftest import publish_all
from tests.matrix.conftest import World

_SCOPE_OF = {
    "customer": "customers:read",
    "contact": "customers:read",
    "licence": "licences:read",
    "contract": "contracts:read",
    "tickets": "tickets:read",
    "case": "cases:read",
    "time": "cases:read",
    "entitlements": "entitlements:read",
    "free_hours": "entitlements:read",
}

Events = list[dict[str, Any]]


@dataclass
class Two:
    """Customers of whom one got a licence and a case of the other's."""

    before: Customer
    after: Customer
    licence: dict[str, Any]
    moved: dict[str, Any]
    became: dict[str, Any]
    whole: Events
    """Everything that was published."""

    def names(self, customer: Customer) -> set[str]:
        """What the events call things of a customer's that were never another's."""
        own = {customer.id, customer.code}
        for event in self.whole:
            if event.get("partitionkey") == customer.id:
                own.add(event["subject"].partition("/")[2])
                own |= {event["data"].get("number"), event["data"].get("serial_number")}
        return own - {None, self.licence["id"], self.licence["serial_number"]}


async def _feed(client: httpx.AsyncClient, **query: str) -> Events:
    found: Events = []
    while True:
        answer = await client.get("/v1/events", params={"limit": "7", **query})
        page = await made(answer, 200)
        found += page["items"]
        if not page["has_more"]:
            return found
        query["after"] = page["next_cursor"]


@pytest.fixture(scope="module")
async def two(world: World) -> Two:
    today = world.today
    before, after = [await Customer.new(world.client, today) for _ in range(2)]
    for customer in (before, after):
        await customer.licence(days=-40)
        refused(await customer.try_open(channel="phone"), "not_entitled")
        await customer.contract(days=-20)
        await customer.pack(3)
        case = await customer.open()
        await customer.work(case, 20)
        await customer.step(case, "comments", 201, body="Please restart it.")
        await customer.step(case, "comments", 201, body="They never do.", internal=True)
        await customer.close(case)
    moved = await before.open()
    await before.work(moved, 10)
    became = await before.step(
        moved, "move", customer_id=after.id, serial_number=after.serials[0], reason="Mixed up"
    )
    licence = await before.licence(days=-40)
    sold: dict[str, Any] = {
        "to_customer_id": after.id,
        "on": str(today - timedelta(days=1)),
        "reason": "Sold",
    }
    await before.post(f"licences/{licence['id']}/transfer", **sold)
    version = {"version": "12"}
    await made(await world.client.patch(f"/v1/licences/{licence['id']}", json=version), 200)
    await publish_all(world.service)
    whole = await _feed(world.client)
    return Two(before, after, licence, moved, became, whole)


async def bound(world: World, customer: Customer, *scopes: str) -> httpx.AsyncClient:
    return await world.service.client_with(*scopes, customer_id=customer.id)


def is_for(event: dict[str, Any], scopes: frozenset[str]) -> bool:
    """Whether a token with these scopes, bound to the event's customer, is to hear of it."""
    if event["type"] == "case.refused":
        return False
    return _SCOPE_OF[event["type"].partition(".")[0]] in scopes


def expected(two: Two, customer: Customer, scopes: frozenset[str]) -> list[str]:
    own = [one for one in two.whole if one.get("partitionkey") == customer.id]
    moved = f"cases/{two.moved['id']}"
    return [one["id"] for one in own if is_for(one, scopes) and one["subject"] != moved]


def nothing_of(two: Two, other: Customer, events: Events) -> None:
    told = json.dumps(events)
    for name in two.names(other):
        assert name not in told, name


def test_there_is_something_to_be_hidden(two: Two) -> None:
    for customer in (two.before, two.after):
        types = {one["type"] for one in two.whole if one.get("partitionkey") == customer.id}
        assert types >= {"case.refused", "licence.transferred", "time.recorded", "case.closed"}
    assert [one for one in two.whole if one["type"] == "case.moved"] != []


async def _hears(world: World, two: Two, scopes: frozenset[str]) -> None:
    for customer, other in ((two.before, two.after), (two.after, two.before)):
        async with await bound(world, customer, *scopes) as client:
            events = await _feed(client)
            assert [one["id"] for one in events] == expected(two, customer, scopes)
            nothing_of(two, other, events)
            for hidden in (two.moved["id"], two.moved["number"]):
                assert hidden not in json.dumps(events)
            refused(await client.get(f"/v1/events?customer_id={other.id}"), "not_found", 404)
            assert await _feed(client, type="case.refused") == []
            if len(events) < 2:
                continue
            first = await made(await client.get("/v1/events?limit=1"), 200)
            begin = {"Last-Event-ID": first["next_cursor"]}
            async with watched(world.service):
                heard = await listened(world.service, client, len(events) - 1, begin)
            assert [json.loads(one["data"]) for one in heard] == events[1:]


@pytest.mark.parametrize("scope", [*sorted(BOUND_SCOPES), "all"])
async def test_both_walls(world: World, two: Two, scope: str) -> None:
    await _hears(world, two, BOUND_SCOPES if scope == "all" else frozenset({scope}))


async def test_the_database_s_wall_alone(
    world: World, two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours taken away: the service asks for everything. Scopes are ours alone to enforce."""
    real = store.page

    async def everything(*arguments: Any, **which: Any) -> Any:
        return await real(*arguments, **{**which, "types": None, "customers": None, "bound": False})

    monkeypatch.setattr(store, "page", everything)
    assert await _feed(world.client) == two.whole
    for customer, other in ((two.before, two.after), (two.after, two.before)):
        async with await bound(world, customer, "cases:read") as client:
            events = await _feed(client)
        assert [one["id"] for one in events] == expected(two, customer, BOUND_SCOPES)
        nothing_of(two, other, events)


@pytest.mark.parametrize("scope", [*sorted(BOUND_SCOPES), "all"])
async def test_our_wall_alone(
    world: World, two: Two, without_row_security: None, scope: str
) -> None:
    """With the database's row security taken away, as it stands after the tests above."""
    await _hears(world, two, BOUND_SCOPES if scope == "all" else frozenset({scope}))
