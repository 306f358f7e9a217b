"""What pays for a new case, and why nothing does (R15, R16, R18, R19)."""

from datetime import timedelta
from typing import Any

import pytest

from tests.api.build import Customer
from tests.api.cases import DAY, Travel


def reasons(refusal: dict[str, Any]) -> set[str]:
    assert refusal["code"] == "not_entitled"
    return {f"{reason['column']}:{reason['code']}" for reason in refusal["reasons"]}


async def test_narrowest_first(customer: Customer) -> None:
    """R18: free hours where they cover the channel, then contracts, then tickets."""
    await customer.licence(days=-30)
    contract = await customer.contract()
    pack = await customer.pack()
    paid_by = (await customer.open())["paid_by"]
    year = str(DAY - timedelta(days=30))
    assert paid_by == {
        "kind": "free_hours",
        "id": None,
        "number": None,
        "service_year_start": year,
    }
    for channel in ("phone", "remote"):
        paid_by = (await customer.open(channel=channel))["paid_by"]
        assert (paid_by["kind"], paid_by["number"]) == ("contract", contract["number"])
    assert (await customer.get(f"ticket-packs/{pack['id']}"))["held"] == 0


async def test_a_spent_allowance_is_passed_over(customer: Customer) -> None:
    """R18, R21: exhaustion refuses new cases, the next in order takes them."""
    await customer.licence(days=-30)
    contract = await customer.contract(included_minutes=60)
    pack = await customer.pack(quantity=2)
    first = await customer.open()
    await customer.work(first, 300)
    second = await customer.open()
    assert second["paid_by"]["number"] == contract["number"]
    await customer.work(second, 60)
    third = await customer.open()
    assert third["paid_by"] == {
        "kind": "ticket",
        "id": pack["id"],
        "number": pack["number"],
        "service_year_start": None,
    }


async def test_among_contracts_what_ends_first_pays_first(holder: Customer) -> None:
    """R18: a cancelled one ends when the cancellation takes effect; ties by start, then id."""
    await holder.contract(days=-10)
    first = await holder.contract(days=-20)
    assert (await holder.open())["paid_by"]["number"] == first["number"]
    # Signed after both, it starts with the later one and ends before either.
    cut = await holder.contract(days=-10)
    await holder.end(cut, DAY + timedelta(days=30))
    assert (await holder.open())["paid_by"]["number"] == cut["number"]


async def test_ties_are_broken_by_start_then_id(holder: Customer) -> None:
    """R18."""
    later = await holder.contract(days=-10)
    await holder.contract(days=-10)
    assert (await holder.open())["paid_by"]["number"] == later["number"]
    earlier = await holder.contract(days=-20)
    await holder.end(earlier, DAY + timedelta(days=200))
    await holder.end(later, DAY + timedelta(days=200))
    assert (await holder.open())["paid_by"]["number"] == earlier["number"]


async def test_tickets_by_expiry_then_id_then_position(customer: Customer) -> None:
    """R18, R16: without an Editor too, on every channel."""
    newer = await customer.pack(quantity=1, days=-5)
    older = await customer.pack(quantity=2, days=-50)
    twin = await customer.pack(quantity=1, days=-5)
    opened = [await customer.open(channel=c) for c in ("email", "phone", "remote", "email")]
    packs = [case["paid_by"]["number"] for case in opened]
    assert packs == [older["number"], older["number"], newer["number"], twin["number"]]
    tickets = (await customer.get(f"ticket-packs/{older['id']}"))["tickets"]
    assert [ticket["case_number"] for ticket in tickets] == [c["number"] for c in opened[:2]]
    # A freed position is taken again before a later one.
    await customer.cancel(opened[0])
    again = await customer.open()
    tickets = (await customer.get(f"ticket-packs/{older['id']}"))["tickets"]
    assert tickets[0]["case_number"] == again["number"]


@pytest.mark.parametrize("kind", ["free_hours", "contract", "ticket"])
async def test_another_kind_by_name(customer: Customer, kind: str) -> None:
    """R18."""
    await customer.licence(days=-30)
    await customer.contract()
    await customer.pack()
    assert (await customer.open(pay_with=kind))["paid_by"]["kind"] == kind


async def test_a_kind_that_cannot_pay_is_refused(customer: Customer) -> None:
    """R18: with that kind's reasons alone, whatever else could pay."""
    await customer.licence(days=-30)
    await customer.pack()
    for kind, channel, wanted in (
        ("contract", "email", {"SA:no_contract_in_force"}),
        ("free_hours", "phone", {"DEV:not_in_matrix"}),
    ):
        answer = await customer.try_open(pay_with=kind, channel=channel)
        assert answer.status_code == 409
        assert reasons(answer.json()) == wanted
    await customer.open(pay_with="ticket")
    answer = await customer.try_open(pay_with="ticket")
    assert reasons(answer.json()) == {"TCK:tickets_all_in_use"}
    assert answer.json()["unlocked_by"] == ["buy_tickets"]


async def test_what_nothing_pays_for_is_refused_as_the_entitlement_answer_says(
    customer: Customer,
) -> None:
    """R18, R12: every reason, and every step that would open it."""
    await customer.licence("runtime", days=-30)
    answer = await customer.try_open(channel="phone")
    assert answer.status_code == 409
    shown = await customer.service("phone_support")
    for field in ("reasons", "unlocked_by", "sales_contact"):
        assert answer.json()[field] == shown[field]
    assert shown["reasons"]


async def test_the_binding_is_frozen(holder: Customer) -> None:
    """R18: no later purchase moves a case or its charges."""
    await holder.contract(included_minutes=100)
    case = await holder.open()
    await holder.work(case, 40)
    # Each would have come first at the opening.
    other = await holder.contract(days=-300, included_minutes=100)
    await holder.licence(days=0)
    entry = await holder.work(case, 20)
    assert (await holder.case(case["number"]))["paid_by"] == case["paid_by"]
    assert [c["allowance"]["number"] for c in entry["charges"]] == [case["paid_by"]["number"]]
    assert (await holder.get(f"contracts/{other['id']}"))["used_minutes"] == 0


async def test_a_ticket_pays_whatever_time_it_takes(customer: Customer) -> None:
    """R16: minutes are recorded as worked, none is charged, and no hours are drawn beside it."""
    await customer.licence(days=-30)
    contract = await customer.contract()
    await customer.pack()
    case = await customer.open(pay_with="ticket")
    entry = await customer.work(case, 1440)
    assert (entry["charges"], entry["overrun_minutes"]) == ([], 0)
    case = await customer.case(case["number"])
    assert (case["worked_minutes"], case["charged_minutes"], case["overrun_minutes"]) == (
        1440,
        0,
        0,
    )
    assert (await customer.get(f"contracts/{contract['id']}"))["used_minutes"] == 0


async def test_a_ticket_of_twelve_months_ago_pays_for_no_new_case(customer: Customer) -> None:
    """R16, R5: valid through the day before the anniversary."""
    await customer.pack(purchased_on="2025-03-11")
    await customer.pack(purchased_on="2025-03-10")
    assert (await customer.open())["paid_by"]["kind"] == "ticket"
    refused = await customer.try_open()
    assert reasons(refused.json()) >= {"TCK:tickets_all_in_use"}


async def test_a_contract_pays_on_its_first_and_last_day(holder: Customer, travel: Travel) -> None:
    """R15, R18: half-open, twelve months."""
    contract = await holder.contract(days=0)
    first, after = DAY, DAY.replace(year=DAY.year + 1)
    for day, opens in (
        (first - timedelta(days=1), False),
        (first, True),
        (after - timedelta(days=1), True),
        (after, False),
    ):
        travel(day)
        answer = await holder.try_open(channel="phone")
        assert answer.status_code == (201 if opens else 409), day
    assert contract["included_minutes"] == 1200
