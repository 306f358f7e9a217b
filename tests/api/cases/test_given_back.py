"""Minutes given back to an hour allowance cover its standing overrun first (R22, R30)."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app.policy.civil import add_months
from app.store.tables import ledger
from tests.api.build import Customer, charges
from tests.api.cases import DAY, Travel, noon
from tests.conftest import Service


async def _spent(holder: Customer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A contract of 100 minutes, charged by the first of three cases, overrun by the others."""
    contract = await holder.contract(included_minutes=100)
    cases = [await holder.open() for _ in range(3)]
    entries = [
        await holder.work(cases[0], 60),
        await holder.work(cases[0], 40),
        await holder.work(cases[1], 30, worked_at="2026-03-10T11:00:00Z"),
        await holder.work(cases[2], 50, worked_at="2026-03-10T08:00:00Z"),
    ]
    assert [entry["overrun_minutes"] for entry in entries] == [0, 0, 30, 50]
    return contract, entries


async def test_oldest_work_first_closed_cases_included(holder: Customer, service: Service) -> None:
    """R22, R30: by `worked_at`, not by when it was recorded; the movement names both cases."""
    contract, (wrong, _, late, early) = await _spent(holder)
    number = contract["number"]
    await holder.step({"id": early["case_id"]}, "closure", resolution="Done.")
    await holder.reverse(wrong)

    early, late = await holder.entry(early), await holder.entry(late)
    assert (charges(early), early["overrun_minutes"]) == ([(number, 50)], 0)
    assert (charges(late), late["overrun_minutes"]) == ([(number, 10)], 20)
    after = await holder.get(f"contracts/{contract['id']}")
    assert (after["used_minutes"], after["overrun_minutes"]) == (100, 20)

    movements = (await holder.timeline({"id": wrong["case_id"]}))[-1]["data"]["covered"]
    assert [(one["case_id"], one["minutes"]) for one in movements] == [
        (early["case_id"], 50),
        (late["case_id"], 10),
    ]
    async with service.database.reading.connect() as connection:
        query = select(ledger.c.case_id, ledger.c.cause_case_id, ledger.c.used_minutes)
        rows = await connection.execute(
            query.where(ledger.c.covers.is_not(None), ledger.c.allowance_id == contract["id"])
        )
        assert [(str(row[0]), str(row[1]), row[2]) for row in rows] == [
            (early["case_id"], wrong["case_id"], 50),
            (late["case_id"], wrong["case_id"], 10),
        ]


async def test_what_no_overrun_takes_is_left(holder: Customer) -> None:
    """R22: more given back than stands as overrun."""
    contract, (first, second, late, early) = await _spent(holder)
    await holder.reverse(first)
    await holder.reverse(second)
    after = await holder.get(f"contracts/{contract['id']}")
    assert (after["used_minutes"], after["overrun_minutes"], after["remaining_minutes"]) == (
        80,
        0,
        20,
    )
    for entry in (late, early):
        assert (await holder.entry(entry))["overrun_minutes"] == 0


async def test_a_bug_gives_back_alike(holder: Customer) -> None:
    """R22: and what covered overrun is itself given back when its case turns out a bug."""
    contract, (first, _, late, early) = await _spent(holder)
    await holder.patch({"id": first["case_id"]}, category="bug")
    assert (await holder.get(f"contracts/{contract['id']}"))["used_minutes"] == 80
    await holder.patch({"id": early["case_id"]}, category="bug")
    shown = await holder.entry(early)
    assert (shown["charges"], shown["overrun_minutes"]) == ([], 0)
    shown = await holder.entry(late)
    assert (charges(shown), shown["overrun_minutes"]) == ([(contract["number"], 30)], 0)
    after = await holder.get(f"contracts/{contract['id']}")
    assert (after["used_minutes"], after["overrun_minutes"]) == (30, 0)


async def test_work_that_proves_no_bug_after_all_does_not_push_out_what_was_covered(
    holder: Customer,
) -> None:
    """R22: charged again as of its day, from what is left now."""
    contract, (first, _, late, early) = await _spent(holder)
    case = {"id": first["case_id"]}
    await holder.patch(case, category="bug")
    again = await holder.patch(case, category="problem")
    assert (again["charged_minutes"], again["overrun_minutes"]) == (20, 80)
    for entry in (late, early):
        assert (await holder.entry(entry))["overrun_minutes"] == 0
    after = await holder.get(f"contracts/{contract['id']}")
    assert (after["used_minutes"], after["overrun_minutes"]) == (100, 80)


@pytest.mark.parametrize("ends", ["by itself", "cancelled"])
async def test_work_outside_the_period_is_not_covered(
    holder: Customer, travel: Travel, ends: str
) -> None:
    """R22, R20: neither after a contract's end nor after its cancellation takes effect."""
    contract = await holder.contract(days=0, included_minutes=100)
    case, other = await holder.open(), await holder.open()
    last = add_months(DAY, 12)
    if ends == "cancelled":
        last = DAY + timedelta(days=40)
        await holder.end(contract, last)
    wrong = await holder.work(case, 100)
    travel(last + timedelta(days=3))
    after = await holder.work(other, 20, worked_at=noon(last))
    inside = await holder.work(other, 20, worked_at=noon(last - timedelta(days=1)))
    await holder.reverse(wrong)
    assert (await holder.entry(after))["overrun_minutes"] == 20
    assert (await holder.entry(inside))["overrun_minutes"] == 0
    shown = await holder.get(f"contracts/{contract['id']}")
    assert (shown["used_minutes"], shown["overrun_minutes"]) == (20, 20)


async def test_a_service_years_period_ends_at_the_next_editor(
    customer: Customer, travel: Travel
) -> None:
    """R22, R20, R14: overrun worked after it stays overrun."""
    await customer.licence(days=-30)
    case, other = await customer.open(), await customer.open()
    wrong = await customer.work(case, 300)
    inside = await customer.work(other, 10)
    travel(DAY + timedelta(days=20))
    # The purchase of day 10 is registered only now; the work of day 15 was recorded before.
    outside = await customer.work(other, 10, worked_at=noon(DAY + timedelta(days=15)))
    assert outside["overrun_minutes"] == 10
    await customer.licence(days=10)
    await customer.reverse(wrong)
    assert (await customer.entry(inside))["overrun_minutes"] == 0
    assert (await customer.entry(outside))["overrun_minutes"] == 10


async def test_overrun_of_a_case_that_nothing_pays_for_is_covered_by_nothing(
    holder: Customer,
) -> None:
    """R22: it is the case's own, until the case is bound (R29)."""
    contract = await holder.contract(included_minutes=100)
    first = await holder.open()
    wrong = await holder.work(first, 100)
    bug = await holder.open(category="bug")
    await holder.work(bug, 30)
    unpaid = await holder.patch(bug, category="problem")
    assert (unpaid["paid_by"]["kind"], unpaid["overrun_minutes"]) == ("none", 30)
    await holder.reverse(wrong)
    assert await holder.minutes(unpaid) == (30, 0, 30)
    assert (await holder.get(f"contracts/{contract['id']}"))["remaining_minutes"] == 100


async def test_a_longer_period_covers_what_it_reaches(customer: Customer, travel: Travel) -> None:
    """R22, R14: the Editor that cut a service year short is withdrawn again."""
    await customer.licence(days=-30)
    case = await customer.open()
    await customer.work(case, 50)
    newer = await customer.licence(days=0)
    taker = await customer.open()
    await customer.work(taker, 300)
    travel(DAY + timedelta(days=9))
    before = await customer.work(case, 10, worked_at=noon(DAY + timedelta(days=4)))
    after = await customer.work(case, 20, worked_at=noon(DAY + timedelta(days=5)))
    assert (before["overrun_minutes"], after["overrun_minutes"]) == (10, 20)
    await customer.withdraw(newer, DAY + timedelta(days=5))
    assert (await customer.entry(before))["overrun_minutes"] == 10
    assert charges(await customer.entry(after)) == [("2026-02-08", 20)]
    assert await customer.minutes(taker) == (300, 300, 0)
