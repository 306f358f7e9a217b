"""Random histories of one customer, lived through the API on days gone by."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from unittest.mock import patch

import httpx
from hypothesis import strategies as st

from app import clock
from tests.api.build import Customer

FIRST = date(2024, 1, 1)
"""The day on which every history begins."""
DAYS = 460
"""None goes on for longer."""

_PAYERS = ("auto", "free_hours", "contract", "ticket")
_WEIGHTS = {
    "open": 4,
    "open late": 3,
    "move": 3,
    "work": 24,
    "reverse": 6,
    "closure": 2,
    "reopening": 3,
    "cancellation": 1,
    "bug": 3,
    "no bug": 4,
    "binding": 2,
    "renew": 2,
    "sign": 1,
    "end": 1,
    "buy": 2,
    "withdraw": 1,
    "correct": 1,
    "cancel tickets": 1,
    "correct pack": 1,
    "correct contract": 2,
    "reinstate contract": 2,
    "reinstate licence": 2,
    "correct licence": 1,
    "reverse upgrade": 1,
}
Step = tuple[str, int, int, int]
"""What happens, to which of those there are, for how many minutes, how many days before."""


def _steps(seed: int) -> list[Step]:
    # Not drawn one by one: Hypothesis likes repeats and extremes, and such a history soon stands
    # still, every case closed.
    chance = random.Random(seed)
    kinds = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=chance.randint(20, 35))
    return [
        (what, chance.randrange(100), chance.choice((7, 45, 90, 160, 240)), chance.randrange(41))
        for what in kinds
    ]


steps = st.integers(0, 2**32).map(_steps)


def end(drawn: list[Step]) -> date:
    """The last day of a history."""
    return FIRST + timedelta(days=100 + sum(days // 4 for _, _, _, days in drawn))


def at(day: date) -> Any:
    """Makes it noon (UTC) of a day for the requests inside."""
    noon = datetime.combine(day, time(12), UTC)
    return patch.object(clock, "now", lambda: noon)


@dataclass
class Opened:
    id: str
    on: date
    entries: list[str] = field(default_factory=list)


async def live(
    client: httpx.AsyncClient,
    drawn: list[Step],
    after_each: Callable[[Customer], Awaitable[None]] | None = None,
) -> Customer:
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
        other = await Customer.new(client, FIRST)
    opened_on = today - timedelta(days=40)
    with at(opened_on):
        payers = ("free_hours", "contract", "contract", "ticket")
        answers = [await customer.open(pay_with=payer) for payer in payers]
    cases = [Opened(answer["id"], opened_on) for answer in answers]
    for what, which, minutes, days in drawn:
        today += timedelta(days=days // 4)
        with at(today):
            if what in ("open", "open late"):
                asked: dict[str, Any] = {
                    "pay_with": _PAYERS[which % len(_PAYERS)],
                    "category": "bug" if minutes > 220 else "problem",
                }
                opened_on = today
                if what == "open late":
                    opened_on -= timedelta(days=days)
                    asked["opened_at"] = f"{opened_on}T08:00:00Z"
                opened = await _refusable(customer.try_open(**asked))
                if opened is not None:
                    cases.append(Opened(opened["id"], opened_on))
            elif what == "move":
                await _move(client, cases[which % len(cases)], other, customer, back=which % 2 == 0)
            elif what == "renew":
                body = {"starts": "today", "take_over_overrun": True}
                await _refusable(client.post(f"/v1/contracts/{contract['id']}/renewal", json=body))
            elif what == "sign":
                body = {
                    "customer_id": customer.id,
                    "starts_on": str(today - timedelta(days=days)),
                    "included_minutes": minutes,
                    "take_over_overrun": which % 2 == 0,
                }
                await _refusable(client.post("/v1/contracts", json=body))
            elif what == "end":
                mine = {"customer_id": customer.id}
                ending = await _one(client, "contracts", mine, which)
                day = ending["starts_on"] if minutes < 100 else str(today)
                body = {"cancelled_on": day, "reason": "By agreement."}
                await _refusable(
                    client.post(f"/v1/contracts/{ending['id']}/cancellation", json=body)
                )
            elif what.startswith(("cancel ", "correct ", "reinstate ", "reverse ")):
                await _correct(client, customer, what, which, today - timedelta(days=days))
            elif what in ("buy", "withdraw", "correct"):
                await _trade(client, customer, what, which, today - timedelta(days=days))
            else:
                case = cases[which % len(cases)]
                await _step(client, case, what, minutes, today - timedelta(days=days))
            if after_each is not None:
                await after_each(customer)
    return customer


async def _correct(
    client: httpx.AsyncClient, customer: Customer, what: str, which: int, day: date
) -> None:
    """Facts that were entered wrong, put right."""
    if what == "reverse upgrade":
        licence = await _one(client, "licences", {"customer_id": customer.id}, which)
        url = f"/v1/licences/{licence['id']}/upgrades"
        made = {"version": "12", "upgraded_on": str(day), "paid_by": "purchase"}
        await _refusable(client.post(url, json=made))
        for one in (await customer.get(f"licences/{licence['id']}"))["upgrades"][:1]:
            body = {"reason": "Never bought."}
            await _refusable(client.post(f"{url}/{one['id']}/reversal", json=body))
        return
    term = {"starts_on": str(day)} if which % 2 else {"included_minutes": 40 + 10 * which}
    bought = {"kind": "editor"} if which % 3 == 0 else {"purchased_on": str(day)}
    steps: dict[str, tuple[str, str, dict[str, Any]]] = {
        "cancel tickets": ("ticket-packs", "cancellation", {"cancelled_on": str(day)}),
        "correct pack": ("ticket-packs", "correction", {"purchased_on": str(day)}),
        "correct contract": ("contracts", "correction", term),
        "reinstate contract": ("contracts", "reinstatement", {}),
        "reinstate licence": ("licences", "reinstatement", {}),
        "correct licence": ("licences", "correction", bought),
    }
    kind, path, fields = steps[what]
    found = await _one(client, kind, {"customer_id": customer.id}, which)
    if what == "correct licence" and found["serial_number"] == customer.serials[0]:
        return  # contracts need an Editor all along
    body = {**fields, "reason": "Entered wrong."}
    await _refusable(client.post(f"/v1/{kind}/{found['id']}/{path}", json=body))


async def _trade(
    client: httpx.AsyncClient, customer: Customer, what: str, which: int, day: date
) -> None:
    """Licences bought late, withdrawn, and sent again with another day or kind."""
    if what == "buy":
        kind = ("editor", "runtime")[which % 2]
        await customer.licence(kind, (day - FIRST).days)
        return
    licence = await _one(client, "licences", {"customer_id": customer.id}, which)
    if licence["serial_number"] == customer.serials[0]:
        return  # contracts need an Editor all along
    if what == "withdraw":
        on = licence["purchased_on"] if which % 3 == 0 else max(str(day), licence["purchased_on"])
        body = {"withdrawn_on": on, "reason": "Given back."}
        await _refusable(client.post(f"/v1/licences/{licence['id']}/withdrawal", json=body))
        return
    names = ("customer_id", "kind", "product", "version", "purchased_on")
    body = {name: licence[name] for name in names}
    body |= {"kind": "runtime"} if which % 5 == 0 else {"purchased_on": str(day)}
    url = f"/v1/licences/by-serial/{licence['serial_number']}"
    await _refusable(client.put(url, json=body))


async def _move(
    client: httpx.AsyncClient, case: Opened, away: Customer, home: Customer, *, back: bool
) -> None:
    """A case goes to another customer, and perhaps comes back: then it is another case."""
    for to in (away, home)[: 1 + back]:
        body = {"customer_id": to.id, "as_overrun": True, "reason": "Wrong customer."}
        new = await _refusable(client.post(f"/v1/cases/{case.id}/move", json=body))
        if new is None:
            return
        case.id, case.entries = new["id"], []


async def _step(
    client: httpx.AsyncClient, case: Opened, what: str, minutes: int, earlier: date
) -> None:
    url = f"/v1/cases/{case.id}"
    match what:
        case "work":
            worked_at = f"{max(earlier, case.on)}T09:00:00Z"
            body = {"technician": "Help desk", "minutes": minutes, "worked_at": worked_at}
            entry = await _refusable(client.post(f"{url}/time-entries", json=body))
            if entry is not None:
                case.entries.append(entry["id"])
        case "reverse":
            if case.entries:
                entry = case.entries[minutes % len(case.entries)]
                entry_url = f"{url}/time-entries/{entry}/reversal"
                await _refusable(client.post(entry_url, json={"reason": "Wrong."}))
        case "bug" | "no bug":
            category = "bug" if what == "bug" else "problem"
            await _refusable(client.patch(url, json={"category": category}))
        case _:
            words: dict[str, dict[str, str]] = {
                "closure": {"resolution": "Because."},
                "binding": {},
            }
            said = words.get(what, {"reason": "Because."})
            await _refusable(client.post(f"{url}/{what}", json=said))


async def _refusable(request: Any) -> Any:
    answer = await request
    assert answer.status_code in (200, 201, 409, 422), answer.text
    return answer.json() if answer.is_success else None


Fact = tuple[str, int, int]
"""What comes to be, of which of those there are, and how many days from today."""

_FACTS = ("editor", "runtime", "withdraw", "upgrade", "sign", "cancel", "pack", "open", "phone")
# Near a whole number of years from each other, so that boundaries meet.
_days = st.integers(-800, 420) | st.builds(
    lambda years, days: 365 * years + days, st.integers(-2, 1), st.integers(-1, 2)
)
some_facts: st.SearchStrategy[list[Fact]] = st.lists(
    st.tuples(st.sampled_from(_FACTS), st.integers(0, 9), _days), min_size=1, max_size=8
)


async def add(customer: Customer, facts: list[Fact], today: date) -> None:
    """Facts of any dates, recorded today; what the service refuses does not come to be."""
    client, url = customer.client, {"customer_id": customer.id}
    for what, which, days in facts:
        day, past = today + timedelta(days=days), today - timedelta(days=abs(days))
        with at(today):
            match what:
                case "editor" | "runtime":
                    await customer.licence(what, (past - customer.today).days)
                case "pack":
                    await customer.pack(1 + which % 3, (past - customer.today).days)
                case "sign":
                    body = {**url, "starts_on": str(day), "included_minutes": 60 + 60 * which}
                    await _refusable(client.post("/v1/contracts", json=body))
                case "open" | "phone":
                    channel = "phone" if what == "phone" else "email"
                    await _refusable(customer.try_open(channel=channel))
                case "withdraw" | "upgrade":
                    licence = await _one(client, "licences", url, which)
                    steps: dict[str, tuple[str, dict[str, Any]]] = {
                        "withdraw": ("withdrawal", {"withdrawn_on": str(day), "reason": "Sold."}),
                        "upgrade": ("upgrades", {"version": "12", "upgraded_on": str(past),
                                                 "paid_by": ("purchase", "contract")[which % 2]}),
                    }  # fmt: skip
                    path, body = steps[what]
                    if licence:
                        url_of_it = f"/v1/licences/{licence['id']}/{path}"
                        await _refusable(client.post(url_of_it, json=body))
                case "cancel":
                    contract = await _one(client, "contracts", url, which)
                    body = {"cancelled_on": str(day), "reason": "By agreement."}
                    if contract:
                        url_of_it = f"/v1/contracts/{contract['id']}/cancellation"
                        await _refusable(client.post(url_of_it, json=body))


async def _one(client: httpx.AsyncClient, kind: str, params: dict[str, str], which: int) -> Any:
    items = (await client.get(f"/v1/{kind}", params=params)).json()["items"]
    return items[which % len(items)] if items else None
