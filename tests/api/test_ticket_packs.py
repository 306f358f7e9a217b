"""Ticket packs over HTTP (R5, R16, R17)."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from app.ids import new_id
from app.policy.civil import add_months
from tests.api.build import Customer, errors, made, recorded, unique
from tests.conftest import Service

URL = "/v1/ticket-packs"
DAY = timedelta(days=1)


async def read(customer: Customer, pack: dict[str, Any]) -> dict[str, Any]:
    return await made(await customer.client.get(f"{URL}/{pack['number']}"), 200)


async def ticket_pages(
    customer: Customer, pack: dict[str, Any], **query: Any
) -> list[list[dict[str, Any]]]:
    """Every page of a pack's tickets."""
    found: list[list[dict[str, Any]]] = []
    while True:
        answer = await customer.client.get(f"{URL}/{pack['number']}/tickets", params=query)
        page = await made(answer, 200)
        found.append(page["items"])
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def test_a_pack_comes_back_as_it_was_bought(customer: Customer, service: Service) -> None:
    sent = {"customer_id": customer.id, "quantity": 2, "purchased_on": str(customer.today)}
    answer = await customer.client.post(URL, json=sent)
    pack = await made(answer)
    assert answer.headers["Location"] == f"{URL}/{pack['id']}"
    unused = {
        "state": "available",
        "expires_on": str(add_months(customer.today, 12)),
        "case_number": None,
    }
    assert pack == {
        **sent,
        "id": pack["id"],
        "number": pack["number"],
        "expires_on": pack["expires_on"],
        "available": 2,
        "held": 0,
        "consumed": 0,
        "cancelled": 0,
        "expired": 0,
        "tickets": [{"position": 1, **unused}, {"position": 2, **unused}],
    }
    assert pack["number"].startswith(f"TP-{customer.today.year}-")
    found = await customer.client.get(f"{URL}/{pack['id']}")
    assert (found.json(), found.headers["ETag"]) == (pack, answer.headers["ETag"])
    types = [type_ for type_, _ in await recorded(service, customer.id)]
    assert types == ["customer.updated", "tickets.purchased"]


@pytest.mark.parametrize(
    ("purchased_on", "expires_on"),
    [("2024-02-29", "2025-02-28"), ("2023-02-28", "2024-02-28"), ("2025-12-31", "2026-12-31")],
)
async def test_tickets_last_twelve_months(
    customer: Customer, purchased_on: str, expires_on: str
) -> None:
    assert (await customer.pack(purchased_on=purchased_on))["expires_on"] == expires_on


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"quantity": 0}, ("/quantity", "too_small")),
        ({"quantity": 1001}, ("/quantity", "too_large")),
        ({"quantity": True}, ("/quantity", "wrong_type")),
        ({"number": str(new_id())}, ("/number", "looks_like_id")),
        ({"purchased_on": "2026-02-30"}, ("/purchased_on", "bad_format")),
        ({"price": 1}, ("/price", "unknown_field")),
    ],
)
async def test_what_is_refused(
    customer: Customer, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    body = {"customer_id": customer.id, "quantity": 1, "purchased_on": str(customer.today)}
    assert errors(await customer.client.post(URL, json={**body, **fields})) == [expected]


async def test_a_purchase_lies_not_in_the_future(customer: Customer) -> None:
    tomorrow = str(customer.today + DAY)
    body = {"customer_id": customer.id, "quantity": 1, "purchased_on": tomorrow}
    assert errors(await customer.client.post(URL, json=body)) == [("/purchased_on", "in_future")]


async def test_numbers_are_unique(customer: Customer) -> None:
    pack = await customer.pack(number=unique("N"))
    body = {"customer_id": customer.id, "quantity": 1, "purchased_on": str(customer.today)}
    taken = await customer.client.post(URL, json={**body, "number": pack["number"].swapcase()})
    assert (taken.status_code, taken.json()["field"]) == (409, "number")


async def test_a_thousand_tickets(customer: Customer) -> None:
    """The pack comes with the first hundred; a list of its own has them all."""
    pack = await customer.pack(1000)
    assert [ticket["position"] for ticket in pack["tickets"]] == list(range(1, 101))
    shown = [one for page in await ticket_pages(customer, pack, limit=200) for one in page]
    assert [ticket["position"] for ticket in shown] == list(range(1, 1001))
    assert shown[:100] == pack["tickets"]
    (item,) = (await customer.get(f"ticket-packs?customer_id={customer.id}"))["items"]
    assert item == {name: value for name, value in pack.items() if name != "tickets"}


async def test_the_tickets_are_listed_as_the_pack_shows_them(
    customer: Customer, travel: Callable[[date], None]
) -> None:
    """In every state, and with an end of its own where a bug gave days back (R19)."""
    pack = await customer.pack(5, days=-10)
    cases = [await customer.open(channel="phone") for _ in range(3)]
    await customer.close(cases[0])
    travel(customer.today + 5 * DAY)
    await customer.patch(cases[1], category="bug")
    for day in (customer.today + 5 * DAY, date.fromisoformat(pack["expires_on"])):
        travel(day)
        found = await read(customer, pack)
        states = [ticket["state"] for ticket in found["tickets"]]
        assert states[:1] + states[2:3] == ["consumed", "held"]
        assert len({ticket["expires_on"] for ticket in found["tickets"]}) == 2
        for limit in (1, 2, 5, 200):
            pages = await ticket_pages(customer, pack, limit=limit)
            assert [one for page in pages for one in page] == found["tickets"]
    path = f"/v1/ticket-packs/{new_id()}/tickets"
    assert (await customer.client.get(path)).status_code == 404


async def test_tickets_name_the_cases_they_serve(
    customer: Customer, travel: Callable[[date], None]
) -> None:
    pack = await customer.pack(3, days=-10)
    closed, held = await customer.open(channel="phone"), await customer.open(channel="remote")
    await customer.step(closed, "closure", resolution="Done.")
    found = await read(customer, pack)
    counts = [found[state] for state in ("available", "held", "consumed", "expired")]
    assert counts == [1, 1, 1, 0]
    tickets = [(ticket["state"], ticket["case_number"]) for ticket in found["tickets"]]
    assert tickets == [
        ("consumed", closed["number"]),
        ("held", held["number"]),
        ("available", None),
    ]
    travel(date.fromisoformat(pack["expires_on"]))
    found = await read(customer, pack)
    counts = [found[state] for state in ("available", "held", "consumed", "expired")]
    assert counts == [0, 1, 1, 1], "a held ticket stays held"
    assert found["tickets"][2]["state"] == "expired"


async def test_listed_by_what_is_available(
    customer: Customer, travel: Callable[[date], None]
) -> None:
    used, unused = await customer.pack(1, days=-20), await customer.pack(1, days=-10)
    await customer.open(channel="phone")
    lapsed = await customer.pack(1, days=-400)

    async def listed(**query: str) -> list[str]:
        query = {"customer_id": customer.id, **query}
        answer = await made(await customer.client.get(URL, params=query), 200)
        return [item["id"] for item in answer["items"]]

    assert await listed() == [used["id"], unused["id"], lapsed["id"]]
    assert await listed(available="true") == [unused["id"]]
    assert await listed(available="false") == [used["id"], lapsed["id"]]
    expires = date.fromisoformat(unused["expires_on"])
    travel(expires - DAY)
    assert await listed(available="true") == [unused["id"]]
    travel(expires)
    assert await listed(available="true") == []
    answer = await customer.client.get(URL, params={"available": "yes"})
    assert errors(answer) == [("query/available", "not_allowed_value")]
