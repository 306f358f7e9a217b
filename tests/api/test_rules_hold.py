"""Properties of the rules over HTTP, on random histories (R14, R19, R20, R22, R40)."""

from datetime import date, timedelta
from typing import Any

import httpx
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.policy.civil import add_months
from tests import histories
from tests.api.build import Customer, made
from tests.conftest import Service
from tests.invariants import Invariants

# Not shrunk: each example is up to some hundred requests.
some_examples = settings(max_examples=12, deadline=None, phases=[Phase.generate])
T0 = date(2026, 3, 10)


@some_examples
@given(drawn=histories.steps)
async def test_no_step_leaves_minutes_beside_overrun_that_they_would_cover(
    service: Service, client: httpx.AsyncClient, drawn: list[histories.Step]
) -> None:
    """R22, R20: after every step whatsoever."""
    invariants = Invariants(service)

    async def check(customer: Customer) -> None:
        await invariants.check(customer.id)

    await histories.live(client, drawn, check)


# --- a bug costs a ticket no day ----------------------------------------------------------------


@some_examples
@given(
    bought=st.integers(1, 364),
    waits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=4),
    cancels=st.booleans(),
)
async def test_a_bug_never_costs_a_ticket_a_day(
    client: httpx.AsyncClient, bought: int, waits: list[tuple[int, int]], cancels: bool
) -> None:
    """R19: what was left on the day on which a case took it is left on the day of its release."""
    today = T0
    with histories.at(today):
        customer = await Customer.new(client, today)
        pack = await customer.pack(days=-bought)
    ends = add_months(today - timedelta(days=bought), 12)
    for before, after in waits:
        today += timedelta(days=before)
        with histories.at(today):
            answer = await customer.try_open()
        # Every day on which no case held it counts.
        assert (answer.status_code == 201) == (today < ends)
        if answer.status_code != 201:
            return
        left = ends - today
        today += timedelta(days=after)
        with histories.at(today):
            if cancels:
                await customer.cancel(answer.json())
            else:
                await customer.patch(answer.json(), category="bug")
                ends = today + left
            (ticket,) = (await customer.get(f"ticket-packs/{pack['id']}"))["tickets"]
        assert ticket["expires_on"] == str(ends)
        assert ticket["state"] == ("available" if today < ends else "expired")


# --- wrong, then corrected, equals right at once --------------------------------------------------

_days_back = st.integers(1, 330)
_works = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 2), st.sampled_from((10, 30, 60, 90))),
    min_size=2,
    max_size=9,
)


@some_examples
@given(
    wrong=_days_back,
    right=_days_back,
    other=st.none() | _days_back,
    years=st.integers(0, 2),
    work=_works,
)
async def test_a_corrected_purchase_equals_one_that_was_right_at_once(
    client: httpx.AsyncClient,
    wrong: int,
    right: int,
    other: int | None,
    years: int,
    work: list[tuple[int, int, int]],
) -> None:
    """R40: wherever the correction moves what was charged; overrun stays what it is.

    Cases are opened on three days and worked on in order. A second Editor, if any, is older than
    both days, or lies between them so that the purchase loses its hold on today's hours.
    """
    if other is not None and not (other > max(wrong, right) or wrong < other < right):
        return
    seen: list[list[Any] | None] = []
    for first in (wrong, right):
        with histories.at(T0):
            customer = await Customer.new(client, T0)
            await customer.licence("runtime", -1)
            if other is not None:
                await customer.licence(days=-other - 365 * years)
            licence = await customer.licence(days=-first - 365 * years)
        seen.append(await _lived(customer, licence, T0 - timedelta(days=right + 365 * years), work))
    if seen[0] is not None and seen[1] is not None:
        assert seen[0] == seen[1]


async def _lived(
    customer: Customer, licence: dict[str, Any], right: date, work: list[tuple[int, int, int]]
) -> list[Any] | None:
    """Work on three cases, then the licence sent again with its right day: all that is seen.

    None if some of the work was overrun.
    """
    cases: list[dict[str, Any]] = []
    for offset, which, minutes in sorted(work):
        with histories.at(T0 + timedelta(days=offset)):
            if which >= len(cases):
                answer = await customer.try_open(pay_with="free_hours")
                if answer.status_code == 201:
                    cases.append(answer.json())
            if cases:
                entry = await customer.work(cases[which % len(cases)], minutes)
                if entry["overrun_minutes"]:
                    return None
    with histories.at(T0 + timedelta(days=61)):
        names = ("customer_id", "kind", "product", "version")
        body = {**{name: licence[name] for name in names}, "purchased_on": str(right)}
        url = f"/v1/licences/by-serial/{licence['serial_number']}"
        await made(await customer.client.put(url, json=body), 200)
        shown = [await customer.case(case["number"]) for case in cases]
        usage = await customer.get(f"customers/{customer.id}/usage")
        answer = (await customer.entitlements())["allowances"]
    return [
        [(case["paid_by"], case["charged_minutes"], case["overrun_minutes"]) for case in shown],
        [year for year in usage["allowances"] if year["used_minutes"] or year["overrun_minutes"]],
        answer,
    ]
