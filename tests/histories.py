"""Random histories of one customer, lived through the API on days gone by."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from unittest.mock import patch

import httpx
from hypothesis import strategies as st

from app import clock
from tests.api.build import Customer

FIRST = date(2024, 1, 1)
"""The day on which every history begins."""
DAYS = 430
"""None goes on for longer."""

_PAYERS = ("auto", "free_hours", "contract", "ticket")
_WHAT = (
    *("open", "open", "work", "work", "work", "work"),
    *("reverse", "closure", "reopening", "cancellation", "bug", "no bug", "renew", "buy"),
)
steps = st.lists(
    st.tuples(st.sampled_from(_WHAT), st.integers(0, 99), st.integers(1, 240), st.integers(0, 40)),
    min_size=3,
    max_size=25,
)
"""What happens, to which of those there are, for how many minutes, how many days before."""


def at(day: date) -> Any:
    """Makes it noon (UTC) of a day for the requests inside."""
    noon = datetime.combine(day, time(12), UTC)
    return patch.object(clock, "now", lambda: noon)


async def live(client: httpx.AsyncClient, drawn: list[tuple[str, int, int, int]]) -> Customer:
    """The steps one after another; what the service refuses does not happen.

    Allowances are small, so that they run out: work goes over to others and into overrun. Time is
    recorded up to forty days after it was worked.
    """
    today = FIRST + timedelta(days=100)
    with at(today):
        customer = await Customer.new(client, FIRST)
        await customer.licence(days=0)
        contract = await customer.contract(days=30, included_minutes=150)
        await customer.contract(days=60, included_minutes=100)
        await customer.pack(quantity=2, days=10)
    cases: list[str] = []
    entries: dict[str, list[str]] = {}
    for what, which, minutes, days in drawn:
        today += timedelta(days=days // 4)
        with at(today):
            if what == "open":
                # Opened some days ago, to be worked on since.
                with at(today - timedelta(days=40)):
                    payer = _PAYERS[which % len(_PAYERS)]
                    category = "bug" if minutes > 220 else "problem"
                    answer = await customer.try_open(pay_with=payer, category=category)
                if answer.status_code == 201:
                    cases.append(answer.json()["id"])
                    entries[cases[-1]] = []
                else:
                    assert answer.status_code in (409, 422), answer.text
            elif what == "renew":
                body = {"starts": "today", "take_over_overrun": True}
                await _refusable(client.post(f"/v1/contracts/{contract['id']}/renewal", json=body))
            elif what == "buy":
                if which % 4 == 0:
                    await customer.licence("runtime", (today - FIRST).days)
            elif cases:
                case = cases[which % len(cases)]
                await _step(client, case, what, minutes, days, today, entries[case])
    return customer


async def _step(
    client: httpx.AsyncClient,
    case: str,
    what: str,
    minutes: int,
    days: int,
    today: date,
    entries: list[str],
) -> None:
    url = f"/v1/cases/{case}"
    match what:
        case "work":
            worked_at = f"{today - timedelta(days=days)}T09:00:00Z"
            body = {"technician": "Help desk", "minutes": minutes, "worked_at": worked_at}
            entry = await _refusable(client.post(f"{url}/time-entries", json=body))
            if entry is not None:
                entries.append(entry["id"])
        case "reverse":
            if entries:
                entry_url = f"{url}/time-entries/{entries[minutes % len(entries)]}/reversal"
                await _refusable(client.post(entry_url, json={"reason": "Wrong."}))
        case "bug" | "no bug":
            category = "bug" if what == "bug" else "problem"
            await _refusable(client.patch(url, json={"category": category}))
        case _:
            field = "resolution" if what == "closure" else "reason"
            await _refusable(client.post(f"{url}/{what}", json={field: "Because."}))


async def _refusable(request: Any) -> Any:
    answer = await request
    assert answer.status_code in (200, 201, 409, 422), answer.text
    return answer.json() if answer.is_success else None
