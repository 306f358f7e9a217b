"""Opening, every movement, closing: a statement always sums (R37)."""

import itertools
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.routers.usage.schemas import Statement
from tests import histories
from tests.api.build import Customer, made
from tests.conftest import Service

Travel = Callable[[date], None]
DAY = timedelta(days=1)
PARTS = ("used_minutes", "overrun_minutes", "held", "consumed", "cancelled")
ZERO = dict.fromkeys(PARTS, 0)
FIRST = date(2025, 3, 1)


async def statement(customer: Customer, start: date, end: date) -> dict[str, Any]:
    url = f"/v1/customers/{customer.id}/statement"
    answer = await customer.client.get(url, params={"from": str(start), "to": str(end)})
    body = await made(answer, 200)
    Statement.model_validate_json(answer.content)
    return body


def named(body: dict[str, Any]) -> dict[str | None, Any]:
    """Groups by kind; None is what no allowance bears."""
    return {g["allowance"] and g["allowance"]["kind"]: g for g in body["groups"]}


def keyed(body: dict[str, Any]) -> dict[Any, Any]:
    """Groups by whose they are."""
    return {
        g["allowance"] and (g["allowance"]["id"] or g["allowance"]["starts_on"]): g
        for g in body["groups"]
    }


async def test_a_movement_lies_on_the_day_it_counts(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    await customer.licence(days=0)
    contract = await customer.contract(days=0, included_minutes=60)
    case = await customer.open(pay_with="contract", channel="phone")
    travel(FIRST + 40 * DAY)
    entry = await customer.work(case, 80, worked_at=f"{FIRST + 9 * DAY}T09:00:00Z")
    travel(FIRST + 50 * DAY)
    await customer.step(case, f"time-entries/{entry['id']}/reversal", reason="Wrong.")

    body = await statement(customer, FIRST, FIRST + 10 * DAY)
    group = named(body)["contract"]
    assert group["allowance"] == {
        "kind": "contract",
        "id": contract["id"],
        "number": contract["number"],
        "starts_on": contract["starts_on"],
        "ends_on": contract["ends_on"],
        "state": "in_force",
        "granted": 60,
        "remaining": 60,
        "lapsed": 0,
    }
    charge, overrun, *reversals = group["movements"]
    assert charge == {
        "entry": 1,
        "kind": "charge",
        "counts_on": str(FIRST + 9 * DAY),
        "recorded_at": f"{FIRST + 40 * DAY}T12:00:00Z",
        "case_number": case["number"],
        "cause_case_number": None,
        "technician": "Help desk",
        "worked_at": f"{FIRST + 9 * DAY}T09:00:00Z",
        "ticket_position": None,
        "reverses": None,
        **ZERO,
        "used_minutes": 60,
        "balance": ZERO | {"used_minutes": 60},
    }
    assert (overrun["kind"], overrun["overrun_minutes"]) == ("overrun", 20)
    assert [(one["kind"], one["reverses"], one["counts_on"]) for one in reversals] == [
        ("reversal", entry_number, str(FIRST + 9 * DAY)) for entry_number in (1, 2)
    ]
    assert {one["recorded_at"] for one in reversals} == {f"{FIRST + 50 * DAY}T12:00:00Z"}
    assert group["opening"] == group["closing"] == ZERO
    # The day after is another period.
    after = named(await statement(customer, FIRST + 10 * DAY, FIRST + 60 * DAY))["contract"]
    assert after["movements"] == []


async def test_a_ticket_from_hold_to_consumption(client: httpx.AsyncClient, travel: Travel) -> None:
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    await customer.pack(2, days=0)
    case = await customer.open()
    await customer.work(case, 30)
    travel(FIRST + 5 * DAY)
    await customer.step(case, "closure", resolution="Solved.")
    body = await statement(customer, FIRST, FIRST + 5 * DAY)
    assert named(body).keys() == {"ticket_pack"}
    held = named(body)["ticket_pack"]
    assert [one["kind"] for one in held["movements"]] == ["hold"]
    assert held["closing"] == ZERO | {"held": 1}
    used = named(await statement(customer, FIRST + 5 * DAY, FIRST + 6 * DAY))["ticket_pack"]
    assert used["opening"] == held["closing"]
    (movement,) = used["movements"]
    assert (movement["kind"], movement["ticket_position"]) == ("consumption", 1)
    assert used["closing"] == ZERO | {"consumed": 1}
    assert (used["allowance"]["granted"], used["allowance"]["remaining"]) == (2, 1)


async def test_what_no_allowance_bears_stands_apart(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    await customer.pack(1, days=0)
    await customer.open()
    bug = await customer.open(category="bug")
    await customer.work(bug, 25)
    await customer.patch(bug, category="problem")
    body = await statement(customer, FIRST, FIRST + DAY)
    group = named(body)[None]
    assert group["closing"] == ZERO | {"overrun_minutes": 25}
    assert [one["kind"] for one in group["movements"]] == ["overrun"]


async def test_minutes_given_back_name_both_cases(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    await customer.licence(days=0)
    await customer.contract(days=0, included_minutes=60)
    spent, over = [await customer.open(pay_with="contract", channel="phone") for _ in range(2)]
    entry = await customer.work(spent, 60)
    await customer.work(over, 40)
    await customer.step(spent, f"time-entries/{entry['id']}/reversal", reason="Wrong.")
    group = named(await statement(customer, FIRST, FIRST + DAY))["contract"]
    covering = [one for one in group["movements"] if one["cause_case_number"]]
    assert [(one["kind"], one["used_minutes"], one["overrun_minutes"]) for one in covering] == [
        ("reversal", 0, -40),
        ("charge", 40, 0),
    ]
    assert {one["case_number"] for one in covering} == {over["number"]}
    assert {one["cause_case_number"] for one in covering} == {spent["number"]}
    assert group["closing"] == ZERO | {"used_minutes": 40}


async def test_what_is_left_lapses_in_the_period_of_the_last_day(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    travel(date(2026, 6, 1))
    customer = await Customer.new(client, FIRST)
    await customer.licence(days=0)
    await customer.pack(3, days=0)
    ends = date(2026, 3, 1)
    for end, expected in ((ends, ("in_force", 3, 0)), (ends + DAY, ("expired", 0, 3))):
        (group,) = (
            g
            for g in (await statement(customer, FIRST, end))["groups"]
            if g["allowance"]["kind"] == "ticket_pack"
        )
        found = group["allowance"]
        assert (found["state"], found["remaining"], found["lapsed"]) == expected
        assert found["ends_on"] == str(ends)
    assert (await statement(customer, FIRST - DAY, FIRST))["groups"] == []


async def test_entries_are_numbered_for_each_customer(
    client: httpx.AsyncClient, today: date
) -> None:
    for _ in range(2):
        customer = await Customer.new(client, today)
        await customer.pack(1, days=0)
        await customer.open()
        (group,) = (await statement(customer, today, today + DAY))["groups"]
        assert [one["entry"] for one in group["movements"]] == [1]


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("to=2025-01-01", "query/from", "missing"),
        ("from=2025-01-01", "query/to", "missing"),
        ("from=2025-01-01&to=2025-01-01", "query/to", "wrong_order"),
        ("from=2025-01-02&to=2025-01-01", "query/to", "wrong_order"),
        ("from=2015-01-01&to=2025-01-02", "query/to", "out_of_range"),
        ("from=2025-01-01T00:00:00Z&to=2025-02-01", "query/from", "bad_format"),
        ("from=2025-01-01&to=2025-02-01&kind=contract", "query/kind", "unknown_parameter"),
    ],
)
async def test_periods_that_are_none(
    client: httpx.AsyncClient, today: date, query: str, pointer: str, code: str
) -> None:
    customer = await Customer.new(client, today)
    answer = await client.get(f"/v1/customers/{customer.id}/statement?{query}")
    assert answer.status_code == 422
    assert (pointer, code) in [(e["pointer"], e["code"]) for e in answer.json()["errors"]]


async def test_ten_years_are_not_too_long(client: httpx.AsyncClient, today: date) -> None:
    customer = await Customer.new(client, today)
    url = f"/v1/customers/{customer.id}/statement?from=2015-01-01&to=2025-01-02"
    (error,) = (await client.get(url)).json()["errors"]
    assert error["message"] == "Accepted here: 2015-01-02 to 2025-01-01."
    assert (await statement(customer, date(2015, 1, 1), date(2025, 1, 1)))["groups"] == []


async def test_a_ticket_is_cancelled_once_no_case_has_it(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    """R45: also as of a day on which a case had it. What is used and cancelled is never more than
    the pack has."""
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    pack = await customer.pack(1, days=0)
    case = await customer.open(channel="phone")
    travel(FIRST + 20 * DAY)
    await customer.step(case, "cancellation", reason="Not needed.")
    travel(FIRST + 30 * DAY)
    body = {"cancelled_on": str(FIRST + 10 * DAY), "reason": "Entered wrong."}
    await made(await client.post(f"/v1/ticket-packs/{pack['id']}/cancellation", json=body), 200)

    for days, held, cancelled in ((15, 1, 0), (20, 1, 0), (21, 0, 1), (31, 0, 1)):
        group = named(await statement(customer, FIRST, FIRST + days * DAY))["ticket_pack"]
        assert [group["closing"][part] for part in ("held", "cancelled")] == [held, cancelled], days
        left = [group["allowance"][part] for part in ("remaining", "lapsed")]
        assert left == [0, 0], days
    last = group["movements"][-1]
    assert (last["kind"], last["counts_on"]) == ("cancellation", str(FIRST + 20 * DAY))


async def test_a_case_that_was_moved_away_never_had_its_ticket(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    """R45, R47: the ticket is cancelled as of the day that was asked for."""
    travel(FIRST)
    customer, other = [await Customer.new(client, FIRST) for _ in range(2)]
    pack = await customer.pack(1, days=0)
    await other.pack(1, days=0)
    travel(FIRST + 10 * DAY)
    case = await customer.open(channel="phone")
    travel(FIRST + 20 * DAY)
    body = {"customer_id": other.id, "reason": "It was the other customer."}
    await made(await client.post(f"/v1/cases/{case['id']}/move", json=body), 200)
    travel(FIRST + 30 * DAY)
    body = {"cancelled_on": str(FIRST + 5 * DAY), "reason": "Entered wrong."}
    await made(await client.post(f"/v1/ticket-packs/{pack['id']}/cancellation", json=body), 200)

    group = named(await statement(customer, FIRST, FIRST + 31 * DAY))["ticket_pack"]
    days = [one["counts_on"] for one in group["movements"] if one["kind"] == "cancellation"]
    assert days == [body["cancelled_on"]]


async def test_a_ticket_that_was_in_use_had_not_lapsed(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    """R19: of two tickets one was lengthened later, and the other has expired since."""
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    await customer.pack(2, days=0)
    travel(FIRST + 100 * DAY)
    first = await customer.open(channel="phone")
    travel(FIRST + 300 * DAY)
    second = await customer.open(channel="phone")
    travel(FIRST + 375 * DAY)
    await customer.step(first, "cancellation", reason="Not needed.")
    travel(FIRST + 380 * DAY)
    await customer.patch(second, category="bug")

    group = named(await statement(customer, FIRST, FIRST + 371 * DAY))["ticket_pack"]
    assert group["closing"]["held"] == 2
    assert [group["allowance"][part] for part in ("remaining", "lapsed")] == [0, 0]


# --- it always sums -------------------------------------------------------------------------


# Not shrunk: each example is up to a hundred requests.
@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(drawn=histories.steps, cuts=st.lists(st.integers(0, 99), min_size=3, max_size=5))
async def test_every_statement_of_every_history_sums(
    service: Service,
    client: httpx.AsyncClient,
    drawn: list[histories.Step],
    cuts: list[int],
) -> None:
    customer = await histories.live(client, drawn)
    before, after = histories.FIRST - 2 * DAY, histories.FIRST + (histories.DAYS + 1) * DAY
    whole = keyed(await statement(customer, before, after))
    ledger = await service.server.run_in(
        service.database_name,
        "SELECT *, recorded_at::date AS recorded_on FROM ledger WHERE customer_id = $1",
        customer.id,
    )
    assert sum(len(group["movements"]) for group in whole.values()) == len(ledger)
    # Cut where it could go wrong: on days on which something counts or was recorded.
    busy = sorted({row[name] for row in ledger for name in ("counts_on", "recorded_on")})
    edges = sorted({before, *(busy[cut % len(busy)] for cut in cuts if busy), after})

    carried: dict[Any, Any] = {}
    seen: dict[Any, list[int]] = {key: [] for key in whole}
    for start, end in itertools.pairwise(edges):
        groups = keyed(await statement(customer, start, end))
        assert carried.keys() <= groups.keys() <= whole.keys()
        for key, group in groups.items():
            assert group["opening"] == carried.get(key, ZERO)
            balance = dict(group["opening"])
            for one in group["movements"]:
                assert str(start) <= one["counts_on"] < str(end)
                balance = {part: balance[part] + one[part] for part in PARTS}
                assert one["balance"] == balance
                seen[key].append(one["entry"])
            assert group["closing"] == balance
            carried[key] = balance
            if group["allowance"]:
                spent = sum(balance[part] for part in PARTS if part != "overrun_minutes")
                rest = group["allowance"]["remaining"] + group["allowance"]["lapsed"]
                assert group["allowance"]["granted"] == spent + rest
                assert min(group["allowance"]["remaining"], group["allowance"]["lapsed"]) >= 0
    for key, group in whole.items():
        assert seen[key] == [one["entry"] for one in group["movements"]]
        assert carried[key] == group["closing"]

    # What it all comes to is what the service answers with.
    balances = await service.server.run_in(
        service.database_name, "SELECT * FROM balances WHERE customer_id = $1", customer.id
    )
    for row in balances:
        if row["kind"] != "free_hours":
            assert whole[str(row["allowance_id"])]["closing"] == {n: row[n] for n in PARTS}
    with histories.at(after):
        usage = await made(await client.get(f"/v1/customers/{customer.id}/usage"), 200)
    closings = [group["closing"] for group in whole.values()]
    assert usage["totals"]["charged_minutes"] == sum(one["used_minutes"] for one in closings)
    assert usage["totals"]["overrun_minutes"] == sum(one["overrun_minutes"] for one in closings)
