"""When work may lie, and where its minutes go (R16, R20, R21, R30)."""

from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app.policy.civil import add_months
from tests.api.build import Customer, charges
from tests.api.cases import DAY, Travel, noon


async def try_work(customer: Customer, case: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {"technician": "Help desk", "minutes": 10, **fields}
    return await customer.client.post(f"/v1/cases/{case['id']}/time-entries", json=body)


# --- when -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worked_at", "status"),
    [
        # Opened at 13:00 in Rome, which is an hour ahead of UTC.
        ("2026-03-10T12:00:00Z", 201),
        ("2026-03-10T12:00:01Z", 422),
        ("2026-03-10T07:00:00Z", 201),
        ("2026-03-09T23:00:00Z", 201),
        ("2026-03-09T22:59:59Z", 422),
    ],
)
async def test_work_lies_between_the_day_of_opening_and_now(
    customer: Customer, worked_at: str, status: int
) -> None:
    """R20: the civil date is Rome's; earlier on the day of opening is accepted."""
    await customer.pack()
    case = await customer.open()
    answer = await try_work(customer, case, worked_at=worked_at)
    assert answer.status_code == status
    if status == 422:
        late = worked_at > "2026-03-10"
        body = answer.json()
        assert body["code"] == ("invalid_input" if late else "worked_before_opening")
        assert not late or body["errors"][0]["pointer"] == "/worked_at"
        assert (await customer.case(case["number"]))["worked_minutes"] == 0


async def test_work_without_an_instant_was_done_now(customer: Customer, travel: Travel) -> None:
    """R20: and is charged whole, on the day on which it began."""
    await customer.licence(days=-30)
    case = await customer.open()
    travel(DAY + timedelta(days=3))
    entry = await customer.work(case, 1440, note="Looked for the cause")
    assert entry["worked_at"] == "2026-03-13T12:00:00Z"
    assert entry["recorded_at"] == entry["worked_at"]
    assert charges(entry) == [("2026-02-08", 300)]
    assert entry["overrun_minutes"] == 1140


@pytest.mark.parametrize("minutes", [0, 1441, -5, True, 2.5, "10"])
async def test_minutes_are_whole_and_within_a_day(customer: Customer, minutes: Any) -> None:
    """R20: as really worked, never rounded."""
    await customer.pack()
    answer = await try_work(customer, await customer.open(), minutes=minutes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/minutes"


async def test_minutes_count_on_the_day_of_the_work(customer: Customer, travel: Travel) -> None:
    """R20: recorded later, they count on the civil date of `worked_at`, as past answers show."""
    await customer.licence(days=-30)
    case = await customer.open()
    travel(DAY + timedelta(days=10))
    await customer.work(case, 50, worked_at="2026-03-11T23:30:00Z")
    for day, used in ((date(2026, 3, 11), 0), (date(2026, 3, 12), 50)):
        (year,) = (await customer.entitlements(at=noon(day)))["allowances"]
        assert year["used_minutes"] == used, day


# --- where ------------------------------------------------------------------------------------


async def test_what_one_allowance_lacks_the_next_pays(customer: Customer) -> None:
    """R21: own first, then R18's order; the rest is overrun of the own, never a ticket."""
    await customer.licence(days=-30)
    later = await customer.contract(days=-10, included_minutes=70)
    sooner = await customer.contract(days=-20, included_minutes=60)
    pack = await customer.pack()
    case = await customer.open()
    entry = await customer.work(case, 500)
    assert charges(entry) == [
        ("2026-02-08", 300),
        (sooner["number"], 60),
        (later["number"], 70),
    ]
    assert entry["overrun_minutes"] == 70
    allowances = (await customer.entitlements())["allowances"]
    assert [one.get("overrun_minutes") for one in allowances] == [70, 0, 0, None]
    assert (await customer.get(f"ticket-packs/{pack['id']}"))["available"] == 1
    case = await customer.case(case["number"])
    assert (case["worked_minutes"], case["charged_minutes"], case["overrun_minutes"]) == (
        500,
        430,
        70,
    )


async def test_from_a_contract_it_goes_on_to_free_hours(customer: Customer) -> None:
    """R21: the next is every other in R18's order, if it covers the channel."""
    await customer.licence(days=-30)
    contract = await customer.contract(included_minutes=60)
    by_mail = await customer.open(pay_with="contract")
    by_phone = await customer.open(channel="phone")
    entry = await customer.work(by_mail, 100)
    assert charges(entry) == [(contract["number"], 60), ("2026-02-08", 40)]
    entry = await customer.work(by_phone, 100)
    assert (charges(entry), entry["overrun_minutes"]) == ([], 100)
    assert (await customer.get(f"contracts/{contract['id']}"))["overrun_minutes"] == 100


async def test_exactly_what_is_left_leaves_no_overrun(holder: Customer) -> None:
    """R21."""
    contract = await holder.contract(included_minutes=60)
    case, other = await holder.open(), await holder.open()
    assert (await holder.work(case, 59))["overrun_minutes"] == 0
    assert (await holder.work(other, 1))["overrun_minutes"] == 0
    assert (await holder.get(f"contracts/{contract['id']}"))["remaining_minutes"] == 0
    entry = await holder.work(case, 1)
    assert (charges(entry), entry["overrun_minutes"]) == ([], 1)
    assert (await holder.try_open()).status_code == 409


async def test_an_allowance_pays_only_for_days_inside_its_period(
    holder: Customer, travel: Travel
) -> None:
    """R20, R21: to the last day; afterwards another that covers the day, else own overrun."""
    contract = await holder.contract(days=0)
    case = await holder.open()
    ends = add_months(DAY, 12)
    travel(ends + timedelta(days=5))
    last = await holder.work(case, 10, worked_at=noon(ends - timedelta(days=1)))
    assert charges(last) == [(contract["number"], 10)]
    after = await holder.work(case, 10, worked_at=noon(ends))
    assert (charges(after), after["overrun_minutes"]) == ([], 10)
    renewed = await holder.renew(contract, "at_end")
    after = await holder.work(case, 10, worked_at=noon(ends))
    assert charges(after) == [(renewed["number"], 10)]
    assert (await holder.get(f"contracts/{contract['id']}"))["overrun_minutes"] == 10


async def test_a_suspended_contract_pays_for_no_other_case(holder: Customer) -> None:
    """R20, R21: an allowance to which work goes on must not be suspended that day."""
    own = await holder.contract(days=-20, included_minutes=10)
    other = await holder.contract(days=-10)
    case = await holder.open()
    assert case["paid_by"]["number"] == own["number"]
    (licence,) = (await holder.get(f"licences?customer_id={holder.id}"))["items"]
    await holder.withdraw(licence, DAY)
    entry = await holder.work(case, 30)
    assert charges(entry) == [(own["number"], 10)]
    assert entry["overrun_minutes"] == 20
    assert (await holder.get(f"contracts/{other['id']}"))["used_minutes"] == 0


# --- reversal ---------------------------------------------------------------------------------


async def test_a_wrong_entry_is_reversed_once_and_stays_on_record(customer: Customer) -> None:
    """R30: wherever its minutes went."""
    await customer.licence(days=-30)
    await customer.contract(included_minutes=60)
    case = await customer.open()
    kept = await customer.work(case, 290)
    wrong = await customer.work(case, 100)
    assert charges(wrong) == [("2026-02-08", 10), (wrong["charges"][1]["allowance"]["number"], 60)]
    reversed_ = await customer.reverse(wrong)
    assert (reversed_["minutes"], reversed_["charges"], reversed_["overrun_minutes"]) == (
        100,
        [],
        0,
    )
    assert reversed_["reversal_reason"] == "Written on the wrong case."
    assert reversed_["reversed_at"] == "2026-03-10T12:00:00Z"
    assert (await customer.reverse(wrong, 409))["code"] == "already_reversed"
    case = await customer.case(case["number"])
    assert (case["worked_minutes"], case["charged_minutes"], case["overrun_minutes"]) == (
        290,
        290,
        0,
    )
    entry = await customer.get(f"cases/{case['id']}/time-entries/{kept['id']}")
    assert charges(entry) == [("2026-02-08", 290)]


async def test_a_reversal_needs_a_reason(customer: Customer) -> None:
    """R30."""
    await customer.pack()
    entry = await customer.work(await customer.open(), 10)
    path = f"cases/{entry['case_id']}/time-entries/{entry['id']}/reversal"
    answer = await customer.post(path, 422)
    assert answer["errors"][0]["pointer"] == "/reason"


async def test_an_entry_is_reversed_on_its_own_case_only(customer: Customer) -> None:
    """R30."""
    await customer.pack(quantity=2)
    entry = await customer.work(await customer.open(), 10)
    other = await customer.open()
    await customer.reverse({**entry, "case_id": other["id"]}, 404)
    assert (await customer.reverse(entry))["reversed_at"] is not None
