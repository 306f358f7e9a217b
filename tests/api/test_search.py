"""What a search of customers and cases finds, and what it must not find."""

import itertools
from typing import Any

import httpx
import pytest

from tests.api.build import Customer, made, unique
from tests.conftest import Service


async def found(client: httpx.AsyncClient, kind: str, /, **query: Any) -> list[dict[str, Any]]:
    page = await made(await client.get(f"/v1/{kind}", params={"limit": 200, **query}), 200)
    items: list[dict[str, Any]] = page["items"]
    return items


@pytest.fixture(scope="module")
async def case(service: Service, client: httpx.AsyncClient) -> dict[str, Any]:
    customer = await Customer.new(client, service.today())
    await customer.licence(serial_number="SN-4711.X")
    await customer.contract()
    return await customer.open(
        subject="Alarmverwaltung bleibt stehen",
        description="Nach dem Neustart zeigt die ÜBERSICHT nur 100% der Störungen an.",
        requester={
            "name": "Jörg Weißhaupt",
            "email": "J.Weisshaupt@Example.com",
            "phone": "+49 211 5550 123",
        },
        serial_number="SN-4711.X",
    )


@pytest.mark.parametrize(
    "q",
    [
        "verwaltung",
        "übersicht STÖRUNGEN",
        "Störungen alarm",
        "100%",
        "weißhaupt",
        "jörg",
        "j.weisshaupt@example.com",
        "WEISSHAUPT@",
        "+49 211 5550123",
        "0211 5550-123",
        "2115550123",
        "sn-4711",
        "4711.x",
        "na",
        "(Neustart)",
    ],
)
async def test_a_case_is_found_by_its_words(
    client: httpx.AsyncClient, case: dict[str, Any], q: str
) -> None:
    for query in (
        {"q": q},
        {"q": q, "state": "open"},
        {"q": q, "customer_id": case["customer_id"]},
    ):
        assert [one["id"] for one in await found(client, "cases", **query)] == [case["id"]]
    queue = await found(client, "cases", q=q, queue=True)
    assert [one["id"] for one in queue] == [case["id"]]


@pytest.mark.parametrize(
    "q", ["nowhere", "verwaltung nowhere", "1005", "4712", "rg", "--", "%", "_", "\\", "%%%"]
)
async def test_a_case_is_not_found_by_other_words(
    client: httpx.AsyncClient, case: dict[str, Any], q: str
) -> None:
    assert await found(client, "cases", q=q) == []


async def test_a_case_is_found_by_its_number(
    client: httpx.AsyncClient, case: dict[str, Any]
) -> None:
    items = await found(client, "cases", q=case["number"])
    assert case["id"] in [one["id"] for one in items]


async def test_comments_are_not_searched(
    service: Service, client: httpx.AsyncClient, case: dict[str, Any]
) -> None:
    """R38: an internal comment must not be found, least of all by the customer."""
    for internal in (True, False):
        body = {"body": "Xylophone", "internal": internal}
        await made(await client.post(f"/v1/cases/{case['id']}/comments", json=body))
    async with await service.client_with("cases:read", customer_id=case["customer_id"]) as bound:
        assert len(await found(bound, "cases", q="verwaltung")) == 1
        for caller in (bound, client):
            assert await found(caller, "cases", q="xylophone") == []


async def test_a_search_of_a_bound_token_stays_with_its_customer(
    service: Service, client: httpx.AsyncClient, case: dict[str, Any]
) -> None:
    other = await Customer.new(client, service.today(), contacts=[{"name": "Ottilie Fremd"}])
    async with await service.client_with(
        "cases:read", "customers:read", customer_id=other.id
    ) as bound:
        assert await found(bound, "cases", q="verwaltung") == []
        assert await found(bound, "cases", serial_number="SN-4711.X") == []
        assert [one["id"] for one in await found(bound, "customers", q="ottilie")] == [other.id]
        assert await found(bound, "customers", q="customer C") == [
            one for one in await found(client, "customers", q="customer C") if one["id"] == other.id
        ]


async def test_filters_ignore_case(client: httpx.AsyncClient, case: dict[str, Any]) -> None:
    patch = {"technician": "Änne Müller"}
    await made(await client.patch(f"/v1/cases/{case['id']}", json=patch), 200)
    for query in (
        {"technician": "änne MÜLLER"},
        {"technician": "ÄNNE müller", "state": "open", "channel": case["channel"]},
        {"serial_number": "sn-4711.x"},
        {"serial_number": "SN-4711.X", "technician": "änne müller", "queue": True},
    ):
        assert [one["id"] for one in await found(client, "cases", **query)] == [case["id"]]
    assert await found(client, "cases", technician="Änne") == []
    assert await found(client, "cases", serial_number="SN-4711") == []
    number = case["number"].lower()
    assert (await client.get(f"/v1/cases/{number}")).json()["id"] == case["id"]


@pytest.fixture(scope="module")
async def customer(service: Service, client: httpx.AsyncClient) -> Customer:
    return await Customer.new(
        client,
        service.today(),
        name="Dübendorf-Anlagen AG",
        vat_number="CHE 116.281-710",
        contacts=[
            {"name": "Ève-Marie Österreicher", "email": "eve.marie@duebendorf.example"},
            {"name": "Zacharias Quint", "email": "z.quint@example.com"},
        ],
    )


@pytest.mark.parametrize(
    "q",
    [
        "österreicher",
        "ève marie",
        "ÖSTERR",
        "eve.marie@duebendorf.example",
        "EVE.MARIE@",
        "duebendorf.ex",
        "quint zach",
        "quint z.quint",
        "CHE 116.281-710",
        "che116281710",
        "116281",
        "116.281",
        "anlagen che",
        "anlagen dübendorf",
    ],
)
async def test_a_customer_is_found_by_contact_and_vat_number(
    client: httpx.AsyncClient, customer: Customer, q: str
) -> None:
    for query in ({"q": q}, {"q": q, "country": "IT"}):
        assert [one["id"] for one in await found(client, "customers", **query)] == [customer.id]


@pytest.mark.parametrize(
    "q", ["reicher", "marie quint", "281710", "uint", "w", "[a-z]+", ".*", "zach|ève"]
)
async def test_a_customer_is_not_found_by_parts_of_words(
    client: httpx.AsyncClient, customer: Customer, q: str
) -> None:
    assert await found(client, "customers", q=q) == []


async def test_a_word_of_many_and_a_word_of_few(
    client: httpx.AsyncClient, service: Service
) -> None:
    """Common words are found among the first of the list, rare ones by an index: pages agree."""
    word = unique("Word").replace("-", "")
    made_ids = [
        (await Customer.new(client, service.today(), name=f"{word} {n}")).id for n in range(7)
    ]
    shown: list[str] = []
    query: dict[str, Any] = {"q": word, "limit": 3}
    while True:
        page = await made(await client.get("/v1/customers", params=query), 200)
        shown += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert shown == made_ids


async def test_pages_of_filtered_lists_make_up_the_whole(
    client: httpx.AsyncClient, service: Service
) -> None:
    customer = await Customer.new(client, service.today())
    await customer.licence(days=-2000)
    for days in (-800, -400, -30, -20, 10, 20):
        await customer.contract(days=days)
        await customer.pack(days=min(days, 0))
    own: dict[str, Any] = {"customer_id": customer.id}
    for kind, name, values in (
        ("contracts", "state", ["expired", "in_force", "upcoming", "suspended", "cancelled"]),
        ("contracts", "ends_before", [str(service.today())]),
        ("ticket-packs", "available", ["true", "false"]),
    ):
        for value, whose in itertools.product(values, (own, {})):
            query: dict[str, Any] = {name: value, **whose}
            whole = await found(client, kind, **query)
            shown: list[dict[str, Any]] = []
            query["limit"] = 1
            while True:
                page = await made(await client.get(f"/v1/{kind}", params=query), 200)
                shown += page["items"]
                if page["next_cursor"] is None:
                    break
                query["cursor"] = page["next_cursor"]
            assert shown == whole
