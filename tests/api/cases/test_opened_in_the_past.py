"""Cases that staff open as of an instant in the past (R47)."""

from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.policy.civil import add_months
from app.services.tokens import SCOPES
from tests import histories
from tests.api.build import Customer, errors, made, recorded, refused
from tests.api.cases import DAY, Travel, noon
from tests.conftest import Service


def days(count: int) -> date:
    return DAY + timedelta(days=count)


async def late(customer: Customer, opened_on: date, **fields: Any) -> dict[str, Any]:
    return await customer.open(opened_at=noon(opened_on), **fields)


@pytest.mark.parametrize(
    ("opened_at", "year"),
    [("2025-12-31T22:59:59Z", 2025), ("2025-12-31T23:00:00Z", 2026)],
)
async def test_numbered_by_the_year_of_that_instant(
    holder: Customer, opened_at: str, year: int
) -> None:
    """R26: in the vendor's time zone."""
    case = await holder.open(opened_at=opened_at, category="bug")
    assert case["number"].startswith(f"{year}-")
    assert case["opened_at"] == opened_at


@pytest.mark.parametrize(
    ("opened_on", "pays"), [(-41, False), (-40, True), (-1, True), (0, True), (1, False)]
)
async def test_bound_by_what_was_in_force_on_that_day(
    holder: Customer, travel: Travel, opened_on: int, pays: bool
) -> None:
    """From the contract's first day to its last; on both sides of it nothing pays."""
    contract = await holder.contract(days=-40)
    await holder.end(contract, days(1))
    travel(days(30))
    answer = await holder.try_open(opened_at=noon(days(opened_on)), channel="phone")
    if not pays:
        refused(answer, "not_entitled")
        return
    case = await made(answer)
    assert case["paid_by"]["number"] == contract["number"]
    # Time is entered from that day on; the contract pays for days within it.
    early = await holder.client.post(
        f"/v1/cases/{case['id']}/time-entries",
        json={"technician": "T", "minutes": 5, "worked_at": noon(days(opened_on - 1))},
    )
    refused(early, "worked_before_opening", 422)
    entry = await holder.work(case, 5, worked_at=noon(days(opened_on)))
    assert (len(entry["charges"]), entry["overrun_minutes"]) == (1, 0)


async def test_with_what_is_left_now(holder: Customer) -> None:
    contract = await holder.contract(days=-40, included_minutes=10)
    await holder.work(await holder.open(channel="phone"), 10)
    answer = await holder.try_open(opened_at=noon(days(-20)), channel="phone")
    codes = {one["code"] for one in refused(answer, "not_entitled")["reasons"]}
    assert "hours_exhausted" in codes, contract


async def test_serial_number_and_priority_support_as_of_that_day(
    customer: Customer, travel: Travel
) -> None:
    """R27, R31."""
    old = await customer.licence(days=-100)
    contract = await customer.contract(days=-60)
    await customer.withdraw(old, days(-5))
    new = await customer.licence(days=-5)
    await customer.end(contract, days(-5))
    answer = await customer.try_open(opened_at=noon(days(-6)), serial_number=new["serial_number"])
    refused(answer, "serial_number_not_of_customer", 422)
    case = await late(customer, days(-6), serial_number=old["serial_number"])
    assert (case["serial_verified"], case["priority_support"]) == (True, True)
    case = await late(customer, days(-5), serial_number=new["serial_number"])
    assert (case["serial_verified"], case["priority_support"]) == (True, False)


async def test_a_ticket_that_has_expired_since_pays(customer: Customer, travel: Travel) -> None:
    pack = await customer.pack(days=0)
    end = add_months(DAY, 12)
    travel(end + timedelta(days=20))
    refused(await customer.try_open(opened_at=noon(end), channel="phone"), "not_entitled")
    case = await late(customer, end - timedelta(days=10), channel="phone")
    assert case["paid_by"]["number"] == pack["number"]
    # R22: the case took it ten days before its end.
    await customer.patch(case, category="bug")
    (ticket,) = (await customer.get(f"ticket-packs/{pack['id']}"))["tickets"]
    assert ticket["expires_on"] == str(end + timedelta(days=30))


async def test_answers_about_the_past_know_it(customer: Customer, travel: Travel) -> None:
    """R13: open, and its ticket held, from that instant on."""
    pack = await customer.pack(days=-30)
    travel(days(10))
    case = await late(customer, days(2), channel="phone")
    travel(days(20))
    for day, held in ((1, 0), (2, 1), (5, 1), (10, 1), (19, 1)):
        answer = await customer.entitlements(at=noon(days(day)))
        (shown,) = answer["allowances"]
        assert (shown["available"], shown["held"]) == (1 - held, held), day
        served = [one["service"] for one in answer["services"] if one["continues"]]
        assert bool(served) == bool(held), day
        usage = await customer.get(f"customers/{customer.id}/usage?at={noon(days(day))[:-6]}Z")
        assert (usage["allowances"][0]["held"], usage["totals"]["cases"]["open"]) == (held, held), (
            day
        )
        url = f"customers/{customer.id}/statement?from={days(-30)}&to={days(day + 1)}"
        (group,) = (await customer.get(url))["groups"]
        assert group["closing"]["held"] == held, day
    assert case["paid_by"]["number"] == pack["number"]


async def test_a_ticket_is_had_from_when_another_case_gave_it_back(
    customer: Customer, travel: Travel
) -> None:
    """R19, R47: the ticket that another case had on that day, and has given back since, is left
    now. One ticket never serves two cases, in no answer about the past and in no statement."""
    pack = await customer.pack(days=-30)
    first = await customer.open(channel="phone")
    travel(days(4))
    await customer.cancel(first)
    travel(days(8))
    second = await late(customer, days(2), channel="phone")
    travel(days(9))
    answer = await customer.entitlements(at=noon(days(3)))
    (shown,) = answer["allowances"]
    assert (shown["available"], shown["held"], shown["consumed"]) == (0, 1, 0)
    for day in range(-1, 10):
        url = f"customers/{customer.id}/statement?from={days(-30)}&to={days(day + 1)}"
        (group,) = (await customer.get(url))["groups"]
        assert group["closing"]["held"] == (day >= 0), day
        assert group["allowance"]["remaining"] == (day < 0), day
    # A bug gives back the days for which this case had it: from the fourth to the tenth.
    travel(days(10))
    await customer.patch(second, category="bug")
    (ticket,) = (await customer.get(f"ticket-packs/{pack['id']}"))["tickets"]
    end = date.fromisoformat(pack["expires_on"])
    assert ticket["expires_on"] == str(end + timedelta(days=6))


async def test_nothing_is_opened_before_the_first_fact_or_in_the_future(
    client: Any, travel: Travel
) -> None:
    travel(DAY)
    customer = await Customer.new(client, DAY)
    for opened_at, code in (
        (noon(days(-1)), "before_first_fact"),
        ("2026-03-10T12:00:01Z", "in_future"),
    ):
        answer = await customer.try_open(opened_at=opened_at, category="bug")
        assert errors(answer) == [("/opened_at", code)]
    # Its own record is a fact; a purchase may be an earlier one.
    await customer.open(opened_at=noon(DAY), category="bug")
    await customer.pack(days=-3)
    answer = await customer.try_open(opened_at=noon(days(-4)), category="bug")
    assert errors(answer) == [("/opened_at", "before_first_fact")]
    await late(customer, days(-3), channel="phone")


async def test_a_licence_got_by_transfer_is_known_from_that_day_on(
    client: Any, customer: Customer
) -> None:
    """R44: its purchase was another customer's."""
    licence = await customer.licence(days=-100)
    other = await Customer.new(client, DAY)
    to = {"to_customer_id": other.id, "on": str(days(-2)), "reason": "Sold."}
    await made(await client.post(f"/v1/licences/{licence['id']}/transfer", json=to), 200)
    serial = licence["serial_number"]
    answer = await other.try_open(opened_at=noon(days(-3)), category="bug", serial_number=serial)
    assert errors(answer) == [("/opened_at", "before_first_fact")]
    await late(other, days(-2), category="bug", serial_number=serial)


async def test_only_staff_open_in_the_past(service: Service, customer: Customer) -> None:
    await customer.pack(days=-3)
    scopes = SCOPES - {"cases:work"}
    async with await service.client_with(*scopes) as client:
        others = Customer(client, {"id": customer.id, "code": customer.code}, DAY)
        answer = await others.try_open(opened_at=noon(days(-1)))
        assert refused(answer, "insufficient_scope", 403)
    assert not await recorded(service, customer.id, "case.%")


async def test_the_event_says_from_when_it_counts(service: Service, customer: Customer) -> None:
    await customer.pack(days=-3)
    case = await late(customer, days(-2))
    (opened,) = await customer.timeline(case)
    assert opened["data"]["as_of"] == case["opened_at"]
    assert opened["at"] == noon(DAY).replace("+00:00", "Z")


# --- registered late equals registered in time ----------------------------------------------------


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(
    editor=st.sampled_from((None, -20, -360, -400)),
    minutes=st.sampled_from((None, 40, 100)),
    tickets=st.integers(0, 2),
    channel=st.sampled_from(("email", "phone")),
    work=st.lists(st.tuples(st.integers(0, 9), st.sampled_from((10, 60, 90))), max_size=3),
    late=st.sampled_from((10, 40, 330, 380)),
)
async def test_registered_late_equals_registered_in_time(
    client: httpx.AsyncClient,
    editor: int | None,
    minutes: int | None,
    tickets: int,
    channel: str,
    work: list[tuple[int, int]],
    late: int,
) -> None:
    """R13, R47: the case and its time are registered after what had paid may have ended."""
    seen: list[Any] = []
    for at_once in (True, False):
        with histories.at(DAY):
            customer = await Customer.new(client, DAY)
            if editor is not None:
                await customer.licence(days=editor)
                if minutes:
                    await customer.contract(days=-15, included_minutes=minutes)
            if tickets:
                await customer.pack(tickets, days=-40)
        with histories.at(DAY if at_once else days(late)):
            answer = await customer.try_open(channel=channel, opened_at=noon(DAY))
        case: Any = answer.json() if answer.is_success else None
        for day, spent in sorted(work) if case else ():
            with histories.at(days(day if at_once else late)):
                await customer.work(case, spent, worked_at=noon(days(day)))
        with histories.at(days(late)):
            seen.append([answer.status_code])
            for at in (None, noon(days(-1)), noon(days(1)), noon(days(9)), noon(days(500))):
                told = await customer.entitlements(**({} if at is None else {"at": at}))
                seen[-1].append([told[name] for name in ("columns", "valid_until")])
                seen[-1].append(
                    [
                        [one[name] for name in ("service", "granted_by", "unlocked_by")]
                        + [len(one["continues"]), [each["code"] for each in one["reasons"]]]
                        for one in told["services"]
                    ]
                )
            if case is not None:
                shown = await customer.case(case["number"])
                seen[-1].append([shown["paid_by"]["kind"], await customer.minutes(case)])
    assert seen[0] == seen[1]
