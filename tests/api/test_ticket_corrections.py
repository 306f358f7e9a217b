"""Tickets taken out of a pack, and packs that were entered wrong (R40, R45)."""

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
COUNTS = ("available", "held", "consumed", "cancelled", "expired")


async def step(customer: Customer, pack: dict[str, Any], what: str, **body: Any) -> httpx.Response:
    url = f"/v1/ticket-packs/{pack['id']}/{what}"
    return await customer.client.post(url, json={"reason": "Entered wrong.", **body})


async def cancel(customer: Customer, pack: dict[str, Any], on: date, **body: Any) -> httpx.Response:
    return await step(customer, pack, "cancellation", cancelled_on=str(on), **body)


async def counts(customer: Customer, pack: dict[str, Any]) -> tuple[int, ...]:
    found = await customer.get(f"ticket-packs/{pack['id']}")
    assert sum(found[name] for name in COUNTS) == found["quantity"]
    return tuple(found[name] for name in COUNTS)


async def reason(customer: Customer, **query: Any) -> str:
    """The code with which tickets deny a call."""
    service = await customer.service("phone_support", **query)
    codes: dict[str, str] = {one["column"]: one["code"] for one in service["reasons"]}
    return codes["TCK"]


# --- cancellation (R45) --------------------------------------------------------------------------


async def test_unused_tickets_are_cancelled_for_good(
    customer: Customer, service: Service, travel: Travel
) -> None:
    pack = await customer.pack(4, days=-10)
    held, closed = await customer.open(channel="phone"), await customer.open(channel="phone")
    await customer.close(closed)
    answer = await cancel(customer, pack, customer.today, quantity=1)
    body = await made(answer, 200)
    assert [body[name] for name in COUNTS] == [1, 1, 1, 1, 0]
    assert [ticket["state"] for ticket in body["tickets"]] == [
        "held",
        "consumed",
        "available",
        "cancelled",
    ]
    assert body["tickets"][3]["case_number"] is None
    found = await customer.client.get(f"/v1/ticket-packs/{pack['number']}")
    assert (found.json(), found.headers["ETag"]) == (body, answer.headers["ETag"])
    ((_, data),) = await recorded(service, customer.id, "tickets.cancelled")
    assert json.loads(data) == {
        "number": pack["number"],
        "quantity": 1,
        "cancelled_on": str(customer.today),
        "reason": "Entered wrong.",
        "positions": [4],
        "before": {"cancelled": 0},
        "after": {"cancelled": 1},
    }
    # A case that proves a bug gives its ticket back; the cancelled one stays cancelled.
    await customer.patch(held, category="bug")
    assert await counts(customer, pack) == (2, 0, 1, 1, 0)
    travel(date.fromisoformat(pack["expires_on"]) + 40 * DAY)
    assert await counts(customer, pack) == (0, 0, 1, 1, 2)


async def test_without_a_quantity_all_that_are_unused(customer: Customer) -> None:
    pack = await customer.pack(3)
    await customer.open(channel="phone")
    await made(await cancel(customer, pack, customer.today), 200)
    assert await counts(customer, pack) == (0, 1, 0, 2, 0)
    problem = refused(await cancel(customer, pack, customer.today), "not_enough_tickets")
    assert problem["available"] == 0


async def test_more_than_there_are_changes_nothing(customer: Customer) -> None:
    pack = await customer.pack(3)
    await customer.open(channel="phone")
    for dry_run in (True, False):
        answer = await cancel(customer, pack, customer.today, quantity=3, dry_run=dry_run)
        assert refused(answer, "not_enough_tickets")["available"] == 2
    assert await counts(customer, pack) == (2, 1, 0, 0, 0)


async def test_those_that_end_last_go_first(customer: Customer, travel: Travel) -> None:
    pack = await customer.pack(3, days=0)
    case = await customer.open(channel="phone")
    travel(customer.today + 20 * DAY)
    await customer.patch(case, category="bug")  # the first ticket ends 20 days later now
    body = await made(await cancel(customer, pack, customer.today + 20 * DAY, quantity=2), 200)
    assert [ticket["state"] for ticket in body["tickets"]] == [
        "cancelled",
        "available",
        "cancelled",
    ]
    (allowance,) = (await customer.entitlements())["allowances"]
    assert allowance["ends_on"] == pack["expires_on"], "the lengthened one counts no more"
    assert (allowance["cancelled"], allowance["available"]) == (2, 1)


@pytest.mark.parametrize("days", [-1, 0])
async def test_a_ticket_that_had_lapsed_is_not_cancelled(
    customer: Customer, travel: Travel, days: int
) -> None:
    """Its last day is the eve of `expires_on`."""
    pack = await customer.pack(2, days=0)
    travel(add_months(customer.today, 12) + 5 * DAY)
    answer = await cancel(customer, pack, add_months(customer.today, 12) + days * DAY)
    if days == 0:
        refused(answer, "not_enough_tickets")
        assert await counts(customer, pack) == (0, 0, 0, 0, 2)
    else:
        await made(answer, 200)
        assert await counts(customer, pack) == (0, 0, 0, 2, 0)


async def test_the_day_lies_within_what_is_known(customer: Customer) -> None:
    pack = await customer.pack(1, days=-5)
    tomorrow, before = customer.today + DAY, customer.today - 6 * DAY
    assert errors(await cancel(customer, pack, tomorrow)) == [("/cancelled_on", "in_future")]
    assert errors(await cancel(customer, pack, before)) == [("/cancelled_on", "wrong_order")]
    await made(await cancel(customer, pack, customer.today - 5 * DAY), 200)


async def test_a_pack_wholly_cancelled_counts_as_none(customer: Customer) -> None:
    older = await customer.pack(1, days=-20)
    assert (await customer.entitlements())["columns"] == ["NO_DEV", "TCK"]
    await made(await cancel(customer, older, customer.today - 10 * DAY), 200)
    assert (await customer.entitlements())["columns"] == ["NO_DEV"]
    assert await reason(customer) == "no_tickets"
    # As known now, it was gone from that day on; the day before it was there.
    for days, columns in ((11, ["NO_DEV", "TCK"]), (10, ["NO_DEV"])):
        at = f"{customer.today - days * DAY}T12:00:00Z"
        assert (await customer.entitlements(at=at))["columns"] == columns
    used = await customer.pack(1, days=-15)
    await customer.close(await customer.open(channel="phone"))
    newer = await customer.pack(1, days=-5)
    await made(await cancel(customer, newer, customer.today), 200)
    assert await reason(customer) == "tickets_consumed", "the latest pack that counts says why"
    assert await counts(customer, used) == (0, 0, 1, 0, 0)


async def test_nothing_changes_on_the_first_day_of_a_pack_cancelled_as_of_it(
    customer: Customer,
) -> None:
    pack = await customer.pack(2, days=-10)
    before = f"{customer.today - 20 * DAY}T12:00:00Z"
    begins = (await customer.entitlements(at=before))["valid_until"]
    assert begins.startswith(str(customer.today - 11 * DAY)), "the civil day begins"
    await made(await cancel(customer, pack, customer.today - 10 * DAY, quantity=1), 200)
    assert (await customer.entitlements(at=before))["valid_until"] == begins
    await made(await cancel(customer, pack, customer.today - 10 * DAY), 200)
    until = (await customer.entitlements(at=before))["valid_until"]
    assert until is None or until > str(customer.today), "R13, R45"


async def test_an_answer_about_the_past_ends_when_a_cancellation_takes_effect(
    customer: Customer,
) -> None:
    """R13: dated cancellations count as known now."""
    await customer.pack(1, days=-20)
    pack = await customer.pack(3, days=-10)
    then = f"{customer.today - 8 * DAY}T12:00:00Z"
    for day in (3, 5):
        await made(await cancel(customer, pack, customer.today - day * DAY, quantity=1), 200)
        answer = await customer.entitlements(at=then)
        assert [one["available"] for one in answer["allowances"]] == [1, 3]
        assert answer["valid_until"].startswith(str(customer.today - (day + 1) * DAY))
        taken_out = f"{customer.today - day * DAY}T12:00:00Z"
        after = await customer.entitlements(at=taken_out)
        assert [one["available"] for one in after["allowances"]] == [1, 2]


async def test_a_pack_counts_on_no_day_before_its_purchase_as_known_now(
    customer: Customer, travel: Travel
) -> None:
    """R13: a case held its ticket then; the day of purchase was corrected to a later one since."""
    pack = await customer.pack(1, days=-30)
    case = await customer.open(channel="phone")
    opened = customer.today
    travel(opened + 2 * DAY)
    url = f"/v1/cases/{case['id']}"
    await made(await customer.client.patch(url, json={"category": "bug"}), 200)
    corrected = await step(customer, pack, "correction", purchased_on=str(opened + 2 * DAY))
    await made(corrected, 200)
    answer = await customer.entitlements(at=f"{opened + DAY}T12:00:00Z")
    assert answer["columns"] == ["NO_DEV"]
    assert answer["allowances"] == []
    assert answer["valid_until"].startswith(str(opened + DAY))


async def test_usage_and_statement_show_the_cancellation(customer: Customer) -> None:
    pack = await customer.pack(3, days=-20)
    await made(await cancel(customer, pack, customer.today - 10 * DAY, quantity=2), 200)
    (used,) = (await customer.get(f"customers/{customer.id}/usage"))["allowances"]
    assert (used["available"], used["cancelled"], used["state"]) == (1, 2, "in_force")
    day = customer.today - 10 * DAY
    for start, end, opening, closing in (
        (day - DAY, day, 0, 0),
        (day, day + DAY, 0, 2),
        (day + DAY, day + 2 * DAY, 2, 2),
    ):
        url = f"customers/{customer.id}/statement?from={start}&to={end}"
        (group,) = (await customer.get(url))["groups"]
        assert (group["opening"]["cancelled"], group["closing"]["cancelled"]) == (opening, closing)
        assert group["allowance"]["remaining"] == 3 - closing
        for movement in group["movements"]:
            assert (movement["kind"], movement["counts_on"]) == ("cancellation", str(day))
            assert movement["case_number"] is None
    await made(await cancel(customer, pack, customer.today), 200)
    (used,) = (await customer.get(f"customers/{customer.id}/usage"))["allowances"]
    assert (used["available"], used["cancelled"], used["state"]) == (0, 3, "cancelled")
    (group,) = (await customer.get(f"customers/{customer.id}/statement?from={day}&to={day + DAY}"))[
        "groups"
    ]
    assert group["allowance"]["state"] == "in_force", "the last ticket was cancelled later"


async def test_a_cancelled_ticket_is_gone_for_a_case_that_proves_no_bug(
    customer: Customer,
) -> None:
    pack = await customer.pack(2)
    case = await customer.open(channel="phone")
    await customer.patch(case, category="bug")
    # Both end on one day: the position decides, so the second goes, then the case's own.
    await made(await cancel(customer, pack, customer.today), 200)
    case = await customer.patch(case, category="problem")
    assert case["paid_by"]["kind"] == "none"


# --- correction (R40) ----------------------------------------------------------------------------


async def test_a_corrected_pack_is_as_if_it_had_been_right(
    customer: Customer, service: Service, travel: Travel
) -> None:
    pack = await customer.pack(2, days=-30)
    right, number = customer.today - 10 * DAY, unique("TP")
    answer = await step(customer, pack, "correction", purchased_on=str(right), number=number)
    body = await made(answer, 200)
    assert (body["purchased_on"], body["number"]) == (str(right), number)
    assert body["expires_on"] == str(add_months(right, 12))
    ((_, data),) = await recorded(service, customer.id, "tickets.corrected")
    assert json.loads(data) == {
        "number": pack["number"],
        "reason": "Entered wrong.",
        "before": {name: pack[name] for name in ("number", "purchased_on", "expires_on")},
        "after": {name: body[name] for name in ("number", "purchased_on", "expires_on")},
    }
    again = await step(customer, body, "correction", purchased_on=str(right), number=number)
    assert await made(again, 200) == body
    assert len(await recorded(service, customer.id, "tickets.corrected")) == 1
    for at, columns in ((right - DAY, ["NO_DEV"]), (right, ["NO_DEV", "TCK"])):
        answered = await customer.entitlements(at=f"{at}T12:00:00Z")
        assert answered["columns"] == columns


async def test_what_a_correction_refuses(customer: Customer) -> None:
    pack, other = await customer.pack(1), await customer.pack(1)
    tomorrow = str(customer.today + DAY)
    answer = await step(customer, pack, "correction", purchased_on=tomorrow)
    assert errors(answer) == [("/purchased_on", "in_future")]
    answer = await step(customer, pack, "correction", number=other["number"].lower())
    assert refused(answer, "already_exists")["field"] == "number"
    url = f"/v1/ticket-packs/{pack['id']}/correction"
    assert errors(await customer.client.post(url, json={})) == [("/reason", "missing")]


@pytest.mark.parametrize(("days", "conflicts"), [(-1, False), (0, False), (1, True)])
async def test_a_ticket_taken_before_the_corrected_day_stands_in_the_way(
    customer: Customer, travel: Travel, days: int, conflicts: bool
) -> None:
    await customer.pack(1, days=-30)
    pack = (await customer.get(f"ticket-packs?customer_id={customer.id}"))["items"][0]
    case = await customer.open(channel="phone")
    taken = customer.today
    travel(taken + 40 * DAY)
    before = await customer.get(f"ticket-packs/{pack['id']}")
    for dry_run in (True, False):
        answer = await step(
            customer,
            pack,
            "correction",
            purchased_on=str(taken + days * DAY),
            dry_run=dry_run,
        )
        if conflicts:
            assert refused(answer, "correction_conflicts")["conflicts"] == [
                {"kind": "ticket", "name": case["number"], "on": str(taken)}
            ]
    if conflicts:
        assert await customer.get(f"ticket-packs/{pack['id']}") == before
    else:
        await made(answer, 200)


@pytest.mark.parametrize(("days", "conflicts"), [(0, True), (1, False)])
async def test_a_ticket_taken_after_the_corrected_end_stands_in_the_way(
    customer: Customer, days: int, conflicts: bool
) -> None:
    pack = await customer.pack(1, days=-30)
    await customer.close(await customer.open(channel="phone"))
    ends_today = add_months(customer.today, -12)
    answer = await step(customer, pack, "correction", purchased_on=str(ends_today + days * DAY))
    if conflicts:
        refused(answer, "correction_conflicts")
    else:
        await made(answer, 200)


async def test_a_lengthened_ticket_moves_along(customer: Customer, travel: Travel) -> None:
    pack = await customer.pack(1, purchased_on=str(T0))
    travel(T0 + 100 * DAY)
    case = await customer.open(channel="phone")
    travel(T0 + 130 * DAY)
    await customer.patch(case, category="bug")
    body = await made(await step(customer, pack, "correction", purchased_on=str(T0 - 7 * DAY)), 200)
    (ticket,) = body["tickets"]
    assert ticket["expires_on"] == str(add_months(T0 - 7 * DAY, 12) + 30 * DAY)


# --- trying it out -------------------------------------------------------------------------------


async def test_a_dry_run_writes_nothing_and_says_what_would_be(
    customer: Customer, service: Service
) -> None:
    pack = await customer.pack(2)
    before = await customer.get(f"ticket-packs/{pack['id']}")
    key = {"Idempotency-Key": unique("K")}
    url = f"/v1/ticket-packs/{pack['id']}/cancellation"
    body = {"cancelled_on": str(customer.today), "reason": "Sold to another.", "dry_run": True}
    tried = await made(await customer.client.post(url, json=body, headers=key), 200)
    assert await customer.get(f"ticket-packs/{pack['id']}") == before
    assert not await recorded(service, customer.id, "tickets.cancelled")
    assert tried["facts"] == [
        {
            "event": "tickets.cancelled",
            "id": pack["id"],
            "name": pack["number"],
            "before": {"cancelled": 0},
            "after": {"cancelled": 2},
        }
    ]
    assert tried["charges_moved"] == []
    assert (tried["before"]["columns"], tried["after"]["columns"]) == (
        ["NO_DEV", "TCK"],
        ["NO_DEV"],
    )
    # The key is free for the real step, which then does what was said.
    done = await customer.client.post(url, json=body | {"dry_run": False}, headers=key)
    assert (await made(done, 200))["cancelled"] == 2
    is_now = await customer.entitlements()
    assert {name: is_now[name] for name in ("columns", "services", "allowances")} == {
        name: tried["after"][name] for name in ("columns", "services", "allowances")
    }


# --- wrong, then corrected, equals right at once --------------------------------------------------

some_examples = settings(max_examples=15, deadline=None, phases=[Phase.generate])


@some_examples
@given(
    wrong=st.integers(0, 360),
    right=st.integers(0, 360),
    extra=st.integers(0, 2),
    cases=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=3),
    late=st.integers(0, 400),
)
async def test_wrong_then_corrected_equals_right_at_once(
    client: httpx.AsyncClient,
    service: Service,
    wrong: int,
    right: int,
    extra: int,
    cases: list[tuple[int, bool]],
    late: int,
) -> None:
    """R40, R45: day and quantity of a pack."""
    seen = []
    for bought, more in ((wrong, extra), (right, 0)):
        with histories.at(T0):
            customer = await Customer.new(client, T0)
            await customer.licence(days=-900)
            pack = await customer.pack(2 + more, days=-bought)
        for days, closes in sorted(cases):
            with histories.at(T0 + days * DAY):
                answer = await customer.try_open(channel="phone", pay_with="ticket")
                if answer.status_code == 201 and closes:
                    await customer.close(answer.json())
        with histories.at(T0 + 31 * DAY):
            before = await snapshot(customer, pack)
            events = await recorded(service, customer.id)
            answer = await step(customer, pack, "correction", purchased_on=str(T0 - right * DAY))
            if answer.is_success and more:
                answer = await cancel(customer, pack, T0 - right * DAY, quantity=more)
            if not answer.is_success:
                refused(answer, answer.json()["code"])
                if answer.json()["code"] == "correction_conflicts":
                    assert await snapshot(customer, pack) == before
                    assert await recorded(service, customer.id) == events
                return
        with histories.at(T0 + max(late, 31) * DAY):
            seen.append(await snapshot(customer, pack))
    if len({one["in_use"] for one in seen}) == 1:
        assert seen[0] == seen[1]


async def snapshot(customer: Customer, pack: dict[str, Any]) -> dict[str, Any]:
    answer = await customer.entitlements()
    found = await customer.get(f"ticket-packs/{pack['id']}")
    return {
        **{name: answer[name] for name in ("columns", "valid_until")},
        "services": [
            (one["service"], one["granted_by"], [reason["code"] for reason in one["reasons"]])
            for one in answer["services"]
        ],
        "in_use": found["held"] + found["consumed"],
        "left": [found[name] for name in ("available", "held", "consumed", "expired")],
        "ends_on": found["expires_on"],
    }
