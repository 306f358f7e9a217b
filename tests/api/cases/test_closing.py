"""Closing, reopening, cancelling, and the ticket with them (R19, R29, R30, R32)."""

from datetime import timedelta
from typing import Any

import pytest

from tests.api.build import Customer
from tests.api.cases import DAY, Travel
from tests.conftest import Service

EXPIRED = DAY + timedelta(days=20)
"""When tickets of a pack bought 360 days before `DAY` have expired."""


async def tickets(customer: Customer, pack: dict[str, Any]) -> tuple[int, int, int, int]:
    """Available, held, consumed, expired."""
    shown = await customer.get(f"ticket-packs/{pack['id']}")
    return shown["available"], shown["held"], shown["consumed"], shown["expired"]


async def test_a_ticket_from_opening_to_a_second_closing(
    customer: Customer, travel: Travel
) -> None:
    """R19, R29: held, consumed, the same taken back though expired since, consumed once in all."""
    pack = await customer.pack(quantity=2, days=-360)
    case = await customer.open()
    assert await tickets(customer, pack) == (1, 1, 0, 0)
    closed = await customer.close(case)
    assert (closed["state"], closed["closed_at"]) == ("closed", "2026-03-10T12:00:00Z")
    assert closed["resolution"] == "The display was replaced."
    assert await tickets(customer, pack) == (1, 0, 1, 0)
    travel(EXPIRED)
    reopened = await customer.reopen(case)
    assert (reopened["state"], reopened["closed_at"]) == ("in_progress", None)
    assert (reopened["resolution"], reopened["paid_by"]) == (None, case["paid_by"])
    assert await tickets(customer, pack) == (0, 1, 0, 1)
    assert (await customer.entitlements())["columns"] == ["NO_DEV", "TCK"]
    await customer.work(case, 10)
    await customer.close(case)
    assert await tickets(customer, pack) == (0, 0, 1, 1)


@pytest.mark.parametrize(("days", "status"), [(0, 200), (29, 200), (30, 409), (31, 409)])
async def test_a_case_is_reopened_until_the_day_before_its_days_are_over(
    customer: Customer, travel: Travel, days: int, status: int
) -> None:
    """R29: thirty days, as the policy says, from the last closing."""
    await customer.pack()
    case = await customer.open()
    await customer.close(case)
    travel(DAY + timedelta(days=20))
    await customer.reopen(case)
    await customer.close(case)
    travel(DAY + timedelta(days=20 + days))
    answer = await customer.reopen(case, status)
    if status == 409:
        assert answer["code"] == "reopening_too_late"
        assert (await customer.case(case["number"]))["state"] == "closed"


async def test_a_released_ticket_whose_year_is_over_is_expired(
    customer: Customer, travel: Travel
) -> None:
    """R19."""
    pack = await customer.pack()
    case = await customer.open()
    travel(DAY + timedelta(days=400))
    assert await tickets(customer, pack) == (0, 1, 0, 0)
    await customer.cancel(case)
    assert await tickets(customer, pack) == (0, 0, 0, 1)
    assert (await customer.try_open()).status_code == 409


async def test_closing_needs_a_resolution_and_reopening_a_reason(customer: Customer) -> None:
    """R29."""
    await customer.pack()
    case = await customer.open()
    for body in ({}, {"resolution": ""}, {"resolution": "  "}, {"resolution": None}):
        await customer.step(case, "closure", 422, **body)
    await customer.close(case)
    for body in ({}, {"reason": ""}):
        await customer.step(case, "reopening", 422, **body)
    assert (await customer.reopen(case))["state"] == "in_progress"


async def test_only_reversed_work_lets_a_case_be_cancelled(customer: Customer) -> None:
    """R29: worked minutes net of reversals are what counts, of a bug as well."""
    await customer.licence(days=-30)
    for category in ("problem", "bug"):
        case = await customer.open(category=category)
        entry = await customer.work(case, 10)
        assert (await customer.cancel(case, 409))["code"] == "case_has_work"
        await customer.reverse(entry)
        assert (await customer.cancel(case))["state"] == "cancelled"
    assert (await customer.service("email_support"))["continues"] == []


@pytest.mark.parametrize("step", ["closure", "reopening", "cancellation", "transition"])
async def test_staff_alone_take_steps(customer: Customer, service: Service, step: str) -> None:
    """R29: with `cases:work`."""
    await customer.pack()
    case = await customer.open()
    async with await service.client_with("cases:write", "cases:read") as other:
        answer = await other.post(f"/v1/cases/{case['id']}/{step}", json={})
    assert answer.status_code == 403


async def test_time_on_a_closed_case_needs_a_reopening(customer: Customer) -> None:
    """R30: its wrong entries are reversed without one."""
    await customer.licence(days=-30)
    case = await customer.open()
    entry = await customer.work(case, 30)
    await customer.close(case)
    path = f"cases/{case['id']}/time-entries"
    body = {"technician": "Help desk", "minutes": 20}
    assert (await customer.post(path, 409, **body))["code"] == "wrong_state"
    await customer.reverse(entry)
    assert await customer.minutes(case) == (0, 0, 0)
    assert (await customer.case(case["number"]))["state"] == "closed"
    await customer.reopen(case)
    await customer.post(path, 201, **body)
    assert await customer.minutes(case) == (20, 20, 0)


async def test_a_closing_is_told_to_the_requester(customer: Customer, service: Service) -> None:
    """R32: by an event that says whom to tell, at every closing."""
    await customer.pack()
    case = await customer.open(
        requester={"name": "Plant engineer", "email": "plant@example.com", "phone": "059 454224"}
    )
    await customer.close(case)
    await customer.reopen(case)
    await customer.close(case)
    closings = [one for one in await customer.timeline(case) if one["type"] == "case.closed"]
    assert len(closings) == 2
    assert closings[0]["data"]["requester"] == {
        "name": "Plant engineer",
        "email": "plant@example.com",
        "phone": "+39059454224",
    }
    assert closings[0]["data"]["resolution"] == "The display was replaced."


async def test_an_open_case_goes_on_wherever_its_allowance_covers(
    customer: Customer, travel: Travel
) -> None:
    """R11: also when nothing is left to open a new one, until it is closed."""
    await customer.licence(days=-30)
    await customer.pack()
    by_mail = await customer.open()
    by_ticket = await customer.open(channel="phone")
    await customer.work(by_mail, 300)
    travel(DAY + timedelta(days=500))
    wanted = {
        "email_support": [by_mail["number"], by_ticket["number"]],
        "phone_support": [by_ticket["number"]],
        "remote_access": [by_ticket["number"]],
        "web_forum": [],
    }
    for name, numbers in wanted.items():
        shown = await customer.service(name)
        assert shown["continues"] == numbers, name
        assert shown["allowed"] == (name == "web_forum")
    await customer.close(by_ticket)
    assert (await customer.service("phone_support"))["continues"] == []
