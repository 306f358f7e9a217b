"""Licences that pass from one customer to another, and serial numbers registered anew (R44)."""

import asyncio
import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests import histories
from tests.api.build import Customer, errors, made, recorded, refused, unique
from tests.conftest import Service

Travel = Callable[[date], None]
DAY = timedelta(days=1)
T0 = date(2026, 3, 10)


@pytest.fixture
async def buyer(client: httpx.AsyncClient, today: date) -> Customer:
    """A second customer with nothing."""
    return await Customer.new(client, today)


async def step(
    customer: Customer, licence: dict[str, Any], what: str, **body: Any
) -> httpx.Response:
    url = f"/v1/licences/{licence['id']}/{what}"
    return await customer.client.post(url, json={"reason": "Sold on.", **body})


async def transfer(
    customer: Customer, licence: dict[str, Any], to: Customer, on: date, **body: Any
) -> httpx.Response:
    return await step(customer, licence, "transfer", to_customer_id=to.id, on=str(on), **body)


async def columns(customer: Customer, day: date) -> list[str]:
    found: list[str] = (await customer.entitlements(at=f"{day}T12:00:00Z"))["columns"]
    return found


async def test_the_one_holds_it_to_the_eve_the_other_from_that_day(
    customer: Customer, buyer: Customer, service: Service
) -> None:
    licence = await customer.licence(days=-100)
    await buyer.licence("runtime", days=-50)
    on = customer.today - 10 * DAY
    tried = await made(await transfer(customer, licence, buyer, on, dry_run=True), 200)
    assert (tried["before"]["columns"], tried["after"]["columns"]) == (["DEV"], ["NO_DEV"])
    other = tried["other"]
    assert (other["before"]["columns"], other["after"]["columns"]) == (["NO_DEV"], ["DEV"])
    assert await customer.get(f"licences/{licence['id']}") == licence
    got = await made(await transfer(customer, licence, buyer, on), 200)
    assert got == licence | {"id": got["id"], "customer_id": buyer.id, "held_from": str(on)}
    kept = await customer.get(f"licences/{licence['id']}")
    assert kept == licence | {"transferred_on": str(on)}
    assert await customer.get(f"licences/{licence['serial_number']}") == got
    for day, was, is_ in ((on - DAY, ["DEV"], ["NO_DEV"]), (on, ["NO_DEV"], ["DEV"])):
        assert (await columns(customer, day), await columns(buyer, day)) == (was, is_)
        found = await customer.client.get(
            "/v1/entitlements",
            params={"serial_number": licence["serial_number"], "at": f"{day}T12:00:00Z"},
        )
        holder = customer if day < on else buyer
        assert found.json()["customer"]["id"] == holder.id
    for one, id_, field in ((customer, licence, "held_until"), (buyer, got, "held_from")):
        ((_, data),) = await recorded(service, one.id, "licence.transferred")
        assert json.loads(data) == {
            "serial_number": licence["serial_number"],
            "reason": "Sold on.",
            "transferred_on": str(on),
            "before": {field: None},
            "after": {field: str(on)},
        }
        assert id_["serial_number"] == licence["serial_number"]


async def test_a_transfer_is_possession_and_no_purchase(
    customer: Customer, buyer: Customer
) -> None:
    """R2, R14, R15: an Editor got by a transfer signs contracts, and brings no hours."""
    licence = await customer.licence(days=-100)
    await made(await transfer(customer, licence, buyer, customer.today), 200)
    answer = await buyer.service("email_support")
    assert [(one["code"], one["facts"]) for one in answer["reasons"][:1]] == [
        ("last_purchase_lapsed", {"last_purchase_on": None, "lapsed_on": None})
    ]
    await buyer.contract(days=0)
    runtime = await buyer.licence("runtime", days=0)
    answer = await buyer.entitlements()
    assert answer["columns"] == ["DEV", "SA"]
    assert [one["kind"] for one in answer["allowances"]] == ["contract"]
    await buyer.end((await buyer.get(f"contracts?customer_id={buyer.id}"))["items"][0], buyer.today)
    answer = await buyer.service("email_support")
    assert (answer["reasons"][0]["code"], answer["reasons"][0]["facts"]) == (
        "no_free_hours",
        {"purchased_on": licence["purchased_on"], "transferred_on": str(buyer.today)},
    )
    assert "buy_editor_licence" in answer["unlocked_by"]
    # A paid upgrade of it is a purchase of the new holder.
    upgraded = {"version": "12", "upgraded_on": str(buyer.today), "paid_by": "purchase"}
    path = f"licences/{licence['serial_number']}/upgrades"
    await buyer.post(path, 201, **upgraded)
    (hours,) = (await buyer.entitlements())["allowances"]
    assert (hours["starts_on"], hours["remaining_minutes"]) == (str(buyer.today), 300)
    assert runtime["kind"] == "runtime"


async def test_open_cases_go_on(customer: Customer, buyer: Customer) -> None:
    licence = await customer.licence(days=-100)
    case = await customer.open()
    await customer.work(case, 50)
    await made(await transfer(customer, licence, buyer, customer.today), 200)
    await customer.work(case, 20)
    assert await customer.minutes(case) == (70, 70, 0)
    refused(await customer.try_open(serial_number=None), "not_entitled")


async def test_it_comes_back_with_its_purchases(customer: Customer, buyer: Customer) -> None:
    licence = await customer.licence(days=-100)
    case = await customer.open()
    await customer.work(case, 50)
    away, back = customer.today - 20 * DAY, customer.today - 5 * DAY
    got = await made(await transfer(customer, licence, buyer, away), 200)
    again = await made(await transfer(buyer, got, customer, back), 200)
    assert again["id"] not in (licence["id"], got["id"])
    (hours,) = (await customer.entitlements())["allowances"]
    assert hours["starts_on"] == licence["purchased_on"]
    assert hours["remaining_minutes"] == 250
    for day, stands in (
        (away - DAY, ["DEV"]),
        (away, ["NO_DEV"]),
        (back - DAY, ["NO_DEV"]),
        (back, ["DEV"]),
    ):
        assert await columns(customer, day) == stands
    history = await customer.get(f"licences/{licence['serial_number']}/history")
    held = [
        (one["customer_id"], one["held_from"], one["held_until"], one["got_by"], one["ended_by"])
        for one in history["holdings"]
    ]
    assert held == [
        (customer.id, licence["purchased_on"], str(away), "purchase", "transfer"),
        (buyer.id, str(away), str(back), "transfer", "transfer"),
        (customer.id, str(back), None, "transfer", None),
    ]
    assert [one["type"] for one in history["steps"]] == [
        "licence.registered",
        *["licence.transferred"] * 4,
    ]


async def test_a_correction_reaches_every_holder(
    customer: Customer, buyer: Customer, service: Service
) -> None:
    licence = await customer.licence(days=-100)
    case = await customer.open()
    await customer.work(case, 50)
    away = customer.today - 20 * DAY
    got = await made(await transfer(customer, licence, buyer, away), 200)
    right = str(customer.today - 90 * DAY)
    late = await step(buyer, got, "correction", purchased_on=str(away))
    assert errors(late) == [("/purchased_on", "wrong_order")]
    await made(await step(buyer, got, "correction", purchased_on=right, product="NExT"), 200)
    for one in (licence, got):
        shown = await customer.get(f"licences/{one['id']}")
        assert (shown["purchased_on"], shown["product"]) == (right, "NExT")
    assert (await customer.case(case["number"]))["paid_by"]["service_year_start"] == right
    for holder in (customer, buyer):
        assert len(await recorded(service, holder.id, "licence.corrected")) == 1
    # The one who no longer holds it corrects nothing.
    refused(await step(customer, licence, "correction", product="Other"), "wrong_state")


@pytest.mark.parametrize("back", [False, True])
async def test_a_dry_run_answers_about_the_holder_first(
    customer: Customer, buyer: Customer, back: bool
) -> None:
    """R40: `before` and `after` are those of the licence's customer, whichever came first."""
    got = await customer.licence(days=-100)
    away = customer.today - 20 * DAY
    got = await made(await transfer(customer, got, buyer, away), 200)
    holder, other = buyer, customer
    if back:
        got = await made(await transfer(buyer, got, customer, away + DAY), 200)
        holder, other = customer, buyer
    right = str(customer.today - 90 * DAY)
    tried = await made(await step(holder, got, "correction", purchased_on=right, dry_run=True), 200)
    for answers, one in ((tried, holder), (tried["other"], other)):
        for name in ("before", "after"):
            assert answers[name]["customer"]["id"] == one.id


async def test_what_a_transfer_refuses(customer: Customer, buyer: Customer) -> None:
    licence = await customer.licence(days=-100)
    upgraded = str(customer.today - 30 * DAY)
    path = f"licences/{licence['id']}/upgrades"
    await customer.post(path, 201, version="12", upgraded_on=upgraded, paid_by="purchase")
    for days, code in ((1, "in_future"), (-30, "wrong_order"), (-100, "wrong_order")):
        answer = await transfer(customer, licence, buyer, customer.today + days * DAY)
        assert errors(answer) == [("/on", code)]
    answer = await transfer(customer, licence, customer, customer.today)
    refused(answer, "already_exists")
    missing = await step(
        customer, licence, "transfer", to_customer_id="C-nobody", on=str(customer.today)
    )
    refused(missing, "customer_not_found", 404)
    got = await made(await transfer(customer, licence, buyer, customer.today - 29 * DAY), 200)
    answer = await transfer(customer, licence, buyer, customer.today)
    assert refused(answer, "wrong_state")["state"] == "transferred"
    for what in ("withdrawal", "upgrades"):
        body = {"withdrawal": {"withdrawn_on": str(customer.today)}, "upgrades": {"version": "13"}}
        fields = body[what] | ({"paid_by": "purchase"} if what == "upgrades" else {"reason": "."})
        url = f"/v1/licences/{licence['id']}/{what}"
        refused(await customer.client.post(url, json=fields), "wrong_state")
    refused(await step(customer, licence, "reinstatement"), "wrong_state")
    await buyer.withdraw(got, customer.today)
    assert refused(await transfer(buyer, got, customer, customer.today), "wrong_state")


# --- registered anew -----------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-1, 0, 5])
@pytest.mark.parametrize("put", [False, True])
async def test_a_withdrawn_licence_is_registered_anew_from_that_day_on(
    customer: Customer, buyer: Customer, days: int, put: bool
) -> None:
    licence = await customer.licence(days=-100)
    withdrawn = customer.today - 10 * DAY
    await customer.withdraw(licence, withdrawn)
    for owner in (buyer, customer):
        body = {name: licence[name] for name in ("kind", "product", "version")}
        body |= {"customer_id": owner.id, "purchased_on": str(withdrawn + days * DAY)}
        number = licence["serial_number"].lower()
        if put:
            answer = await owner.client.put(f"/v1/licences/by-serial/{number}", json=body)
        else:
            answer = await owner.client.post("/v1/licences", json=body | {"serial_number": number})
        if days < 0:
            code = "wrong_state" if put and owner is customer else "already_exists"
            refused(answer, code)
            continue
        new = await made(answer)
        assert new["id"] != licence["id"]
        conflicts = refused(await step(customer, licence, "reinstatement"), "correction_conflicts")
        assert conflicts["conflicts"] == [
            {"kind": "licence", "name": number, "on": body["purchased_on"]}
        ]
        return


async def test_a_put_by_an_earlier_holder_is_refused(customer: Customer, buyer: Customer) -> None:
    licence = await customer.licence(days=-100)
    await made(await transfer(customer, licence, buyer, customer.today - 10 * DAY), 200)
    names = ("kind", "product", "version", "purchased_on")
    body = {name: licence[name] for name in names}
    url = f"/v1/licences/by-serial/{licence['serial_number']}"
    for changes in ({}, {"version": "12"}):
        answer = await customer.client.put(url, json=body | changes | {"customer_id": customer.id})
        assert refused(answer, "already_exists")["field"] == "serial_number"
    # The holder's CRM sends it like any other.
    same = await made(await buyer.client.put(url, json=body | {"customer_id": buyer.id}), 200)
    assert same["held_from"] == str(customer.today - 10 * DAY)


async def test_the_nightly_put_of_a_withdrawn_licence_changes_nothing(customer: Customer) -> None:
    licence = await customer.licence(days=-100)
    await customer.withdraw(licence, customer.today - 100 * DAY)
    names = ("customer_id", "kind", "product", "version", "purchased_on")
    url = f"/v1/licences/by-serial/{licence['serial_number']}"
    answer = await customer.client.put(url, json={name: licence[name] for name in names})
    assert (await made(answer, 200))["id"] == licence["id"]


# --- walls and races -----------------------------------------------------------------------------


async def test_the_database_gives_a_serial_number_one_holder_on_any_day(
    customer: Customer, buyer: Customer, service: Service
) -> None:
    licence = await customer.licence(days=-100)
    insert = """INSERT INTO licences (id, customer_id, serial_number, kind, product, version,
            purchased_on, withdrawn_on, withdrawal_reason, created_at)
        SELECT gen_random_uuid(), $2, upper(serial_number), kind, product, version, $3, $4,
            CASE WHEN $4::date IS NOT NULL THEN 'Sold' END, now()
        FROM licences WHERE id = $1"""
    bought = customer.today - 100 * DAY
    for start, end in ((bought - DAY, None), (bought - DAY, bought + DAY), (bought, None)):
        with pytest.raises(asyncpg.ExclusionViolationError):
            await service.server.run_in(
                service.database_name, insert, licence["id"], buyer.id, start, end
            )
    await service.server.run_in(
        service.database_name, insert, licence["id"], buyer.id, bought - DAY, bought
    )
    other = await customer.licence(serial_number=f"{licence['serial_number']}-2")
    assert other["serial_number"].startswith(licence["serial_number"])


async def test_a_bound_token_reads_its_own_part_of_the_history(
    customer: Customer, buyer: Customer, service: Service
) -> None:
    licence = await customer.licence(days=-100)
    got = await made(await transfer(customer, licence, buyer, customer.today), 200)
    for one, mine, others in ((customer, licence, buyer), (buyer, got, customer)):
        async with await service.client_with("licences:read", customer_id=one.id) as client:
            answer = await client.get(f"/v1/licences/{licence['serial_number']}/history")
            body = await made(answer, 200)
            assert [step["licence_id"] for step in body["holdings"]] == [mine["id"]]
            assert others.id not in answer.text
            hidden = licence if one is buyer else got
            assert (await client.get(f"/v1/licences/{hidden['id']}")).status_code == 404


async def test_transfers_crosswise_beside_openings(client: httpx.AsyncClient, today: date) -> None:
    """Both customers are locked in one order: nobody waits for ever, nothing is lost."""
    one, two = await Customer.new(client, today), await Customer.new(client, today)
    ours = [await one.licence(days=-100) for _ in range(4)]
    theirs = [await two.licence(days=-100) for _ in range(4)]
    answers = await asyncio.gather(
        *(transfer(one, licence, two, today) for licence in ours),
        *(transfer(two, licence, one, today) for licence in theirs),
        *(holder.try_open(serial_number=None) for holder in (one, two) for _ in range(4)),
    )
    assert [answer.status_code for answer in answers[:8]] == [200] * 8
    assert {answer.status_code for answer in answers[8:]} <= {201, 409, 422}
    for customer, own in ((one, theirs), (two, ours)):
        held = (await customer.get(f"licences?customer_id={customer.id}"))["items"]
        serials = {item["serial_number"] for item in held if item["transferred_on"] is None}
        assert serials == {licence["serial_number"] for licence in own}


async def test_one_of_two_transfers_of_a_licence_succeeds(
    client: httpx.AsyncClient, today: date
) -> None:
    one = await Customer.new(client, today)
    others = [await Customer.new(client, today) for _ in range(5)]
    licence = await one.licence(days=-100)
    answers = await asyncio.gather(*(transfer(one, licence, to, today) for to in others))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


# --- wrong, then corrected, equals right at once --------------------------------------------------


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(
    bought=st.integers(2, 700),
    passed=st.integers(1, 700),
    work=st.lists(st.sampled_from((10, 60, 200)), max_size=3),
    late=st.integers(0, 400),
)
async def test_one_who_sold_and_got_back_at_once_is_as_before(
    client: httpx.AsyncClient, bought: int, passed: int, work: list[int], late: int
) -> None:
    """R14, R44: what comes back counts as bought from the start; the other keeps nothing."""
    if passed >= bought:
        return
    seen = []
    for moves in (True, False):
        with histories.at(T0):
            customer, other = await Customer.new(client, T0), await Customer.new(client, T0)
            licence = await customer.licence(days=-bought)
            case = await customer.try_open()
            for minutes in work:
                if case.is_success:
                    await customer.work(case.json(), minutes)
            if moves:
                on = T0 - passed * DAY
                got = await made(await transfer(customer, licence, other, on), 200)
                await made(await transfer(other, got, customer, on + DAY), 200)
        with histories.at(T0 + late * DAY):
            answer = await customer.entitlements()
            usage = await customer.get(f"customers/{customer.id}/usage")
            assert (await other.entitlements())["columns"] == ["NO_DEV"]
        seen.append(
            (
                [answer[name] for name in ("columns", "valid_until", "allowances")],
                [one for one in usage["allowances"] if one["used_minutes"]],
                usage["totals"]["overrun_minutes"],
            )
        )
    assert seen[0] == seen[1]


async def test_a_serial_number_is_free_after_a_correction(customer: Customer) -> None:
    licence = await customer.licence(days=-5)
    number = unique("S")
    await made(await step(customer, licence, "correction", serial_number=number), 200)
    again = await customer.licence(serial_number=licence["serial_number"])
    assert again["id"] != licence["id"]
