"""A case that nothing pays for is bound when something can, or by staff (R29)."""

from datetime import timedelta
from typing import Any

import pytest

from tests.api.build import Customer, charges, refused
from tests.api.cases import DAY, Travel, noon


async def _unpaid(customer: Customer, **fields: Any) -> dict[str, Any]:
    """A case opened as a bug that proved none, with 30 minutes of overrun of its own."""
    case = await customer.open(category="bug", **fields)
    await customer.work(case, 30)
    unpaid = await customer.patch(case, category="problem")
    assert (unpaid["paid_by"]["kind"], unpaid["overrun_minutes"]) == ("none", 30)
    return unpaid


async def _bind(customer: Customer, case: dict[str, Any], **body: Any) -> Any:
    return await customer.client.post(f"/v1/cases/{case['id']}/binding", json=body)


async def test_served_on_its_own_channel_while_nothing_pays(customer: Customer) -> None:
    """R29, R11."""
    case = await _unpaid(customer, channel="phone")
    for service, served in (("phone_support", True), ("email_support", False)):
        assert (case["number"] in (await customer.service(service))["continues"]) == served


async def test_the_first_time_entry_that_something_can_pay_binds_it(customer: Customer) -> None:
    """R29: all its time is charged in the order worked."""
    case = await _unpaid(customer)
    await customer.work(case, 5)
    assert await customer.minutes(case) == (35, 0, 35)
    await customer.licence(days=0)
    entry = await customer.work(case, 290, worked_at="2026-03-10T11:00:00Z")
    # The entry was worked first, so that it is charged first; the year has 300 minutes.
    assert charges(entry) == [(str(DAY), 290)]
    assert await customer.minutes(case) == (325, 300, 25)
    shown = await customer.case(case["number"])
    assert shown["paid_by"]["service_year_start"] == str(DAY)
    (year,) = (await customer.entitlements())["allowances"]
    # What nothing pays is that allowance's overrun from now on.
    assert (year["used_minutes"], year["overrun_minutes"]) == (300, 25)
    last = (await customer.timeline(case))[-1]
    assert (last["type"], last["data"]["paid_by"]) == ("time.recorded", "free_hours")


async def test_hours_count_as_of_the_day_worked_and_tickets_as_of_today(
    customer: Customer, travel: Travel
) -> None:
    """R29."""
    case = await _unpaid(customer)
    travel(DAY + timedelta(days=10))
    await customer.licence(purchased_on=str(DAY + timedelta(days=5)))
    # On that day no Editor was held: only a ticket of today could pay, and there is none.
    await customer.work(case, 10, worked_at=noon(DAY + timedelta(days=4)))
    assert await customer.minutes(case) == (40, 0, 40)
    await customer.pack(purchased_on=str(DAY + timedelta(days=8)))
    await customer.work(case, 10, worked_at=noon(DAY + timedelta(days=4)))
    shown = await customer.case(case["number"])
    assert (shown["paid_by"]["kind"], shown["overrun_minutes"]) == ("ticket", 0)
    other = await customer.open(category="bug")
    await customer.patch(other, category="problem")
    assert (await customer.case(other["number"]))["paid_by"]["kind"] == "free_hours"


async def test_a_ticket_ends_its_overrun_and_gives_back_what_was_taken_over(
    customer: Customer,
) -> None:
    """R29, R22."""
    case = await _unpaid(customer, channel="phone")
    await customer.licence(days=-800)
    contract = await customer.contract(included_minutes=20, take_over_overrun=True)
    assert await customer.minutes(case) == (30, 20, 10)
    pack = await customer.pack()
    answer = await _bind(customer, case, pay_with="ticket")
    assert answer.json()["paid_by"]["id"] == pack["id"]
    assert await customer.minutes(case) == (30, 0, 0)
    assert (await customer.get(f"contracts/{contract['id']}"))["used_minutes"] == 0


async def test_what_a_contract_took_over_stays_paid_when_hours_bind_the_case(
    customer: Customer,
) -> None:
    """R29, R24: only what still is overrun is charged."""
    case = await _unpaid(customer, channel="phone")
    await customer.licence(days=-800)
    contract = await customer.contract(included_minutes=20, take_over_overrun=True)
    other = await customer.contract(days=-20, included_minutes=6)
    answer = await _bind(customer, case)
    assert answer.json()["paid_by"]["id"] == other["id"]
    assert await customer.minutes(case) == (30, 26, 4)
    assert (await customer.get(f"contracts/{contract['id']}"))["used_minutes"] == 20
    shown = await customer.get(f"contracts/{other['id']}")
    assert (shown["used_minutes"], shown["overrun_minutes"]) == (6, 4)


@pytest.mark.parametrize("closed", [False, True])
async def test_staff_bind_it_at_once_as_of_today(customer: Customer, closed: bool) -> None:
    """R29: a closed case too, whose ticket is consumed at once."""
    case = await _unpaid(customer)
    if closed:
        await customer.close(case)
    problem = refused(await _bind(customer, case), "not_entitled")
    assert problem["unlocked_by"] == ["buy_editor_licence", "buy_tickets"]
    pack = await customer.pack()
    bound = (await _bind(customer, case)).json()
    assert (bound["paid_by"]["id"], bound["state"]) == (pack["id"], "closed" if closed else "open")
    shown = await customer.get(f"ticket-packs/{pack['id']}")
    assert (shown["held"], shown["consumed"]) == ((0, 1) if closed else (1, 0))
    # R22: it is its first allowance from then on.
    await customer.patch(case, category="bug")
    again = await customer.patch(case, category="problem")
    assert again["paid_by"]["id"] == pack["id"]


async def test_it_gets_the_kind_that_was_asked_for_or_a_refusal(customer: Customer) -> None:
    """R18, R29."""
    case = await _unpaid(customer)
    await customer.licence(days=-30)
    problem = refused(await _bind(customer, case, pay_with="ticket"), "not_entitled")
    assert [reason["code"] for reason in problem["reasons"]] == ["no_tickets"]
    await customer.pack()
    bound = (await _bind(customer, case, pay_with="ticket")).json()
    assert bound["paid_by"]["kind"] == "ticket"


async def test_only_a_case_that_nothing_pays_for_is_bound(customer: Customer) -> None:
    """R29: names both states."""
    bug = await customer.open(category="bug")
    cancelled = await customer.open(category="bug")
    await customer.patch(cancelled, category="problem")
    await customer.cancel(cancelled)
    await customer.pack()
    bound = await customer.open()
    for case, state in ((bug, "bug"), (bound, "bound"), (cancelled, "cancelled")):
        problem = refused(await _bind(customer, case), "wrong_state")
        assert (problem["state"], problem["wanted_state"]) == (state, "bound")
