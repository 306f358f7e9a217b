"""Suspended, cancelled and renewed contracts, and the cases they pay for (R4, R20, R21, R24)."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.policy.civil import add_months
from app.store.tables import ledger
from tests.api.build import Customer, charges
from tests.api.cases import DAY, Travel, noon
from tests.conftest import Service


async def test_cases_bound_before_a_withdrawal_go_on_drawing(customer: Customer) -> None:
    """R20: suspension, and withdrawal of the last Editor, stop new cases only."""
    licence = await customer.licence(days=-30)
    contract = await customer.contract()
    by_mail, by_phone = await customer.open(), await customer.open(channel="phone")
    await customer.withdraw(licence, DAY)
    for channel in ("email", "phone"):
        answer = await customer.try_open(channel=channel, serial_number=None)
        assert answer.status_code == 409
    assert charges(await customer.work(by_mail, 30)) == [("2026-02-08", 30)]
    assert charges(await customer.work(by_phone, 30)) == [(contract["number"], 30)]
    (shown,) = (await customer.entitlements())["allowances"]
    assert (shown["kind"], shown["suspended"], shown["used_minutes"]) == ("contract", True, 30)


async def test_a_withdrawal_moves_no_charge(customer: Customer) -> None:
    """R4, R20: dated before the work as well."""
    licence = await customer.licence(days=-30)
    contract = await customer.contract()
    case = await customer.open(channel="phone")
    entry = await customer.work(case, 30)
    await customer.withdraw(licence, DAY - timedelta(days=20))
    assert await customer.entry(entry) == entry
    assert (await customer.get(f"contracts/{contract['id']}"))["used_minutes"] == 30


async def test_a_cancelled_contract_pays_until_its_cancellation(
    holder: Customer, travel: Travel
) -> None:
    """R20: on `cancelled_on` itself no more; R21 goes on from there."""
    contract = await holder.contract(days=0)
    other = await holder.contract(days=0)
    ends = DAY + timedelta(days=10)
    await holder.end(contract, ends)
    case = await holder.open()
    assert case["paid_by"]["number"] == contract["number"]
    shown = next(
        one
        for one in (await holder.entitlements())["allowances"]
        if one["number"] == contract["number"]
    )
    assert shown["ends_on"] == str(ends)
    travel(ends + timedelta(days=5))
    before = await holder.work(case, 10, worked_at=noon(ends - timedelta(days=1)))
    after = await holder.work(case, 10, worked_at=noon(ends))
    assert charges(before) == [(contract["number"], 10)]
    assert charges(after) == [(other["number"], 10)]


async def test_a_cancellation_after_overrun_is_no_later_charge(
    holder: Customer, travel: Travel
) -> None:
    """R4: only charges dated on or after it refuse it; overrun and reversed work do not."""
    contract = await holder.contract(days=0, included_minutes=20)
    case = await holder.open()
    await holder.work(case, 20)
    travel(DAY + timedelta(days=2))
    await holder.work(case, 30)
    refused = await holder.end(contract, DAY, 409)
    assert refused["code"] == "contract_has_later_charges"
    assert (await holder.end(contract, DAY + timedelta(days=1)))["state"] == "cancelled"


# --- renewal ----------------------------------------------------------------------------------


async def _overrun(holder: Customer, **terms: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A contract of 100 minutes with two cases' overrun, the older one recorded last."""
    contract = await holder.contract(included_minutes=100, **terms)
    case, other = await holder.open(), await holder.open()
    young = await holder.work(case, 140, worked_at="2026-03-10T11:00:00Z")
    old = await holder.work(other, 30, worked_at="2026-03-10T08:00:00Z")
    assert (young["overrun_minutes"], old["overrun_minutes"]) == (40, 30)
    return contract, [old, young]


async def test_renewed_today_both_are_in_force_in_order(holder: Customer) -> None:
    """R24, R18: no charge moves by itself."""
    contract, (old, young) = await _overrun(holder)
    successor = await holder.renew(contract, "today")
    assert (successor["starts_on"], successor["used_minutes"]) == (str(DAY), 0)
    assert [await holder.entry(one) for one in (old, young)] == [old, young]
    case = await holder.open()
    assert case["paid_by"]["number"] == successor["number"]
    entry = await holder.work({"id": old["case_id"]}, 10)
    assert charges(entry) == [(successor["number"], 10)]


async def test_a_successor_at_the_end_pays_from_then(holder: Customer, travel: Travel) -> None:
    """R24: even if that is past."""
    contract = await holder.contract(days=0)
    ends = add_months(DAY, 12)
    travel(ends + timedelta(days=30))
    successor = await holder.renew(contract, "at_end")
    assert (successor["starts_on"], successor["state"]) == (str(ends), "in_force")
    assert (await holder.open())["paid_by"]["number"] == successor["number"]


async def test_overrun_is_taken_over_oldest_first_up_to_its_own_minutes(
    holder: Customer,
) -> None:
    """R24: dated the successor's first day; the rest stays."""
    contract, (old, young) = await _overrun(holder)
    case = await holder.open(category="bug")
    await holder.work({"id": old["case_id"]}, 1180, worked_at="2026-03-10T11:30:00Z")
    successor = await holder.renew(contract, "today", take_over_overrun=True)
    assert (successor["included_minutes"], successor["remaining_minutes"]) == (1200, 0)
    old, young = await holder.entry(old), await holder.entry(young)
    assert charges(old) == [(successor["number"], 30)]
    assert charges(young) == [(contract["number"], 100), (successor["number"], 40)]
    shown = await holder.get(f"contracts/{contract['id']}")
    assert (shown["used_minutes"], shown["overrun_minutes"]) == (100, 50)
    assert (await holder.case(case["number"]))["charged_minutes"] == 0


@pytest.mark.parametrize("starts", ["today", "at_end"])
async def test_what_is_taken_over_counts_on_the_successors_first_day(
    holder: Customer, service: Service, travel: Travel, starts: str
) -> None:
    """R24: not on the days of the work, which lie outside the successor."""
    contract, _ = await _overrun(holder, days=0)
    travel(DAY + timedelta(days=50))
    successor = await holder.renew(contract, starts, take_over_overrun=True)
    first = add_months(DAY, 12) if starts == "at_end" else DAY + timedelta(days=50)
    assert (successor["starts_on"], successor["used_minutes"]) == (str(first), 70)
    async with service.database.reading.connect() as connection:
        query = select(ledger.c.counts_on).where(ledger.c.allowance_id == successor["id"])
        assert set((await connection.execute(query)).scalars()) == {first}


async def test_a_cancelled_successor_gives_back_and_frees_its_predecessor(
    holder: Customer, travel: Travel
) -> None:
    """R24: overrun again, and renewable again, once."""
    contract, entries = await _overrun(holder)
    successor = await holder.renew(contract, "today", take_over_overrun=True)
    assert (await holder.renew(contract, "today", 409))["code"] == "already_renewed"
    await holder.end(successor, DAY)
    shown = await holder.get(f"contracts/{contract['id']}")
    assert (shown["used_minutes"], shown["overrun_minutes"]) == (100, 70)
    shown = await holder.get(f"contracts/{successor['id']}")
    assert (shown["used_minutes"], shown["state"]) == (0, "cancelled")
    for entry in entries:
        again = await holder.entry(entry)
        assert (charges(again), again["overrun_minutes"]) == (
            charges(entry),
            entry["overrun_minutes"],
        )
    third = await holder.renew(contract, "today", take_over_overrun=True)
    assert third["used_minutes"] == 70
    assert (await holder.renew(successor, "today", 409))["code"] == "wrong_state"


async def test_a_successor_that_paid_for_work_is_not_cancelled_before_it(
    holder: Customer,
) -> None:
    """R4, R24: refused, and what it took over stays where it is."""
    contract, _ = await _overrun(holder)
    successor = await holder.renew(contract, "today", take_over_overrun=True)
    await holder.work(await holder.open(), 10)
    assert (await holder.end(successor, DAY, 409))["code"] == "contract_has_later_charges"
    shown = await holder.get(f"contracts/{successor['id']}")
    assert (shown["used_minutes"], shown["cancelled_on"]) == (80, None)
    # Cancelled later than on its first day it keeps what it paid, its predecessor stays renewed.
    await holder.end(successor, DAY + timedelta(days=1))
    shown = await holder.get(f"contracts/{contract['id']}")
    assert shown["overrun_minutes"] == 0
    shown = await holder.get(f"contracts/{successor['id']}")
    assert (shown["used_minutes"], shown["cancelled_on"]) == (80, str(DAY + timedelta(days=1)))
    assert (await holder.renew(contract, "today", 409))["code"] == "already_renewed"
    assert "renew_contract" not in (await holder.service("priority_support"))["unlocked_by"]


@pytest.mark.parametrize(("days", "status"), [(-1, 201), (0, 409), (1, 409)])
async def test_a_renewal_whose_term_is_over_already_is_refused(
    holder: Customer, travel: Travel, days: int, status: int
) -> None:
    """R24: on the day on which it would end, and later; the day before it is not."""
    contract = await holder.contract(days=0)
    travel(add_months(DAY, 24) + timedelta(days=days))
    answer = await holder.renew(contract, "at_end", status)
    if status == 409:
        assert answer["code"] == "term_over"
        assert (await holder.renew(contract, "today"))["state"] == "in_force"


async def test_a_new_contract_takes_over_all_but_another_contracts_overrun(
    customer: Customer, travel: Travel
) -> None:
    """R24: that of free hours and of unpaid cases, oldest first, up to its own minutes."""
    await customer.licence(days=-30)
    by_hours, unpaid = await customer.open(), await customer.open(category="bug", channel="phone")
    old = await customer.work(unpaid, 60, worked_at="2026-03-10T08:00:00Z")
    young = await customer.work(by_hours, 340, worked_at="2026-03-10T09:00:00Z")
    other = await customer.contract(included_minutes=10)
    by_contract = await customer.open(channel="phone")
    left = await customer.work(by_contract, 30)
    await customer.patch(unpaid, category="problem")
    assert (await customer.case(unpaid["number"]))["paid_by"]["kind"] == "none"
    contract = await customer.contract(days=0, included_minutes=80, take_over_overrun=True)
    assert contract["used_minutes"] == 80
    assert charges(await customer.entry(old)) == [(contract["number"], 60)]
    assert charges(await customer.entry(young)) == [("2026-02-08", 300), (contract["number"], 20)]
    assert (await customer.entry(young))["overrun_minutes"] == 20
    assert (await customer.entry(left))["overrun_minutes"] == 20
    assert (await customer.case(unpaid["number"]))["paid_by"]["kind"] == "none"
    # As of its first day it never was: all of it comes back to where it came from.
    await customer.end(contract, DAY)
    assert [(await customer.minutes(case)) for case in (by_hours, unpaid)] == [
        (340, 300, 40),
        (60, 0, 60),
    ]
    assert (await customer.get(f"contracts/{other['id']}"))["overrun_minutes"] == 20


@pytest.mark.parametrize("take", [False, True])
async def test_a_new_contract_takes_over_on_request_alone(customer: Customer, take: bool) -> None:
    """R24."""
    await customer.licence(days=-30)
    await customer.work(await customer.open(), 310)
    contract = await customer.contract(take_over_overrun=take)
    assert contract["used_minutes"] == (10 if take else 0)


async def test_renewal_is_not_offered_for_a_cancelled_contract(holder: Customer) -> None:
    """R24, R12: a spent contract with a cancellation to come asks for a new one."""
    contract = await holder.contract(included_minutes=10)
    await holder.work(await holder.open(channel="phone"), 10)
    assert "renew_contract" in (await holder.service("phone_support"))["unlocked_by"]
    await holder.end(contract, DAY + timedelta(days=10))
    shown = (await holder.service("phone_support"))["unlocked_by"]
    assert shown == ["sign_contract", "buy_tickets"]
