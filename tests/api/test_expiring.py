"""`GET /v1/usage/expiring`: what ends soon, is nearly spent, or is over."""

import csv
import io
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from tests.api.build import Customer, errors, made
from tests.conftest import Service, follow_all

Travel = Callable[[date], None]
T0 = date(2026, 3, 10)


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """The whole list, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = await made(await client.get("/v1/usage/expiring", params=query), 200)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def of(customer: Customer, **query: Any) -> list[tuple[Any, ...]]:
    """Kind, days left, why, step of each of a customer's allowances that are listed."""
    items = await listed(customer.client, customer_id=customer.id, **query)
    return [(one["kind"], one["days_left"], one["why"], one["step"]) for one in items]


@pytest.fixture
async def holder(client: httpx.AsyncClient, travel: Travel) -> Customer:
    travel(T0)
    customer = await Customer.new(client, T0)
    await customer.licence(days=0)
    return customer


async def test_what_ends(service: Service, holder: Customer, travel: Travel) -> None:
    contract = await holder.contract(days=0)
    await follow_all(service)
    assert await of(holder) == []
    for days, listed_ in ((31, False), (30, True), (1, True), (0, False)):
        travel(date(2027, 3, 10) - timedelta(days=days))
        await follow_all(service)
        expected = [
            ("contract", days, ["ending"], "renew_contract"),
            ("free_hours", days, ["ending"], "buy_any_licence"),
        ]
        assert sorted(await of(holder)) == (expected if listed_ else [])
        assert await of(holder, within_days=days + 400, kind="ticket_pack") == []
    travel(date(2027, 3, 1))
    (one,) = await listed(holder.client, customer_id=holder.code, kind="contract")
    assert one == {
        "customer": {"id": holder.id, "code": holder.code, "name": f"Customer {holder.code}"},
        "kind": "contract",
        "id": contract["id"],
        "number": contract["number"],
        "starts_on": "2026-03-10",
        "ends_on": "2027-03-10",
        "days_left": 9,
        "granted": 1200,
        "used": 0,
        "held": 0,
        "left": 1200,
        "used_percent": 0,
        "overrun_minutes": 0,
        "why": ["ending"],
        "renewed_by": None,
        "step": "renew_contract",
        "announced": {"episode": 1, "ending": [60, 30, 7], "used": []},
    }


async def test_what_is_spent_and_over(service: Service, holder: Customer) -> None:
    await holder.contract(days=0, included_minutes=100)
    case = await holder.open(pay_with="contract", channel="phone")
    steps: list[tuple[int, list[Any]]] = [
        (74, []),
        (1, [("contract", 365, ["nearly_spent"], "renew_contract")]),
        (24, [("contract", 365, ["nearly_spent"], "renew_contract")]),
        (1, [("contract", 365, ["spent"], "renew_contract")]),
        (1, [("contract", 365, ["spent", "overrun"], "renew_contract")]),
    ]
    for minutes, expected in steps:
        await holder.work(case, minutes)
        await follow_all(service)
        assert await of(holder) == expected
    assert await of(holder, used_percent=100) == steps[-1][1]
    (one,) = await listed(holder.client, customer_id=holder.id)
    assert one["overrun_minutes"] == 1
    assert one["announced"] == {"episode": 1, "ending": [], "used": [75, 90, 100]}


async def test_overrun_of_what_has_ended(
    service: Service, holder: Customer, travel: Travel
) -> None:
    contract = await holder.contract(days=0, included_minutes=100)
    case = await holder.open(pay_with="contract", channel="phone")
    await holder.work(case, 130)
    travel(date(2027, 3, 10))
    await follow_all(service)
    found = await of(holder, kind="contract")
    # The Editor is held, so that it can still be renewed, and its successor takes the overrun over.
    assert found == [("contract", 0, ["overrun"], "renew_contract")]
    successor = await holder.renew(contract, "at_end", take_over_overrun=True)
    await follow_all(service)
    assert await of(holder, kind="contract") == []
    assert successor["used_minutes"] == 30


async def test_what_is_renewed(service: Service, holder: Customer, travel: Travel) -> None:
    contract = await holder.contract(days=0)
    first = await holder.pack(2, days=0)
    travel(date(2027, 3, 1))
    successor = await holder.renew(contract, "at_end")
    another = await holder.pack(1, days=350)
    await holder.licence("runtime", days=350)
    await follow_all(service)
    renewed = await listed(holder.client, customer_id=holder.id, renewed="true")
    assert {one["kind"]: (one["step"], one["renewed_by"]) for one in renewed} == {
        "contract": (
            None,
            {"id": successor["id"], "number": successor["number"], "service_year_start": None},
        ),
        "ticket_pack": (
            None,
            {"id": another["id"], "number": another["number"], "service_year_start": None},
        ),
        "free_hours": (
            None,
            {"id": None, "number": None, "service_year_start": "2027-03-10"},
        ),
    }
    assert {one["id"] for one in renewed} == {contract["id"], first["id"], None}
    assert await of(holder, renewed="false") == []


async def test_steps(service: Service, holder: Customer, travel: Travel) -> None:
    case = await holder.open()
    await holder.work(case, 300)
    await follow_all(service)
    # Another Editor of today would not begin another year.
    assert await of(holder) == [("free_hours", 365, ["spent"], None)]
    travel(T0 + timedelta(days=1))
    assert await of(holder) == [("free_hours", 364, ["spent"], "buy_editor_licence")]
    await holder.pack(1, days=1)
    await holder.open(pay_with="ticket")
    await follow_all(service)
    assert await of(holder, kind="ticket_pack") == [("ticket_pack", 365, ["spent"], "buy_tickets")]
    await holder.contract(days=1)
    licence = (await holder.get(f"licences?customer_id={holder.id}"))["items"][0]
    await holder.withdraw(licence, T0 + timedelta(days=1))
    await follow_all(service)
    assert ("contract", 365, ["ending"], "buy_editor_licence") in await of(holder, within_days=365)


async def test_in_order_page_by_page(service: Service, holder: Customer, travel: Travel) -> None:
    for day in range(3):
        other = await Customer.new(holder.client, T0)
        await other.licence(days=-day)
        await other.contract(days=-day)
        await other.pack(1, days=0)
    travel(date(2027, 3, 4))
    await follow_all(service)
    whole = await listed(holder.client, limit=200)
    keys = [(one["ends_on"], one["customer"]["id"]) for one in whole]
    assert keys == sorted(keys)
    assert len(whole) >= 10
    assert await listed(holder.client, limit=1) == whole
    assert await listed(holder.client, limit=3) == whole
    for kind in ("contract", "free_hours", "ticket_pack"):
        expected = [one for one in whole if one["kind"] == kind]
        assert await listed(holder.client, limit=2, kind=kind) == expected
    mine = [one for one in whole if one["customer"]["id"] == holder.id]
    assert await listed(holder.client, limit=2, customer_id=holder.id) == mine


async def test_an_entity_tag(service: Service, holder: Customer) -> None:
    await follow_all(service)
    first = await holder.client.get("/v1/usage/expiring")
    again = {"If-None-Match": first.headers["ETag"]}
    assert (await holder.client.get("/v1/usage/expiring", headers=again)).status_code == 304
    await holder.work(await holder.open(), 300)
    await follow_all(service)
    assert (await holder.client.get("/v1/usage/expiring", headers=again)).status_code == 200


async def test_as_a_table(service: Service, holder: Customer) -> None:
    await holder.work(await holder.open(), 310)
    await follow_all(service)
    query = {"customer_id": holder.id, "format": "csv"}
    answer = await holder.client.get("/v1/usage/expiring", params=query)
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["customer_code"] == holder.code
    assert row["why"] == "spent overrun"
    assert row["overrun_minutes"] == "10"
    assert row["allowance_ends_on"] == "2027-03-10"
    query["format"] = "xlsx"
    answer = await holder.client.get("/v1/usage/expiring", params=query)
    assert answer.content[:2] == b"PK"


async def test_a_bound_token_sees_its_own(service: Service, holder: Customer) -> None:
    stranger = await Customer.new(holder.client, T0)
    await stranger.licence(days=0)
    for customer in (holder, stranger):
        await customer.work(await customer.open(), 300)
    await follow_all(service)
    async with await service.client_with("usage:read", customer_id=holder.id) as bound:
        assert {one["customer"]["id"] for one in await listed(bound)} == {holder.id}
        assert await listed(bound, customer_id=stranger.id) == []
        assert await listed(bound, customer_id=holder.id) == await listed(bound)
    assert await listed(holder.client, customer_id="C-NOBODY") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"used_percent": "49"}, "too_small"),
        ({"used_percent": "101"}, "too_large"),
        ({"within_days": "-1"}, None),
        ({"kind": "licence"}, None),
        ({"cursor": "abc"}, "bad_cursor"),
        ({"threshold": "1"}, "unknown_parameter"),
    ],
)
async def test_refused(client: httpx.AsyncClient, query: dict[str, str], code: str | None) -> None:
    answer = await client.get("/v1/usage/expiring", params=query)
    assert answer.status_code == 422
    ((pointer, found),) = errors(answer)
    assert pointer == f"query/{next(iter(query))}"
    assert code in (None, found)
