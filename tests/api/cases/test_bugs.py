"""A case found to be a bug counts nothing, and what becomes of it if it was none (R22, R23)."""

from datetime import timedelta

import pytest

from tests.api.build import Customer, charges
from tests.api.cases import DAY, Travel
from tests.conftest import Service


@pytest.mark.parametrize("closed", [False, True])
async def test_every_charge_on_every_allowance_is_reversed(
    customer: Customer, closed: bool
) -> None:
    """R22: and overrun with them; the worked minutes stay on record."""
    await customer.licence(days=-30)
    contract = await customer.contract(included_minutes=50)
    case = await customer.open()
    entries = [await customer.work(case, minutes) for minutes in (290, 100)]
    assert (entries[1]["overrun_minutes"], len(entries[1]["charges"])) == (40, 2)
    if closed:
        await customer.close(case)
    bug = await customer.patch(case, category="bug")
    assert bug["state"] == ("closed" if closed else "open")
    assert bug["paid_by"]["kind"] == "none"
    assert await customer.minutes(case) == (390, 0, 0)
    for entry in entries:
        shown = await customer.entry(entry)
        assert (shown["charges"], shown["overrun_minutes"], shown["reversed_at"]) == ([], 0, None)
    shown = {one["kind"]: one for one in (await customer.entitlements())["allowances"]}
    assert [shown[kind]["used_minutes"] for kind in ("free_hours", "contract")] == [0, 0]
    assert shown["free_hours"]["overrun_minutes"] == 0
    assert (await customer.get(f"contracts/{contract['id']}"))["used_minutes"] == 0


async def test_time_worked_on_a_bug_counts_nothing(customer: Customer) -> None:
    """R22, R23: until it proves none."""
    await customer.licence(days=-30)
    case = await customer.open(category="bug")
    entry = await customer.work(case, 30)
    assert (entry["charges"], entry["overrun_minutes"]) == ([], 0)
    assert await customer.minutes(case) == (30, 0, 0)
    proven = await customer.patch(case, category="question")
    assert proven["paid_by"]["kind"] == "free_hours"
    assert charges(await customer.entry(entry)) == [("2026-02-08", 30)]


async def test_bound_to_its_first_allowance_again_as_of_the_days_worked(
    holder: Customer, travel: Travel
) -> None:
    """R22: even if another would come first now, or the first has ended since."""
    contract = await holder.contract(days=-300)
    case = await holder.open()
    inside = await holder.work(case, 40)
    await holder.patch(case, category="bug")
    ended = DAY + timedelta(days=100)
    travel(ended)
    outside = await holder.work(case, 20)
    await holder.licence(purchased_on=str(ended))
    again = await holder.patch(case, category="problem")
    assert again["paid_by"]["number"] == contract["number"]
    assert charges(await holder.entry(inside)) == [(contract["number"], 40)]
    # Of that day nothing but the new free hours is left.
    assert charges(await holder.entry(outside)) == [(str(ended), 20)]


async def test_its_ticket_is_free_for_another_case_and_comes_back_while_unused(
    customer: Customer, travel: Travel
) -> None:
    """R22, R19: taken back even if it has expired since."""
    pack = await customer.pack()
    case = await customer.open()
    await customer.patch(case, category="bug")
    assert (await customer.get(f"ticket-packs/{pack['id']}"))["available"] == 1
    travel(DAY + timedelta(days=400))
    assert (await customer.get(f"ticket-packs/{pack['id']}"))["expired"] == 1
    again = await customer.patch(case, category="problem")
    assert again["paid_by"]["id"] == pack["id"]
    shown = await customer.get(f"ticket-packs/{pack['id']}")
    assert [shown[word] for word in ("held", "consumed", "available", "expired")] == [1, 0, 0, 0]


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("left", ["ticket", "contract", "nothing"])
async def test_a_ticket_that_is_gone_is_replaced_by_what_is_left_now(
    customer: Customer, left: str, closed: bool
) -> None:
    """R22, R18: gone is what another case uses; failing all, `paid_by` is none."""
    pack = await customer.pack()
    case = await customer.open()
    entry = await customer.work(case, 30)
    if closed:
        await customer.close(case)
    await customer.patch(case, category="bug")
    taker = await customer.open()
    assert taker["paid_by"]["id"] == pack["id"]
    new = None
    if left == "ticket":
        new = await customer.pack(days=0)
    if left == "contract":
        await customer.licence(days=-800)
        new = await customer.contract()
    again = await customer.patch(case, category="problem")
    assert again["paid_by"]["kind"] == ("none" if new is None else left)
    assert again["paid_by"]["id"] == (new and new["id"])
    expected = {"ticket": (30, 0, 0), "contract": (30, 30, 0), "nothing": (30, 0, 30)}
    assert await customer.minutes(case) == expected[left]
    if left == "ticket":
        assert new is not None
        shown = await customer.get(f"ticket-packs/{new['id']}")
        # R22: a case already closed consumes its ticket at once.
        assert (shown["held"], shown["consumed"]) == ((0, 1) if closed else (1, 0))
    shown = await customer.entry(entry)
    assert shown["overrun_minutes"] == (30 if new is None else 0)
    # The other case keeps the ticket whatever happens to this one.
    shown = await customer.get(f"ticket-packs/{pack['id']}")
    assert shown["tickets"][0]["case_number"] == taker["number"]


async def test_a_case_opened_as_bug_has_no_first_allowance(customer: Customer) -> None:
    """R22, R23: it is bound by R18 from what is left now, which then is its first."""
    await customer.licence(days=-30)
    case = await customer.open(category="bug")
    await customer.work(case, 10)
    first = await customer.patch(case, category="problem")
    assert first["paid_by"]["service_year_start"] == "2026-02-08"
    await customer.licence("runtime", days=0)
    await customer.patch(case, category="bug")
    again = await customer.patch(case, category="problem")
    assert again["paid_by"]["service_year_start"] == "2026-02-08"


async def test_there_and_back_changes_nothing(customer: Customer) -> None:
    """R22."""
    await customer.licence(days=-30)
    await customer.contract(included_minutes=50)
    case = await customer.open()
    entries = [await customer.work(case, minutes) for minutes in (290, 100)]
    before = await customer.case(case["number"]), await customer.entitlements()
    for category in ("bug", "problem"):
        await customer.patch(case, category=category)
    assert (await customer.case(case["number"]), await customer.entitlements()) == before
    assert [await customer.entry(entry) for entry in entries] == entries


async def test_time_that_was_reversed_stays_reversed(customer: Customer) -> None:
    """R22, R30: neither given back twice nor charged again."""
    await customer.licence(days=-30)
    case = await customer.open()
    await customer.reverse(await customer.work(case, 100))
    kept = await customer.work(case, 20)
    await customer.patch(case, category="bug")
    await customer.reverse(kept)
    assert await customer.minutes(case) == (0, 0, 0)
    await customer.patch(case, category="problem")
    assert await customer.minutes(case) == (0, 0, 0)


async def test_problem_and_question_differ_in_name_only(customer: Customer) -> None:
    """R28, R22: nothing moves between them."""
    await customer.licence(days=-30)
    case = await customer.open()
    await customer.work(case, 30)
    shown = await customer.patch(case, category="question")
    assert shown["paid_by"] == case["paid_by"]
    assert shown["charged_minutes"] == 30


async def test_what_a_successor_took_over_is_reversed_there(holder: Customer) -> None:
    """R22, R24: wherever taken over."""
    contract = await holder.contract(included_minutes=100)
    case = await holder.open()
    await holder.work(case, 160)
    successor = await holder.renew(contract, "today", take_over_overrun=True)
    assert successor["used_minutes"] == 60
    await holder.patch(case, category="bug")
    for one in (contract, successor):
        shown = await holder.get(f"contracts/{one['id']}")
        assert (shown["used_minutes"], shown["overrun_minutes"]) == (0, 0)


async def test_a_bug_goes_on_being_served_on_its_own_channel(customer: Customer) -> None:
    """R11, R23: and on no other, whatever paid for it before."""
    await customer.pack()
    case = await customer.open(channel="phone")
    await customer.patch(case, category="bug")
    for service, served in (("phone_support", True), ("email_support", False)):
        assert (case["number"] in (await customer.service(service))["continues"]) == served


async def test_only_staff_reclassify(customer: Customer, service: Service) -> None:
    """R22: with `cases:work`."""
    await customer.pack()
    case = await customer.open()
    async with await service.client_with("cases:write", "cases:read") as other:
        answer = await other.patch(f"/v1/cases/{case['id']}", json={"category": "bug"})
    assert answer.status_code == 403
