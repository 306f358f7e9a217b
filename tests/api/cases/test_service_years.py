"""Free hours: when a service year starts, ends and pays (R14, R17, R20)."""

from datetime import date, timedelta
from typing import Any

import pytest

from app.policy.civil import add_months
from tests.api.build import Customer, charges
from tests.api.cases import DAY, Travel, noon


async def year_of(customer: Customer, **query: Any) -> tuple[str, int, int]:
    """First day, used, left."""
    (year,) = (
        one
        for one in (await customer.entitlements(**query))["allowances"]
        if one["kind"] == "free_hours"
    )
    return year["starts_on"], year["used_minutes"], year["remaining_minutes"]


@pytest.mark.parametrize("kind", ["editor", "upgrade"])
async def test_an_editor_bought_starts_a_new_year_with_all_its_minutes(
    customer: Customer, kind: str
) -> None:
    """R14: what was left of the old one is gone; a paid upgrade is a purchase (R25)."""
    licence = await customer.licence(days=-30)
    case = await customer.open()
    await customer.work(case, 200)
    assert await year_of(customer) == ("2026-02-08", 200, 100)
    if kind == "upgrade":
        await upgrade(customer, licence)
    else:
        await customer.licence(days=0)
    assert await year_of(customer) == (str(DAY), 0, 300)
    # R18: the old case stays bound to the old year; R20: of today that one has nothing left.
    assert charges(await customer.work(case, 10)) == [(str(DAY), 10)]
    assert (await customer.case(case["number"]))["paid_by"] == case["paid_by"]
    assert (await customer.open())["paid_by"]["service_year_start"] == str(DAY)


@pytest.mark.parametrize("kind", ["runtime", "other", "upgrade"])
async def test_any_other_purchase_keeps_dev_and_refills_nothing(
    customer: Customer, travel: Travel, kind: str
) -> None:
    """R14: next year's hours come with the anniversary, because DEV still stands then."""
    await customer.licence(days=-30)
    await customer.work(await customer.open(), 200)
    runtime = await customer.licence("runtime" if kind == "upgrade" else kind, days=0)
    if kind == "upgrade":
        await upgrade(customer, runtime)
    assert await year_of(customer) == ("2026-02-08", 200, 100)
    anniversary = date(2027, 2, 8)
    travel(anniversary - timedelta(days=1))
    assert await year_of(customer) == ("2026-02-08", 200, 100)
    assert (await customer.entitlements())["valid_until"] == "2027-02-07T23:00:00Z"
    travel(anniversary)
    assert await year_of(customer) == (str(anniversary), 0, 300)
    # R3: DEV itself ends twelve months after the last purchase, and the year sleeps from then on.
    lapses = add_months(DAY, 12)
    travel(lapses - timedelta(days=1))
    assert await year_of(customer) == (str(anniversary), 0, 300)
    travel(lapses)
    assert (await customer.entitlements())["allowances"] == []
    assert (await customer.try_open()).status_code == 409


async def upgrade(customer: Customer, licence: dict[str, Any]) -> None:
    body = {"version": "12", "paid_by": "purchase"}
    await customer.post(f"licences/{licence['id']}/upgrades", 201, **body)


async def test_dev_lapses_and_returns_within_a_year(customer: Customer, travel: Travel) -> None:
    """R14: the same year goes on with what it had left, for new cases too."""
    await customer.licence(days=-350)
    await customer.licence("runtime", days=-340)
    year = str(add_months(DAY - timedelta(days=350), 12))
    travel(DAY + timedelta(days=20))
    case = await customer.open()
    await customer.work(case, 100)
    assert await year_of(customer) == (year, 100, 200)
    await customer.contract(days=10, included_minutes=5)
    other = await customer.open(pay_with="contract")
    lapses = add_months(DAY - timedelta(days=340), 12)
    travel(lapses)
    assert (await customer.try_open(pay_with="free_hours")).status_code == 409
    # R20: the case bound before goes on drawing; nothing else goes over to the year (R21).
    assert charges(await customer.work(case, 10)) == [(year, 10)]
    assert (await customer.work(other, 7))["overrun_minutes"] == 2
    used = await customer.get(f"customers/{customer.id}/usage")
    shown = next(one for one in used["allowances"] if one["starts_on"] == year)
    assert (shown["state"], shown["remaining_minutes"], shown["lapsed_minutes"]) == (
        "suspended",
        190,
        0,
    )
    travel(lapses + timedelta(days=5))
    await customer.licence("other", purchased_on=str(lapses + timedelta(days=5)))
    assert await year_of(customer) == (year, 110, 190)
    assert (await customer.open())["paid_by"]["service_year_start"] == year


async def test_an_upgrade_that_a_contract_pays_for_starts_none(customer: Customer) -> None:
    """R25, R14."""
    licence = await customer.licence(days=-30)
    contract = await customer.contract()
    await customer.work(await customer.open(), 200)
    path, body = f"licences/{licence['id']}/upgrades", {"version": "12", "paid_by": "contract"}
    upgraded = await customer.post(path, 201, **body)
    assert upgraded["upgrades"][0]["contract_id"] == contract["id"]
    assert await year_of(customer) == ("2026-02-08", 200, 100)


async def test_purchases_on_one_day_make_one_year(customer: Customer) -> None:
    """R14."""
    await customer.licence(days=0)
    await customer.work(await customer.open(), 300)
    await customer.licence(days=0)
    await customer.licence("runtime", days=0)
    assert await year_of(customer) == (str(DAY), 300, 0)
    assert (await customer.try_open()).status_code == 409


async def test_any_number_of_cases_share_a_year(customer: Customer) -> None:
    """R14, R20: over however many cases the time is spread."""
    await customer.licence(days=-30)
    cases = [await customer.open() for _ in range(3)]
    for case in cases:
        await customer.work(case, 100)
    assert await year_of(customer) == ("2026-02-08", 300, 0)
    assert (await customer.try_open()).status_code == 409


async def test_a_year_lasts_twelve_months(customer: Customer, travel: Travel) -> None:
    """R14, R20: to the day before the anniversary; then overrun of its own."""
    await customer.licence(days=0)
    case = await customer.open()
    ends = add_months(DAY, 12)
    travel(ends + timedelta(days=1))
    entry = await customer.work(case, 10, worked_at=noon(ends - timedelta(days=1)))
    assert charges(entry) == [(str(DAY), 10)]
    entry = await customer.work(case, 10, worked_at=noon(ends))
    assert (charges(entry), entry["overrun_minutes"]) == ([], 10)
    assert await customer.minutes(case) == (20, 10, 10)


async def test_a_late_registration_moves_no_charge(customer: Customer, travel: Travel) -> None:
    """R14: a charge stays with the year it was recorded in; only time recorded later sees the
    new one, even for the same day."""
    await customer.licence(days=-30)
    case = await customer.open()
    worked = DAY + timedelta(days=10)
    travel(worked)
    before = await customer.work(case, 100)
    travel(worked + timedelta(days=10))
    bought = DAY + timedelta(days=5)
    await customer.licence(purchased_on=str(bought))
    assert charges(await customer.entry(before)) == [("2026-02-08", 100)]
    assert await year_of(customer) == (str(bought), 0, 300)
    after = await customer.work(case, 50, worked_at=noon(worked))
    assert charges(after) == [(str(bought), 50)]
    # Work of the days before the purchase still belongs to the old year.
    early = await customer.work(case, 20, worked_at=noon(bought - timedelta(days=1)))
    assert charges(early) == [("2026-02-08", 20)]
    await customer.reverse(before)
    assert await year_of(customer) == (str(bought), 50, 250)


async def test_a_withdrawn_purchase_brings_the_former_year_back(customer: Customer) -> None:
    """R14, R2: what it had used stays used."""
    await customer.licence(days=-30)
    await customer.work(await customer.open(), 120)
    given_back = await customer.licence(days=-1)
    bought = str(DAY - timedelta(days=1))
    case = await customer.open()
    await customer.work(case, 40)
    assert await year_of(customer) == (bought, 40, 260)
    await customer.withdraw(given_back, DAY)
    assert await year_of(customer) == ("2026-02-08", 120, 180)
    # R20: the case bound meanwhile goes on drawing on its own.
    entry = await customer.work(case, 10)
    assert charges(entry) == [(bought, 10)]


async def test_without_an_editor_a_purchase_brings_no_hours(customer: Customer) -> None:
    """R14: as long as an Editor is held."""
    await customer.licence("runtime", days=-30)
    assert (await customer.entitlements())["allowances"] == []
    assert (await customer.try_open()).status_code == 409
    editor = await customer.licence(days=-20)
    assert await year_of(customer) == ("2026-02-18", 0, 300)
    await customer.withdraw(editor, DAY)
    assert (await customer.entitlements())["allowances"] == []


async def test_free_hours_pay_for_email_alone(customer: Customer) -> None:
    """R14, R21: neither at the opening nor for what another allowance lacks."""
    await customer.licence(days=-30)
    await customer.contract(included_minutes=10)
    for channel in ("phone", "remote"):
        case = await customer.open(channel=channel, category="bug")
        assert case["paid_by"]["kind"] == "none"
    case = await customer.open(channel="phone")
    entry = await customer.work(case, 30)
    assert (len(entry["charges"]), entry["overrun_minutes"]) == (1, 20)
    assert await year_of(customer) == ("2026-02-08", 0, 300)


async def test_a_year_from_a_leap_day_ends_on_28_february(
    customer: Customer, travel: Travel
) -> None:
    """R14."""
    travel(date(2024, 3, 1))
    await customer.licence(purchased_on="2024-02-29")
    travel(date(2025, 2, 27))
    assert (await year_of(customer))[0] == "2024-02-29"
    await customer.licence("runtime", purchased_on="2024-06-01")
    travel(date(2025, 2, 28))
    assert (await year_of(customer))[0] == "2025-02-28"
