"""What was so at a past instant: tickets, open cases and charges (R11, R13)."""

from datetime import date, timedelta
from typing import Any

from tests.api.build import Customer
from tests.api.cases import DAY, Travel, noon


def after(days: int) -> date:
    return DAY + timedelta(days=days)


async def pack_at(customer: Customer, day: date) -> tuple[int, int, int] | None:
    """Available, held, consumed of the one pack."""
    for one in (await customer.entitlements(at=noon(day)))["allowances"]:
        if one["kind"] == "ticket_pack":
            return one["available"], one["held"], one["consumed"]
    return None


async def test_a_tickets_states_as_they_were_recorded(customer: Customer, travel: Travel) -> None:
    """R13: held, consumed, held again, released, each from its instant on."""
    await customer.pack(days=0)
    seen: dict[int, tuple[int, int, int] | None] = {0: (1, 0, 0)}
    travel(after(2))
    case = await customer.open()
    seen |= {1: (1, 0, 0), 2: (0, 1, 0)}
    travel(after(4))
    await customer.close(case)
    # Nothing available and nothing held: the pack is not shown as an allowance any more.
    seen[4] = None
    travel(after(6))
    await customer.reopen(case)
    seen[6] = (0, 1, 0)
    travel(after(8))
    await customer.patch(case, category="bug")
    seen[8] = (1, 0, 0)
    travel(after(10))
    for days, tickets in seen.items():
        assert await pack_at(customer, after(days)) == tickets, days


async def test_cases_open_at_an_instant(customer: Customer, travel: Travel) -> None:
    """R13, R11: with what paid for them then."""
    await customer.pack()
    travel(after(2))
    case = await customer.open(channel="phone")
    travel(after(4))
    await customer.patch(case, category="bug")
    travel(after(6))
    await customer.close(case)
    travel(after(8))
    await customer.reopen(case)
    travel(after(10))
    await customer.cancel(case)
    travel(after(20))

    async def served(days: int) -> list[str]:
        answer = await customer.entitlements(at=noon(after(days)))
        return [one["service"] for one in answer["services"] if case["number"] in one["continues"]]

    everywhere = ["email_support", "phone_support", "remote_access"]
    assert [await served(days) for days in (1, 2, 3)] == [[], everywhere, everywhere]
    assert [await served(days) for days in (4, 5)] == [["phone_support"]] * 2
    assert [await served(days) for days in (6, 7)] == [[], []]
    assert [await served(days) for days in (8, 9)] == [["phone_support"]] * 2
    assert [await served(days) for days in (10, 11)] == [[], []]


async def test_comments_and_time_change_no_past_state(customer: Customer, travel: Travel) -> None:
    """R13."""
    await customer.licence(days=-30)
    case = await customer.open()
    travel(after(2))
    await customer.step(case, "comments", 201, body="Looking at it.")
    await customer.work(case, 10)
    travel(after(4))
    assert (await customer.service("email_support", at=noon(after(3))))["continues"] == [
        case["number"]
    ]


async def test_charges_worked_up_to_the_date(holder: Customer, travel: Travel) -> None:
    """R13: by the day of the work, however late recorded; a reversal takes it back from then on."""
    await holder.contract(days=0, included_minutes=100)
    case = await holder.open()
    travel(after(10))
    await holder.work(case, 30, worked_at=noon(after(2)))
    wrong = await holder.work(case, 40, worked_at=noon(after(5)))
    await holder.work(case, 50, worked_at=noon(after(7)))

    async def used(days: int) -> tuple[int, int]:
        (shown,) = (await holder.entitlements(at=noon(after(days))))["allowances"]
        return shown["used_minutes"], shown["overrun_minutes"]

    wanted = [(0, 0), (30, 0), (70, 0), (100, 20)]
    assert [await used(days) for days in (1, 2, 5, 7)] == wanted
    await holder.reverse(wrong)
    wanted = [(0, 0), (30, 0), (30, 0), (80, 0)]
    assert [await used(days) for days in (1, 2, 5, 7)] == wanted


async def test_purchases_and_cancellations_as_known_now(holder: Customer, travel: Travel) -> None:
    """R13: a contract registered and one cancelled since count where their dates lie."""
    contract = await holder.contract(days=-10)
    travel(after(20))
    late: dict[str, Any] = await holder.contract(days=0)
    await holder.end(contract, after(5))
    shown = (await holder.entitlements(at=noon(after(4))))["allowances"]
    assert [one["number"] for one in shown] == [contract["number"], late["number"]]
    shown = (await holder.entitlements(at=noon(after(5))))["allowances"]
    assert [one["number"] for one in shown] == [late["number"]]


async def test_a_future_instant_shows_todays_balances(customer: Customer, travel: Travel) -> None:
    """R13, R11."""
    await customer.licence(days=-30)
    await customer.pack()
    case = await customer.open()
    await customer.work(case, 120)
    answer = await customer.entitlements(at=noon(after(30)))
    assert [one.get("used_minutes") for one in answer["allowances"]] == [120, None]
    assert (await customer.service("email_support", at=noon(after(30))))["continues"] == [
        case["number"]
    ]
