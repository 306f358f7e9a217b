"""Contracts that were entered wrong, and cancellations taken back (R40, R46)."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.policy.civil import add_months
from tests import histories
from tests.api.build import Customer, errors, made, recorded, refused, unique
from tests.conftest import Service

Travel = Callable[[date], None]
DAY = timedelta(days=1)
T0 = date(2026, 3, 10)


async def step(
    customer: Customer, contract: dict[str, Any], what: str, **body: Any
) -> httpx.Response:
    url = f"/v1/contracts/{contract['id']}/{what}"
    return await customer.client.post(url, json={"reason": "Entered wrong.", **body})


async def correct(customer: Customer, contract: dict[str, Any], **body: Any) -> httpx.Response:
    return await step(customer, contract, "correction", **body)


async def read(customer: Customer, contract: dict[str, Any]) -> dict[str, Any]:
    return await customer.get(f"contracts/{contract['id']}")


async def worked(customer: Customer, minutes: int) -> dict[str, Any]:
    """A case on the phone, with time worked today."""
    case = await customer.open(channel="phone")
    await customer.work(case, minutes)
    return case


# --- correction ----------------------------------------------------------------------------------


async def test_a_corrected_contract_is_as_if_it_had_been_right(
    holder: Customer, service: Service
) -> None:
    contract = await holder.contract(days=-30)
    case = await worked(holder, 60)
    right, number = holder.today - 10 * DAY, unique("SA")
    body = {"starts_on": str(right), "included_minutes": 900, "number": number}
    corrected = await made(await correct(holder, contract, **body), 200)
    assert corrected == contract | body | {
        "ends_on": str(add_months(right, 12)),
        "used_minutes": 60,
        "remaining_minutes": 840,
    }
    assert await read(holder, contract) == corrected
    ((_, data),) = await recorded(service, holder.id, "contract.corrected")
    changed = ("starts_on", "ends_on", "included_minutes", "number")
    assert json.loads(data) == {
        "number": contract["number"],
        "reason": "Entered wrong.",
        "before": {name: contract[name] for name in changed},
        "after": {name: corrected[name] for name in changed},
    }
    assert await made(await correct(holder, contract, **body), 200) == corrected
    assert len(await recorded(service, holder.id, "contract.corrected")) == 1
    for day, columns in ((right - DAY, ["NO_DEV"]), (right, ["SA"])):
        answer = await holder.entitlements(at=f"{day}T12:00:00Z")
        assert answer["columns"] == columns
    assert (await holder.case(case["number"]))["paid_by"]["number"] == number


@pytest.mark.parametrize(
    ("first", "conflicts"), [(0, False), (1, True), (-365, True), (-364, False)]
)
async def test_a_charge_outside_the_corrected_term_stands_in_the_way(
    holder: Customer, service: Service, first: int, conflicts: bool
) -> None:
    """Worked today: a term that begins tomorrow, or ends today, does not cover it."""
    contract = await holder.contract(days=-30)
    case = await worked(holder, 60)
    before = await read(holder, contract)
    starts_on = holder.today + first * DAY
    if first <= -364:
        starts_on = add_months(holder.today, -12) + (first + 365) * DAY
    for dry_run in (True, False):
        answer = await correct(holder, contract, starts_on=str(starts_on), dry_run=dry_run)
        if conflicts:
            assert refused(answer, "correction_conflicts")["conflicts"] == [
                {"kind": "charge", "name": case["number"], "on": str(holder.today), "minutes": 60}
            ]
    if conflicts:
        assert await read(holder, contract) == before
        assert not await recorded(service, holder.id, "contract.corrected")
    else:
        assert (await made(answer, 200))["used_minutes"] == 60


@pytest.mark.parametrize(("minutes", "conflicts"), [(90, False), (89, True)])
async def test_more_charged_than_the_corrected_contract_grants(
    holder: Customer, minutes: int, conflicts: bool
) -> None:
    contract = await holder.contract(included_minutes=100)
    await worked(holder, 60)
    case = await worked(holder, 30)
    answer = await correct(holder, contract, included_minutes=minutes)
    if conflicts:
        assert refused(answer, "correction_conflicts")["conflicts"] == [
            {"kind": "charge", "name": case["number"], "on": str(holder.today), "minutes": 30}
        ]
    else:
        assert (await made(answer, 200))["remaining_minutes"] == 0


async def test_an_upgrade_outside_the_corrected_term_stands_in_the_way(holder: Customer) -> None:
    contract = await holder.contract(days=-30)
    (licence,) = (await holder.get(f"licences?customer_id={holder.id}"))["items"]
    on = str(holder.today - 20 * DAY)
    path = f"licences/{licence['id']}/upgrades"
    await holder.post(path, 201, version="12", upgraded_on=on, paid_by="contract")
    late = await correct(holder, contract, starts_on=str(holder.today - 19 * DAY))
    assert refused(late, "correction_conflicts")["conflicts"] == [
        {"kind": "upgrade", "name": "12", "on": on}
    ]
    await made(await correct(holder, contract, starts_on=on), 200)


async def test_what_else_a_correction_refuses(customer: Customer) -> None:
    await customer.licence(days=-40)
    contract, other = await customer.contract(), await customer.contract()
    early = str(customer.today - 41 * DAY)
    refused(await correct(customer, contract, starts_on=early), "editor_licence_required")
    taken = await correct(customer, contract, number=other["number"].lower())
    assert refused(taken, "already_exists")["field"] == "number"
    await customer.end(other, customer.today + DAY)
    answer = refused(await correct(customer, other, included_minutes=5), "wrong_state")
    assert (answer["state"], answer["wanted_state"]) == ("cancelled", "corrected")
    without = await customer.client.post(f"/v1/contracts/{contract['id']}/correction", json={})
    assert errors(without) == [("/reason", "missing")]


async def test_more_minutes_cover_the_overrun(holder: Customer) -> None:
    contract = await holder.contract(included_minutes=50)
    case = await worked(holder, 80)
    tried = await made(await correct(holder, contract, included_minutes=70, dry_run=True), 200)
    assert (await read(holder, contract))["used_minutes"] == 50
    (moved,) = tried["charges_moved"]
    assert moved["allowance"]["number"] == contract["number"]
    assert (moved["case_number"], moved["counts_on"]) == (case["number"], str(holder.today))
    assert (moved["used_minutes"], moved["overrun_minutes"]) == (20, -20)
    corrected = await made(await correct(holder, contract, included_minutes=70), 200)
    assert (corrected["used_minutes"], corrected["overrun_minutes"]) == (70, 10)


async def test_what_it_took_over_follows_the_first_day(holder: Customer, travel: Travel) -> None:
    travel(T0)
    holder.today = T0
    old = await holder.contract(days=-20, included_minutes=10)
    case = await worked(holder, 40)
    new = await holder.renew(old, "today", take_over_overrun=True)
    right = T0 + 5 * DAY
    tried = await made(await correct(holder, new, starts_on=str(right), dry_run=True), 200)
    assert [
        (one["counts_on"], one["used_minutes"], one["overrun_minutes"])
        for one in tried["charges_moved"]
    ] == [(str(T0), -30, 0), (str(right), 30, 0)]
    await made(await correct(holder, new, starts_on=str(right)), 200)
    assert await holder.minutes(case) == (40, 40, 0)
    travel(T0 + 10 * DAY)
    for day, used in ((right - DAY, 0), (right, 30)):
        url = f"customers/{holder.id}/usage?at={day}T23:00:00%2B01:00"
        found = {one.get("number"): one for one in (await holder.get(url))["allowances"]}
        assert found[new["number"]]["used_minutes"] == used
        assert found[old["number"]]["overrun_minutes"] == 30 - used
    url = f"customers/{holder.id}/statement?from={right}&to={right + DAY}"
    groups = {one["allowance"]["number"]: one for one in (await holder.get(url))["groups"]}
    assert groups[new["number"]]["closing"]["used_minutes"] == 30
    # Cancelled as of its first day it gives all of it back; taken back, it takes it over again.
    cancelled = await holder.end(await read(holder, new), right)
    assert cancelled["used_minutes"] == 0
    assert (await made(await step(holder, new, "reinstatement"), 200))["used_minutes"] == 30


# --- reinstatement -------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-1, 0, 1])
async def test_a_cancellation_is_taken_back(holder: Customer, service: Service, days: int) -> None:
    contract = await holder.contract(days=-30)
    await holder.end(contract, holder.today + days * DAY)
    before = await holder.entitlements()
    tried = await made(await step(holder, contract, "reinstatement", dry_run=True), 200)
    assert tried["before"]["columns"] == before["columns"]
    assert tried["after"]["columns"] == ["SA"]
    assert (await holder.entitlements())["columns"] == before["columns"]
    assert await made(await step(holder, contract, "reinstatement"), 200) == contract
    ((_, data),) = await recorded(service, holder.id, "contract.reinstated")
    assert json.loads(data) == {
        "number": contract["number"],
        "reason": "Entered wrong.",
        "before": {"cancelled_on": str(holder.today + days * DAY)},
        "after": {"cancelled_on": None},
    }
    again = refused(await step(holder, contract, "reinstatement"), "wrong_state")
    assert (again["state"], again["wanted_state"]) == ("in_force", "reinstated")


async def test_a_contract_taken_back_covers_what_was_worked_meanwhile(holder: Customer) -> None:
    contract = await holder.contract(included_minutes=100)
    case = await holder.open(channel="phone")
    await holder.end(contract, holder.today)
    await holder.work(case, 30)
    assert await holder.minutes(case) == (30, 0, 30)
    await made(await step(holder, contract, "reinstatement"), 200)
    assert await holder.minutes(case) == (30, 30, 0)


async def test_a_successor_takes_over_again_what_still_stands(holder: Customer) -> None:
    old = await holder.contract(included_minutes=10)
    case, other = await holder.open(channel="phone"), await holder.open(channel="phone")
    await holder.work(case, 40)
    await holder.work(other, 25)
    entry = await holder.work(other, 5)
    new = await holder.renew(old, "today", take_over_overrun=True)
    assert new["used_minutes"] == 60
    await holder.end(new, holder.today)
    await holder.reverse(entry)
    later = await holder.work(case, 7)  # overrun that it never had taken over
    assert later["overrun_minutes"] == 7
    back = await made(await step(holder, new, "reinstatement"), 200)
    assert back["used_minutes"] == 55
    assert await holder.minutes(case) == (47, 40, 7)
    assert await holder.minutes(other) == (25, 25, 0)


async def test_one_cancelled_later_kept_what_it_paid(holder: Customer, travel: Travel) -> None:
    old = await holder.contract(included_minutes=10)
    case = await worked(holder, 40)
    new = await holder.renew(old, "today", take_over_overrun=True)
    travel(holder.today + 3 * DAY)
    await holder.end(new, holder.today + 2 * DAY)
    assert (await made(await step(holder, new, "reinstatement"), 200))["used_minutes"] == 30
    assert await holder.minutes(case) == (40, 40, 0)


async def test_a_contract_that_was_renewed_stays_cancelled(holder: Customer) -> None:
    old = await holder.contract(included_minutes=10)
    new = await holder.renew(old, "at_end")
    await holder.end(old, holder.today + DAY)
    before = await read(holder, old)
    answer = refused(await step(holder, old, "reinstatement"), "correction_conflicts")
    assert answer["conflicts"] == [
        {"kind": "contract", "name": new["number"], "on": new["starts_on"]}
    ]
    assert await read(holder, old) == before
    # Cancelled as of its first day it renews nothing.
    await holder.end(new, date.fromisoformat(new["starts_on"]))
    await made(await step(holder, old, "reinstatement"), 200)
    await made(await step(holder, new, "reinstatement"), 200)


@pytest.mark.parametrize("days", [0, 40])
async def test_one_whose_predecessor_was_renewed_by_another_stays_cancelled(
    holder: Customer, days: int
) -> None:
    old = await holder.contract()
    first = await holder.renew(old, "today")
    await holder.end(first, holder.today)
    second = await holder.renew(old, "today")
    if days:
        await holder.end(second, holder.today + days * DAY)
    answer = refused(await step(holder, first, "reinstatement"), "correction_conflicts")
    assert [one["name"] for one in answer["conflicts"]] == [second["number"]]


# --- wrong, then corrected, equals right at once --------------------------------------------------

some_examples = settings(max_examples=15, deadline=None, phases=[Phase.generate])


@some_examples
@given(
    wrong=st.tuples(st.integers(0, 300), st.sampled_from((40, 100, 200))),
    right=st.tuples(st.integers(0, 300), st.sampled_from((40, 100, 200))),
    work=st.lists(st.tuples(st.integers(0, 60), st.sampled_from((10, 30, 90))), max_size=4),
    ends=st.none() | st.integers(0, 400),
    late=st.integers(61, 420),
)
async def test_wrong_then_corrected_equals_right_at_once(
    client: httpx.AsyncClient,
    service: Service,
    wrong: tuple[int, int],
    right: tuple[int, int],
    work: list[tuple[int, int]],
    ends: int | None,
    late: int,
) -> None:
    """R40, R46: first day and minutes of a contract, and one cancelled by mistake."""
    seen = []
    for bought, minutes in (wrong, right):
        with histories.at(T0):
            customer = await Customer.new(client, T0)
            await customer.licence(days=-900)
            contract = await customer.contract(days=-bought, included_minutes=minutes)
            case = await customer.open(channel="phone")
        for days, more in sorted(work):
            with histories.at(T0 + days * DAY):
                await customer.work(case, more)
        with histories.at(T0 + 61 * DAY):
            if ends is not None and (bought, minutes) == wrong:
                day = date.fromisoformat(contract["starts_on"]) + min(ends, 365) * DAY
                url = f"/v1/contracts/{contract['id']}/cancellation"
                body = {"cancelled_on": str(day), "reason": "By mistake."}
                if (await client.post(url, json=body)).is_success:
                    await made(await step(customer, contract, "reinstatement"), 200)
            before = await snapshot(customer, contract), await recorded(service, customer.id)
            starts_on = str(T0 - right[0] * DAY)
            answer = await correct(
                customer, contract, starts_on=starts_on, included_minutes=right[1]
            )
            if not answer.is_success:
                assert refused(answer, "correction_conflicts")["conflicts"]
                after = await snapshot(customer, contract), await recorded(service, customer.id)
                assert after == before
                return
        with histories.at(T0 + late * DAY):
            seen.append(await snapshot(customer, contract))
    assert seen[0] == seen[1]


async def snapshot(customer: Customer, contract: dict[str, Any]) -> dict[str, Any]:
    answer = await customer.entitlements()
    found = await customer.get(f"contracts/{contract['id']}")
    names = ("starts_on", "ends_on", "used_minutes", "overrun_minutes", "remaining_minutes")
    return {
        **{name: answer[name] for name in ("columns", "valid_until")},
        "services": [
            (one["service"], one["granted_by"], [reason["code"] for reason in one["reasons"]])
            for one in answer["services"]
        ],
        "contract": [found[name] for name in (*names, "state")],
    }
