"""What pays for a new case, and why nothing does (R15, R16, R18, R19, R23, R27, R28)."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.api.build import Customer, unique
from tests.api.cases import DAY, Travel
from tests.conftest import Service


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


async def test_the_binding_is_frozen(customer: Customer) -> None:
    """R18: no later purchase moves a case or its charges."""
    await customer.licence(days=-30)
    await customer.contract(included_minutes=100)
    case = await customer.open(channel="phone")
    await customer.work(case, 40)
    other = await customer.contract(days=-300, included_minutes=100)
    await customer.pack()
    entry = await customer.work(case, 20)
    assert (await customer.case(case["number"]))["paid_by"] == case["paid_by"]
    assert [c["allowance"]["number"] for c in entry["charges"]] == [case["paid_by"]["number"]]
    assert (await customer.get(f"contracts/{other['id']}"))["used_minutes"] == 0


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


# --- bugs and training ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "channels"),
    [
        ("development", {"email"}),
        ("spent hours", {"email"}),
        ("spent contract", {"email", "phone", "remote"}),
        ("held ticket", {"email", "phone", "remote"}),
        ("nothing", set()),
        ("suspended contract", set()),
    ],
)
async def test_staff_open_bugs_where_a_column_grants_the_channel(
    customer: Customer, given: str, channels: set[str]
) -> None:
    """R23: whatever is left; nothing pays and nothing is held."""
    match given:
        case "development" | "spent hours":
            await customer.licence(days=-30)
            if given == "spent hours":
                await customer.work(await customer.open(), 300)
        case "spent contract":
            await customer.licence(days=-800)
            await customer.contract(included_minutes=10)
            await customer.work(await customer.open(), 10)
        case "held ticket":
            await customer.pack()
            await customer.open()
        case "suspended contract":
            licence = await customer.licence(days=-800)
            await customer.contract()
            await customer.withdraw(licence, DAY)
            customer.serials.clear()
    for channel in ("email", "phone", "remote"):
        answer = await customer.try_open(category="bug", channel=channel)
        assert answer.status_code == (201 if channel in channels else 409), channel
        if answer.status_code == 201:
            assert answer.json()["category"] == "bug"
            assert answer.json()["paid_by"]["kind"] == "none"
            service = {"email": "email_support", "phone": "phone_support"}.get(channel)
            assert (
                answer.json()["number"]
                in (await customer.service(service or "remote_access"))["continues"]
            )


async def test_a_bug_of_others_is_a_problem_that_is_paid_for(
    customer: Customer, service: Service
) -> None:
    """R23: finding it a bug is for staff."""
    await customer.pack()
    async with await service.client_with("cases:write", customer_id=customer.id) as theirs:
        answer = await theirs.post(
            "/v1/cases",
            json={
                "requester": {"name": "Plant engineer"},
                "subject": "A bug, surely",
                "description": "It must be one.",
                "category": "bug",
            },
        )
    assert answer.status_code == 201, answer.text
    assert answer.json()["category"] == "problem"
    assert answer.json()["paid_by"]["kind"] == "ticket"


async def test_training_is_refused_with_its_own_reason(customer: Customer) -> None:
    """R28: whatever is left to pay with; nothing is opened."""
    await customer.pack()
    answer = await customer.try_open(category="training")
    assert (answer.status_code, answer.json()["code"]) == (422, "training_not_covered")
    assert (await customer.get(f"cases?customer_id={customer.id}"))["items"] == []
    for category in ("question", "problem"):
        answer = await customer.try_open(category=category)
        assert answer.status_code == (201 if category == "question" else 409)


# --- serial numbers ---------------------------------------------------------------------------


async def test_a_holder_of_an_editor_names_a_licence_of_its_own(
    customer: Customer, client: httpx.AsyncClient
) -> None:
    """R27: any licence of its own that is not withdrawn, whatever the serial number's case."""
    await customer.licence(days=-30)
    runtime = await customer.licence("runtime", days=-30)
    gone = await customer.licence("runtime", days=-30)
    await customer.withdraw(gone, DAY)
    other = await Customer.new(client, DAY)
    theirs = await other.licence(days=-30)
    for serial, code in (
        (None, "serial_number_required"),
        (unique("S"), "serial_number_not_of_customer"),
        (theirs["serial_number"], "serial_number_not_of_customer"),
        (gone["serial_number"], "serial_number_not_of_customer"),
    ):
        answer = await customer.try_open(serial_number=serial)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    for serial in (runtime["serial_number"], runtime["serial_number"].lower()):
        await customer.open(serial_number=serial)


async def test_without_an_editor_the_serial_number_is_optional(customer: Customer) -> None:
    """R27: one that is given must still be its own."""
    await customer.pack(quantity=3)
    await customer.licence("runtime", days=-30)
    await customer.open(serial_number=None)
    await customer.open()
    answer = await customer.try_open(serial_number=unique("S"))
    assert answer.json()["code"] == "serial_number_not_of_customer"
    editor = await customer.licence(days=-30)
    await customer.withdraw(editor, DAY)
    await customer.open(serial_number=None)
