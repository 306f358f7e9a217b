"""What all lists have in common: pages, filters, and the wall around a bound token (R38)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from app.ids import new_id
from tests.api.build import Customer, made, unique
from tests.conftest import Service

SCOPES = ("customers:read", "licences:read", "contracts:read", "tickets:read")
LISTS = ["customers", "licences", "contracts", "ticket-packs"]
FILTERED = LISTS[1:]


@dataclass
class World:
    """Two customers with five things of each kind, and a token bound to the first."""

    service: Service
    client: httpx.AsyncClient
    bound: httpx.AsyncClient
    mine: Customer
    other: Customer
    things: dict[str, list[dict[str, Any]]]

    def of(self, kind: str, customer: Customer) -> list[dict[str, Any]]:
        owner = "id" if kind == "customers" else "customer_id"
        return [thing for thing in self.things[kind] if thing[owner] == customer.id]


@pytest.fixture(scope="module")
async def world(service: Service, client: httpx.AsyncClient) -> AsyncIterator[World]:
    today: date = service.today()
    things: dict[str, list[dict[str, Any]]] = {kind: [] for kind in LISTS}
    customers = [
        await Customer.new(client, today),
        await Customer.new(
            client,
            today,
            country="CH",
            external_refs={"crm": "other"},
            contacts=[{"name": "Workshop"}],
        ),
    ]
    for _ in range(5):
        for customer in customers:
            things["licences"].append(await customer.licence())
            things["contracts"].append(await customer.contract())
            pack = await customer.pack(2)
            del pack["tickets"]
            things["ticket-packs"].append(pack)
    customers += [await Customer.new(client, today) for _ in range(8)]
    for customer in customers:
        body = (await client.get(f"/v1/customers/{customer.id}")).json()
        things["customers"].append(body)
    mine, other = customers[:2]
    async with await service.client_with(*SCOPES, customer_id=mine.id) as bound:
        yield World(service, client, bound, mine, other, things)


async def pages(
    client: httpx.AsyncClient, kind: str, /, **query: Any
) -> list[list[dict[str, Any]]]:
    """Every page of a list."""
    found = []
    while True:
        page = await made(await client.get(f"/v1/{kind}", params=query), 200)
        found.append(page["items"])
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("limit", [1, 3, 5, 9, 10, 11, 200])
async def test_pages_make_up_the_whole(world: World, kind: str, limit: int) -> None:
    (whole,) = await pages(world.client, kind, limit=200)
    ids = {thing["id"] for thing in world.things[kind]}
    assert [item for item in whole if item["id"] in ids] == world.things[kind], "as they were made"
    found = await pages(world.client, kind, limit=limit)
    assert [item for page in found for item in page] == whole
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert len(found) == -(-len(whole) // limit)


async def test_rows_added_meanwhile_make_no_page_skip_or_repeat(world: World) -> None:
    customer = await Customer.new(world.client, world.mine.today)
    expected = [(await customer.pack())["id"] for _ in range(4)]
    query: dict[str, Any] = {"customer_id": customer.id, "limit": 2}
    first = (await world.client.get("/v1/ticket-packs", params=query)).json()
    expected.append((await customer.pack())["id"])
    query["cursor"] = first["next_cursor"]
    rest = await pages(world.client, "ticket-packs", **query)
    shown = [item["id"] for page in [first["items"], *rest] for item in page]
    assert shown == expected


@pytest.mark.parametrize("kind", LISTS)
async def test_a_cursor_belongs_to_its_list(world: World, kind: str) -> None:
    for other in LISTS:
        page = (await world.client.get(f"/v1/{other}", params={"limit": 1})).json()
        query = {"cursor": page["next_cursor"]}
        answer = await world.client.get(f"/v1/{kind}", params=query)
        assert answer.status_code == (200 if kind == other else 422)
    for damaged in ("x", "", page["next_cursor"][:-2], page["next_cursor"] + "A", "\x00"):
        answer = await world.client.get(f"/v1/{kind}", params={"cursor": damaged})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "query/cursor"


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "too_small"),
        ("limit=201", "too_large"),
        ("limit=-1", "too_small"),
        ("limit=1.5", "wrong_type"),
        ("limit=99999999999999999999", "wrong_type"),
        ("limit=1&limit=2", "repeated_parameter"),
        ("costumer_id=x", "unknown_parameter"),
    ],
)
async def test_a_mistyped_query_is_refused(world: World, kind: str, query: str, code: str) -> None:
    answer = await world.client.get(f"/v1/{kind}?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == code


@pytest.mark.parametrize("kind", FILTERED)
async def test_the_customers_filter(world: World, kind: str) -> None:
    found = await pages(world.client, kind, customer_id=world.mine.id, limit=2)
    assert [item for page in found for item in page] == world.of(kind, world.mine)
    assert await pages(world.client, kind, customer_id=new_id()) == [[]]
    assert await pages(world.client, kind, customer_id=world.mine.code.lower(), limit=2) == found
    assert await pages(world.client, kind, customer_id=unique("C")) == [[]]
    answer = await world.client.get(f"/v1/{kind}", params={"customer_id": "no code"})
    assert answer.status_code == 422


async def test_the_licences_filters(world: World) -> None:
    (first, *_) = world.things["licences"]
    query = {"serial_number": first["serial_number"].lower()}
    assert await pages(world.client, "licences", **query) == [[first]]
    assert await pages(world.client, "licences", kind="runtime") == [[]]
    assert await pages(world.client, "licences", kind="editor") == [world.things["licences"]]


# --- bound tokens ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LISTS)
async def test_a_bound_token_lists_its_own_alone(world: World, kind: str) -> None:
    own = world.of(kind, world.mine)
    assert own
    assert [i for page in await pages(world.bound, kind, limit=2) for i in page] == own
    if kind in FILTERED:
        assert await pages(world.bound, kind, customer_id=world.other.id) == [[]]
        assert await pages(world.bound, kind, customer_id=world.mine.id) == [own]


async def test_no_filter_leads_a_bound_token_to_another(world: World) -> None:
    theirs = world.of("licences", world.other)[0]
    query = {"serial_number": theirs["serial_number"]}
    assert await pages(world.bound, "licences", **query) == [[]]
    assert await pages(world.bound, "customers", q=world.other.code) == [[]]
    assert await pages(world.bound, "customers", country="CH") == [[]]
    assert await pages(world.bound, "customers", external_ref="crm:other") == [[]]
    assert len((await pages(world.client, "customers", external_ref="crm:other"))[0]) == 1


@pytest.mark.parametrize("kind", LISTS)
async def test_another_customers_is_answered_like_nothing(world: World, kind: str) -> None:
    theirs = world.of(kind, world.other)[0]
    names = ("code", "serial_number", "number")
    known_by = next(theirs[name] for name in names if name in theirs)
    answers, statements = [], []
    for key in (theirs["id"], str(new_id()), known_by, "nobody-knows-this"):
        with capture_logs() as logs:
            answer = await world.bound.get(f"/v1/{kind}/{key}", headers={"X-Request-Id": "same"})
        answers.append((answer.status_code, answer.content, dict(answer.headers)))
        statements.append(logs[-1]["statements"])
    assert answers[0][0] == 404
    assert answers == [answers[0]] * 4
    assert statements == [2] * 4, "the token and the row"
    own = world.of(kind, world.mine)[0]
    read = (await world.bound.get(f"/v1/{kind}/{own['id']}")).json()
    read.pop("tickets", None)
    assert read == own


async def test_anothers_contacts_are_answered_like_nothing(world: World) -> None:
    (contact,) = world.of("customers", world.other)[0]["contacts"]
    answers = []
    for customer in (world.other.id, str(new_id())):
        theirs = f"/v1/customers/{customer}/contacts/{contact['id']}"
        answer = await world.bound.get(theirs, headers={"X-Request-Id": "same"})
        answers.append((answer.status_code, answer.content))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


WRITES = [
    ("POST", "/v1/customers"),
    ("PUT", "/v1/customers/by-code/X"),
    ("PATCH", "/v1/customers/{mine}"),
    ("POST", "/v1/customers/{mine}/contacts"),
    ("POST", "/v1/licences"),
    ("PUT", "/v1/licences/by-serial/X"),
    ("POST", "/v1/contracts"),
    ("POST", "/v1/ticket-packs"),
]


@pytest.mark.parametrize(("method", "url"), WRITES)
async def test_reading_does_not_allow_writing(world: World, method: str, url: str) -> None:
    url = url.format(mine=world.mine.id)
    async with await world.service.client_with(*SCOPES) as reader:
        for client in (world.bound, reader):
            answer = await client.request(method, url, json={})
            assert answer.status_code == 403
            assert "insufficient_scope" in answer.headers["WWW-Authenticate"]
