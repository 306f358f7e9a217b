"""What a customer was granted, used and has left, at any time (R13, R37, R38)."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from app.routers.usage.schemas import UsageBody
from tests.api.build import Customer, made
from tests.conftest import Service

Travel = Callable[[date], None]
DAY = timedelta(days=1)
NO_CASES = {"opened": 0, "open": 0, "closed": 0, "cancelled": 0}


async def usage(customer: Customer, **query: str) -> dict[str, Any]:
    answer = await customer.client.get(f"/v1/customers/{customer.id}/usage", params=query)
    body = await made(answer, 200)
    UsageBody.model_validate_json(answer.content)
    for one in body["allowances"]:
        if one["kind"] == "ticket_pack":
            parts = (
                one["available"] + one["held"] + one["consumed"] + one["expired"] + one["cancelled"]
            )
            assert parts == one["quantity"]
        else:
            parts = one["used_minutes"] + one["remaining_minutes"] + one["lapsed_minutes"]
            assert parts == one["granted_minutes"]
    return body


async def states(customer: Customer, at: date) -> dict[str, str]:
    body = await usage(customer, at=f"{at}T12:00:00Z")
    return {
        one["number"] or one["kind"]: one["state"] for one in map(_numbered, body["allowances"])
    }


def _numbered(one: dict[str, Any]) -> dict[str, Any]:
    return {"number": None, **one}


async def test_a_customer_without_anything(client: httpx.AsyncClient, today: date) -> None:
    customer = await Customer.new(client, today)
    body = await usage(customer)
    totals = {"worked_minutes": 0, "charged_minutes": 0, "overrun_minutes": 0}
    assert body["allowances"] == []
    assert body["totals"] == {"cases": NO_CASES, **totals}
    assert (body["customer"]["code"], body["on"]) == (customer.code, str(today))


async def test_free_hours_are_there_before_anything_is_charged(
    client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence(days=-30)
    (year,) = (await usage(customer))["allowances"]
    assert year["kind"] == "free_hours"
    assert (year["state"], year["granted_minutes"], year["remaining_minutes"]) == (
        "in_force",
        300,
        300,
    )
    assert year["starts_on"] == str(today - 30 * DAY)


async def test_hours_tickets_and_cases_add_up(client: httpx.AsyncClient, today: date) -> None:
    customer = await Customer.new(client, today)
    await customer.licence()
    contract = await customer.contract(included_minutes=100)
    pack = await customer.pack(3)
    by_contract = await customer.open(pay_with="contract", channel="phone")
    await customer.work(by_contract, 130)
    wrong = await customer.work(by_contract, 20)
    await customer.step(by_contract, f"time-entries/{wrong['id']}/reversal", reason="Wrong.")
    held, closed, cancelled = [await customer.open(pay_with="ticket") for _ in range(3)]
    await customer.work(held, 45)
    await customer.step(closed, "closure", resolution="Solved.")
    await customer.step(cancelled, "cancellation", reason="By mistake.")

    body = await usage(customer)
    assert body["totals"] == {
        "cases": {"opened": 4, "open": 2, "closed": 1, "cancelled": 1},
        "worked_minutes": 175,
        "charged_minutes": 100,
        "overrun_minutes": 30,
    }
    by_kind = {one["kind"]: one for one in body["allowances"]}
    assert by_kind["contract"] == {
        "kind": "contract",
        "id": contract["id"],
        "number": contract["number"],
        "starts_on": contract["starts_on"],
        "ends_on": contract["ends_on"],
        "state": "in_force",
        "granted_minutes": 100,
        "used_minutes": 100,
        "remaining_minutes": 0,
        "lapsed_minutes": 0,
        "overrun_minutes": 30,
    }
    assert by_kind["ticket_pack"] == {
        "kind": "ticket_pack",
        "id": pack["id"],
        "number": pack["number"],
        "starts_on": pack["purchased_on"],
        "ends_on": pack["expires_on"],
        "state": "in_force",
        "quantity": 3,
        "available": 1,
        "held": 1,
        "consumed": 1,
        "expired": 0,
        "cancelled": 0,
    }


async def test_every_state_at_its_first_and_last_day(client: httpx.AsyncClient) -> None:
    first = date(2024, 3, 1)
    customer = await Customer.new(client, first)
    await customer.licence(days=0)
    contract = (await customer.contract(days=10))["number"]
    pack = (await customer.pack(days=10))["number"]
    starts, ends = first + 10 * DAY, date(2025, 3, 11)
    assert await states(customer, first - DAY) == {contract: "upcoming"}
    before = await states(customer, starts - DAY)
    assert before == {"free_hours": "in_force", contract: "upcoming"}
    on_first = await states(customer, starts)
    assert on_first == {"free_hours": "in_force", contract: "in_force", pack: "in_force"}
    last = {contract: "in_force", pack: "in_force"}
    assert await states(customer, ends - DAY) == {"free_hours": "expired", **last}
    after = {contract: "expired", pack: "expired"}
    assert await states(customer, ends) == {"free_hours": "expired", **after}


async def test_what_was_left_lapses_with_the_allowance(client: httpx.AsyncClient) -> None:
    customer = await Customer.new(client, date(2024, 3, 1))
    await customer.licence(days=0)
    await customer.contract(days=0, included_minutes=90)
    await customer.pack(4, days=0)

    async def left(at: date) -> list[tuple[int, int]]:
        names = {"contract": ("remaining_minutes", "lapsed_minutes")}
        found = (await usage(customer, at=f"{at}T12:00:00Z"))["allowances"]
        return [
            tuple(one[name] for name in names.get(one["kind"], ("available", "expired")))
            for one in found
            if one["kind"] != "free_hours"
        ]

    assert await left(date(2025, 2, 28)) == [(90, 0), (4, 0)]
    assert await left(date(2025, 3, 1)) == [(0, 90), (0, 4)]


async def test_an_editor_bought_ends_the_service_year_and_what_was_left(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    first = date(2025, 3, 1)
    travel(first)
    customer = await Customer.new(client, first)
    await customer.licence(days=0)
    await customer.work(await customer.open(), 60)
    travel(first + 20 * DAY)
    await customer.licence(days=20)
    old, new = (await usage(customer))["allowances"]
    assert (old["state"], old["used_minutes"], old["remaining_minutes"]) == ("expired", 60, 0)
    assert old["lapsed_minutes"] == 240
    # R14: the cut shows in its state; its end stays the anniversary.
    assert old["ends_on"] == "2026-03-01"
    assert (new["state"], new["remaining_minutes"]) == ("in_force", 300)
    # Never charged, it was there all the same until the next purchase.
    travel(first + 30 * DAY)
    await customer.licence(days=30)
    years = (await usage(customer))["allowances"]
    assert [(one["state"], one["lapsed_minutes"]) for one in years] == [
        ("expired", 240),
        ("expired", 300),
        ("in_force", 0),
    ]
    then = (await usage(customer, at=f"{first + 19 * DAY}T12:00:00Z"))["allowances"]
    assert [(one["state"], one["remaining_minutes"]) for one in then] == [("in_force", 240)]


async def test_suspended_and_cancelled_contracts(client: httpx.AsyncClient, today: date) -> None:
    customer = await Customer.new(client, today)
    licence = await customer.licence(days=-60)
    suspended = await customer.contract(days=-40)
    cancelled = await customer.contract(days=-40)
    url = f"/v1/contracts/{cancelled['id']}/cancellation"
    body = {"cancelled_on": str(today - 5 * DAY), "reason": "Sold."}
    await made(await client.post(url, json=body), 200)
    url = f"/v1/licences/{licence['id']}/withdrawal"
    body = {"withdrawn_on": str(today - 3 * DAY), "reason": "Sold."}
    await made(await client.post(url, json=body), 200)

    of = {one["number"]: one for one in map(_numbered, (await usage(customer))["allowances"])}
    assert of[suspended["number"]]["state"] == "suspended"
    assert of[suspended["number"]]["remaining_minutes"] == 1200
    assert of[cancelled["number"]]["state"] == "cancelled"
    assert of[cancelled["number"]]["ends_on"] == str(today - 5 * DAY)
    assert of[cancelled["number"]]["lapsed_minutes"] == 1200
    then = await states(customer, today - 6 * DAY)
    assert {then[suspended["number"]], then[cancelled["number"]]} == {"in_force"}


async def test_the_past_counts_work_by_its_day_and_states_by_the_instant(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    first = date(2025, 3, 1)
    travel(first)
    customer = await Customer.new(client, first)
    await customer.licence(days=0)
    await customer.pack(2, days=0)
    case = await customer.open(pay_with="free_hours")
    ticket = await customer.open(pay_with="ticket")
    travel(first + 10 * DAY)
    await customer.work(case, 40, worked_at=f"{first + 2 * DAY}T09:00:00Z")
    await customer.step(ticket, "closure", resolution="Solved.")
    await customer.step(case, "closure", resolution="Solved.")
    await customer.step(case, "reopening", reason="Again.")

    async def at(day: date) -> tuple[Any, ...]:
        body = await usage(customer, at=f"{day}T11:59:59Z")
        totals = body["totals"]
        packs = [one for one in body["allowances"] if one["kind"] == "ticket_pack"]
        minutes = (totals["worked_minutes"], totals["charged_minutes"])
        tickets = [(one["held"], one["consumed"]) for one in packs]
        return minutes, tickets, list(totals["cases"].values())

    assert await at(first) == ((0, 0), [(0, 0)], [0, 0, 0, 0])
    assert await at(first + DAY) == ((0, 0), [(1, 0)], [2, 2, 0, 0])
    # Recorded eight days later, it counts on the day on which it was worked.
    assert await at(first + 2 * DAY) == ((40, 40), [(1, 0)], [2, 2, 0, 0])
    assert await at(first + 10 * DAY) == ((40, 40), [(1, 0)], [2, 2, 0, 0])
    assert await at(first + 11 * DAY) == ((40, 40), [(0, 1)], [2, 1, 1, 0])


async def test_the_future_keeps_todays_balances(client: httpx.AsyncClient, today: date) -> None:
    customer = await Customer.new(client, today)
    await customer.licence()
    contract = await customer.contract()
    await customer.work(await customer.open(pay_with="contract"), 50)
    body = await usage(customer, at=f"{date.fromisoformat(contract['ends_on'])}T12:00:00Z")
    (one,) = (one for one in body["allowances"] if one["kind"] == "contract")
    assert (one["state"], one["used_minutes"], one["lapsed_minutes"]) == ("expired", 50, 1150)
    assert body["totals"]["charged_minutes"] == 50


async def test_only_its_own_by_id_or_code(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    own, other = [await Customer.new(client, today) for _ in range(2)]
    async with await service.client_with("usage:read", customer_id=own.id) as bound:
        for key in (own.id, own.code, own.code.lower()):
            answer = await bound.get(f"/v1/customers/{key}/usage")
            assert answer.json()["customer"]["id"] == own.id
        for path in ("usage", "statement?from=2025-01-01&to=2026-01-01"):
            missing = await bound.get(f"/v1/customers/nobody/{path}")
            for key in (other.id, other.code):
                answer = await bound.get(f"/v1/customers/{key}/{path}")
                assert answer.status_code == 404
                ignored = {"request_id": None}
                assert answer.json() | ignored == missing.json() | ignored


async def test_what_it_takes_and_refuses(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(client, today)
    url = f"/v1/customers/{customer.id}/usage"
    assert (await client.get(f"{url}?on=2026-01-01")).status_code == 422
    assert (await client.get(f"{url}?at=2026-01-01")).status_code == 422
    async with await service.client_with("customers:read") as other:
        refused = await other.get(url)
    assert refused.status_code == 403
    assert 'scope="usage:read"' in refused.headers["WWW-Authenticate"]


async def test_an_unchanged_answer_is_not_sent_again(
    client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence()
    url = f"/v1/customers/{customer.id}/usage"
    tag = (await client.get(url)).headers["ETag"]
    assert tag.startswith("W/")
    assert (await client.get(url, headers={"If-None-Match": tag})).status_code == 304
    await customer.work(await customer.open(), 10)
    assert (await client.get(url, headers={"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize(
    "path", ["usage", "usage?at=2025-06-01T00:00:00Z", "statement?from=2025-01-01&to=2027-01-01"]
)
async def test_however_much_there_is_it_takes_three_statements(
    service: Service, client: httpx.AsyncClient, today: date, path: str
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence()
    for _ in range(3):
        await customer.contract()
        await customer.work(await customer.open(pay_with="contract"), 10)
    sent: list[str] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2])

    engine = service.database.reading.sync_engine
    event.listen(engine, "after_cursor_execute", note)
    try:
        await made(await client.get(f"/v1/customers/{customer.id}/{path}"), 200)
    finally:
        event.remove(engine, "after_cursor_execute", note)
    assert len(sent) == 3
