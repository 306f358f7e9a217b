"""Licences that were entered wrong, withdrawals taken back, upgrades that never were (R40, R46)."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.ids import new_id
from tests import histories
from tests.api.build import Customer, errors, made, recorded, refused, unique
from tests.conftest import Service

Travel = Callable[[date], None]
DAY = timedelta(days=1)
T0 = date(2026, 3, 10)
SENT = ("customer_id", "kind", "product", "version", "purchased_on")


async def step(
    customer: Customer, licence: dict[str, Any], what: str, **body: Any
) -> httpx.Response:
    url = f"/v1/licences/{licence['id']}/{what}"
    return await customer.client.post(url, json={"reason": "Entered wrong.", **body})


async def put(customer: Customer, licence: dict[str, Any], **changes: Any) -> httpx.Response:
    """The licence sent by the CRM, under the serial number that it knows."""
    body = {name: licence[name] for name in SENT} | changes
    return await customer.client.put(
        f"/v1/licences/by-serial/{licence['serial_number']}", json=body
    )


async def upgrade(customer: Customer, licence: dict[str, Any], days: int, version: str) -> str:
    """Its id."""
    body = {
        "version": version,
        "upgraded_on": str(customer.today + days * DAY),
        "paid_by": "purchase",
    }
    upgraded = await customer.post(f"licences/{licence['id']}/upgrades", 201, **body)
    id_: str = upgraded["upgrades"][-1]["id"]
    return id_


# --- correction ----------------------------------------------------------------------------------


async def test_a_corrected_licence_is_as_if_it_had_been_right(
    customer: Customer, service: Service
) -> None:
    licence = await customer.licence("runtime", days=-30)
    right = {
        "purchased_on": str(customer.today - 10 * DAY),
        "kind": "editor",
        "serial_number": unique("S"),
        "product": "Movicon.NExT",
    }
    tried = await made(await step(customer, licence, "correction", dry_run=True, **right), 200)
    assert (tried["before"]["columns"], tried["after"]["columns"]) == (["NO_DEV"], ["DEV"])
    assert await customer.get(f"licences/{licence['id']}") == licence
    corrected = await made(await step(customer, licence, "correction", **right), 200)
    assert corrected == licence | right | {"held_from": right["purchased_on"]}
    assert (await customer.entitlements())["columns"] == ["DEV"]
    ((_, data),) = await recorded(service, customer.id, "licence.corrected")
    assert json.loads(data) == {
        "serial_number": licence["serial_number"],
        "reason": "Entered wrong.",
        "before": {name: licence[name] for name in right},
        "after": right,
    }
    assert await made(await step(customer, licence, "correction", **right), 200) == corrected
    assert len(await recorded(service, customer.id, "licence.corrected")) == 1


async def test_the_crm_need_not_know_of_a_corrected_serial_number(customer: Customer) -> None:
    licence = await customer.licence()
    number = unique("S")
    await made(await step(customer, licence, "correction", serial_number=number), 200)
    # What was sent last, sent again under the old number, changes nothing.
    same = await made(await put(customer, licence), 200)
    assert (same["id"], same["serial_number"]) == (licence["id"], number)
    newer = await made(await put(customer, licence, version="12"), 200)
    assert (newer["id"], newer["version"]) == (licence["id"], "12")
    assert await made(await put(customer, licence, version="12"), 200) == newer
    assert len((await customer.get(f"licences?customer_id={customer.id}"))["items"]) == 1


async def test_of_two_licences_sent_under_a_serial_number_the_crm_means_the_newer(
    customer: Customer,
) -> None:
    older = await customer.licence()
    serial = older["serial_number"]
    await made(await step(customer, older, "correction", serial_number=unique("S")), 200)
    newer = await customer.licence(serial_number=serial)
    await made(await step(customer, newer, "correction", serial_number=unique("S")), 200)
    assert (await made(await put(customer, newer), 200))["id"] == newer["id"]
    changed = await made(await put(customer, newer, version="12"), 200)
    assert (changed["id"], changed["version"]) == (newer["id"], "12")
    assert (await customer.get(f"licences/{older['id']}"))["version"] == "11"


async def test_the_crm_means_its_customers_licence_once_another_holder_has_ended(
    customer: Customer,
) -> None:
    """R44: a withdrawn licence of another customer is not in the way of the corrected one."""
    licence = await customer.licence()
    serial = licence["serial_number"]
    await made(await step(customer, licence, "correction", serial_number=unique("S")), 200)
    another = await Customer.new(customer.client, customer.today)
    other = await another.licence(days=-90, serial_number=serial)
    day = str(another.today - 60 * DAY)
    await made(await step(another, other, "withdrawal", withdrawn_on=day), 200)
    assert (await made(await put(customer, licence), 200))["id"] == licence["id"]


async def test_what_a_correction_refuses(customer: Customer) -> None:
    licence, other = await customer.licence(), await customer.licence()
    await upgrade(customer, licence, -10, "12")
    for day, code in ((1, "in_future"), (-9, "wrong_order")):
        answer = await step(
            customer, licence, "correction", purchased_on=str(customer.today + day * DAY)
        )
        assert errors(answer) == [("/purchased_on", code)]
    taken = await step(customer, licence, "correction", serial_number=other["serial_number"])
    assert refused(taken, "already_exists")["field"] == "serial_number"
    await customer.contract(days=-5)
    free = {"version": "13", "upgraded_on": str(customer.today), "paid_by": "contract"}
    await customer.post(f"licences/{other['id']}/upgrades", 201, **free)
    before = await customer.get(f"licences/{other['id']}")
    answer = await step(customer, other, "correction", kind="runtime")
    assert refused(answer, "correction_conflicts")["conflicts"] == [
        {"kind": "upgrade", "name": "13", "on": str(customer.today)}
    ]
    assert await customer.get(f"licences/{other['id']}") == before
    await customer.withdraw(other, customer.today)
    refused(await step(customer, other, "correction", product="Other"), "wrong_state")


# --- reinstatement -------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-1, 0, 1])
async def test_a_withdrawal_is_taken_back(customer: Customer, service: Service, days: int) -> None:
    licence = await customer.licence(days=-30)
    await customer.withdraw(licence, customer.today + days * DAY)
    assert await made(await step(customer, licence, "reinstatement"), 200) == licence
    answer = await customer.entitlements()
    assert answer["columns"] == ["DEV"]
    ((_, data),) = await recorded(service, customer.id, "licence.reinstated")
    assert json.loads(data) == {
        "serial_number": licence["serial_number"],
        "reason": "Entered wrong.",
        "before": {"withdrawn_on": str(customer.today + days * DAY)},
        "after": {"withdrawn_on": None},
    }
    again = refused(await step(customer, licence, "reinstatement"), "wrong_state")
    assert (again["state"], again["wanted_state"]) == ("in_force", "reinstated")


async def test_a_year_that_was_undone_gets_its_cases_again(
    customer: Customer, travel: Travel
) -> None:
    """R14: an Editor withdrawn as of its own day never was, until that is taken back."""
    travel(T0)
    customer.today = T0
    await customer.licence(days=-900)
    licence = await customer.licence(days=-40)
    await customer.contract(days=-10, included_minutes=100)
    travel(T0 + DAY)
    case, bug = await customer.open(), await customer.open()
    await customer.work(case, 70)
    await customer.work(bug, 20)
    await customer.patch(bug, category="bug")
    travel(T0 + 2 * DAY)
    await customer.withdraw(licence, T0 - 40 * DAY)
    assert (await customer.case(case["number"]))["paid_by"]["kind"] == "contract"
    assert await customer.minutes(case) == (70, 70, 0)
    travel(T0 + 3 * DAY)
    await customer.work(case, 60)  # 30 of them overrun of the contract
    assert await customer.minutes(case) == (130, 100, 30)
    tried = await made(await step(customer, licence, "reinstatement", dry_run=True), 200)
    moved = [
        (one["allowance"]["kind"], one["used_minutes"], one["overrun_minutes"])
        for one in tried["charges_moved"]
    ]
    assert sum(used for kind, used, _ in moved if kind == "free_hours") == 130
    assert sum(used for kind, used, _ in moved if kind == "contract") == -100
    assert (await customer.case(case["number"]))["paid_by"]["kind"] == "contract"
    travel(T0 + 4 * DAY)
    await made(await step(customer, licence, "reinstatement"), 200)
    shown = await customer.case(case["number"])
    assert shown["paid_by"]["service_year_start"] == str(T0 - 40 * DAY)
    assert await customer.minutes(case) == (130, 130, 0)
    # What pays now has paid from the start, also in answers about the past.
    for day in range(1, 5):
        service = await customer.service("email_support", at=f"{T0 + day * DAY}T20:00:00Z")
        assert service["continues"] == [case["number"], bug["number"]]
        (hours,) = (one for one in service["granted_by"] if one["paid_by"] == "free_hours")
        assert hours["remaining_minutes"] == 300 - (70 if day < 3 else 130)
    bug = await customer.patch(bug, category="problem")
    assert bug["paid_by"]["service_year_start"] == str(T0 - 40 * DAY)


async def test_a_case_bound_anew_meanwhile_stays_where_it_is(customer: Customer) -> None:
    await customer.licence("runtime", days=-5)
    licence = await customer.licence(days=-40)
    case = await customer.open()
    await customer.withdraw(licence, customer.today - 40 * DAY)
    assert (await customer.case(case["number"]))["paid_by"]["kind"] == "none"
    await customer.pack(1)
    await customer.step(case, "binding", pay_with="ticket")
    await made(await step(customer, licence, "reinstatement"), 200)
    assert (await customer.case(case["number"]))["paid_by"]["kind"] == "ticket"


async def mistaken(customer: Customer, licence: dict[str, Any]) -> None:
    """Withdrawn as of its own day, and taken back."""
    await customer.withdraw(licence, date.fromisoformat(licence["purchased_on"]))
    await made(await step(customer, licence, "reinstatement"), 200)


async def test_a_bug_that_proved_none_meanwhile_goes_back_to_its_year(customer: Customer) -> None:
    """R14, R22: at the withdrawal the year was the first allowance of a bug."""
    await customer.licence(days=-900)
    licence = await customer.licence(days=-40)
    await customer.contract(days=-10, included_minutes=100)
    case = await customer.open()
    await customer.work(case, 70)
    await customer.patch(case, category="bug")
    await customer.withdraw(licence, customer.today - 40 * DAY)
    case = await customer.patch(case, category="problem")
    assert case["paid_by"]["kind"] == "contract"
    await made(await step(customer, licence, "reinstatement"), 200)
    case = await customer.case(case["number"])
    assert case["paid_by"].get("service_year_start") == licence["purchased_on"]


async def test_overrun_of_a_year_stays_overrun_when_the_year_comes_back(
    customer: Customer,
) -> None:
    """R40: a contract that was signed later covers none of it, as if nothing had happened."""
    await customer.licence(days=-900)
    licence = await customer.licence(days=-40)
    case = await customer.open()
    await customer.work(case, 350)
    contract = await customer.contract(days=-10, included_minutes=100)
    await mistaken(customer, licence)
    assert await customer.minutes(case) == (350, 300, 50)
    assert (await customer.get(f"contracts/{contract['id']}"))["used_minutes"] == 0


async def test_a_year_that_comes_back_pays_the_rest_of_other_cases_again(
    customer: Customer,
) -> None:
    """R21, R40: the case is bound to a contract all along."""
    await customer.licence(days=-900)
    licence = await customer.licence(days=-40)
    await customer.contract(days=-10, included_minutes=40)
    case = await customer.open(pay_with="contract")
    await customer.work(case, 60)
    assert await customer.minutes(case) == (60, 60, 0)
    await mistaken(customer, licence)
    assert await customer.minutes(case) == (60, 60, 0)


# --- upgrades that never were --------------------------------------------------------------------


async def test_an_upgrade_is_reversed_once(customer: Customer, service: Service) -> None:
    licence = await customer.licence(days=-400)
    first, second = (
        await upgrade(customer, licence, -50, "12"),
        await upgrade(customer, licence, -10, "13"),
    )
    case = await customer.open()
    await customer.work(case, 40)
    reversal = f"upgrades/{second}/reversal"
    tried = await made(await step(customer, licence, reversal, dry_run=True), 200)
    assert len((await customer.get(f"licences/{licence['id']}"))["upgrades"]) == 2
    assert [one["event"] for one in tried["facts"]] == ["case.changed", "licence.upgrade_reversed"]
    body = await made(await step(customer, licence, reversal), 200)
    assert (body["version"], [one["id"] for one in body["upgrades"]]) == ("12", [first])
    assert (await customer.entitlements())["allowances"] == tried["after"]["allowances"]
    refused(await step(customer, licence, reversal), "already_reversed")
    missing = await step(customer, licence, f"upgrades/{new_id()}/reversal")
    assert missing.status_code == 404
    ((_, data),) = await recorded(service, customer.id, "licence.upgrade_reversed")
    assert json.loads(data) == {
        "serial_number": licence["serial_number"],
        "upgrade_id": second,
        "reason": "Entered wrong.",
        "before": {"upgraded_on": str(customer.today - 10 * DAY), "version": "13"},
        "after": {"upgraded_on": None, "version": "12"},
    }
    body = await made(await step(customer, licence, f"upgrades/{first}/reversal"), 200)
    assert (body["version"], body["upgrades"]) == ("11", [])
    assert (await customer.entitlements())["columns"] == ["NO_DEV"]
    # The same version may be recorded again.
    await upgrade(customer, licence, -10, "13")


async def test_a_reversed_upgrade_no_longer_holds_a_contract(holder: Customer) -> None:
    contract = await holder.contract(days=-20)
    (licence,) = (await holder.get(f"licences?customer_id={holder.id}"))["items"]
    body = {"version": "12", "upgraded_on": str(holder.today), "paid_by": "contract"}
    upgraded = await holder.post(f"licences/{licence['id']}/upgrades", 201, **body)
    id_ = upgraded["upgrades"][0]["id"]
    await made(await step(holder, licence, f"upgrades/{id_}/reversal"), 200)
    await made(await step(holder, licence, "correction", kind="runtime"), 200)
    await holder.end(contract, holder.today)


# --- wrong, then corrected, equals right at once --------------------------------------------------

some_examples = settings(max_examples=12, deadline=None, phases=[Phase.generate])
_works = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from((10, 60, 90))), min_size=1, max_size=5
)


@some_examples
@given(
    bought=st.integers(1, 330),
    mistake=st.sampled_from(("day", "upgrade", "withdrawn", "never bought")),
    shift=st.integers(-200, 200),
    work=_works,
    late=st.integers(61, 420),
)
async def test_wrong_then_corrected_equals_right_at_once(
    client: httpx.AsyncClient,
    bought: int,
    mistake: str,
    shift: int,
    work: list[tuple[int, int]],
    late: int,
) -> None:
    """R40, R46: a wrong day, an upgrade that was none, a withdrawal by mistake."""
    seen = []
    for wrong in (True, False):
        with histories.at(T0):
            customer = await Customer.new(client, T0)
            await customer.licence("runtime", days=-1)
            day = bought + shift if wrong and mistake == "day" else bought
            licence = await customer.licence(days=-min(max(day, 1), 330))
            upgraded = None
            if wrong and mistake == "upgrade":
                upgraded = await upgrade(customer, licence, 0, "12")
            answer = await customer.try_open(pay_with="free_hours")
            case = answer.json() if answer.is_success else None
        for days, minutes in sorted(work):
            with histories.at(T0 + days * DAY):
                if case is not None:
                    await customer.work(case, minutes)
        with histories.at(T0 + 61 * DAY):
            if wrong and mistake == "day":
                right = str(T0 - bought * DAY)
                await made(await step(customer, licence, "correction", purchased_on=right), 200)
            elif wrong and mistake == "upgrade":
                await made(await step(customer, licence, f"upgrades/{upgraded}/reversal"), 200)
            elif wrong:
                on = licence["purchased_on"] if mistake == "never bought" else str(T0 + 30 * DAY)
                await customer.withdraw(licence, date.fromisoformat(on))
                await made(await step(customer, licence, "reinstatement"), 200)
        with histories.at(T0 + late * DAY):
            seen.append(await snapshot(customer, case))
    # A case of a year that was undone is bound as of the day of its opening, and never to a year
    # that only stood once the mistake was made; overrun stays what it was.
    if mistake in ("withdrawn", "never bought") or not any(one["overrun"] for one in seen):
        assert {**seen[0], "case": None} == {**seen[1], "case": None}
        if mistake != "upgrade":
            assert seen[0]["case"] == seen[1]["case"]


async def snapshot(customer: Customer, case: dict[str, Any] | None) -> dict[str, Any]:
    answer = await customer.entitlements()
    usage = await customer.get(f"customers/{customer.id}/usage")
    shown = case and await customer.case(case["number"])
    return {
        **{name: answer[name] for name in ("columns", "valid_until", "allowances")},
        "services": [
            (one["service"], one["granted_by"], [reason["code"] for reason in one["reasons"]])
            for one in answer["services"]
        ],
        "years": [one for one in usage["allowances"] if one["used_minutes"]],
        "case": shown and (shown["paid_by"], shown["charged_minutes"], shown["overrun_minutes"]),
        "overrun": usage["totals"]["overrun_minutes"],
    }
