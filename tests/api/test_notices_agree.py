"""Notices of random histories with a moving clock equal those of an independent model of R41.

The follower is stopped and started between the steps, and its transaction is rolled back at random,
as if the process had been killed.
"""

import random
from collections import Counter
from collections.abc import Awaitable
from datetime import date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import httpx
import pytest

from app.store import standings as store
from tests import histories
from tests.api.build import Customer
from tests.api.test_events import every
from tests.api.test_notices import TYPES
from tests.conftest import Service, follow_all
from tests.notices_model import Model, Seen, Told

T0 = date(2024, 1, 1)
_ROME = ZoneInfo("Europe/Rome")
_STEPS = {
    "pass": 10,
    "work": 10,
    "reverse": 5,
    "open": 4,
    "bug": 2,
    "no bug": 2,
    "close": 2,
    "sign": 2,
    "renew": 4,
    "end": 1,
    "reinstate": 1,
    "buy tickets": 2,
    "cancel tickets": 1,
    "runtime": 2,
    "editor": 1,
    "withdraw": 1,
}


class _Killed(Exception):
    """The process ended before the transaction did."""


async def seen(customer: Customer, on: date) -> list[Seen]:
    """The customer's allowances, from the answers of the interface alone."""
    found = [*await _contracts(customer, on), *await _packs(customer, on)]
    return [*found, *await _years(customer, on)]


async def _contracts(customer: Customer, on: date) -> list[Seen]:
    items = (await customer.get(f"contracts?customer_id={customer.id}&limit=200"))["items"]
    periods = []
    for one in items:
        ends = min(one["ends_on"], one["cancelled_on"] or one["ends_on"])
        periods.append((date.fromisoformat(one["starts_on"]), date.fromisoformat(ends)))
    found = []
    for one, (starts_on, ends_on) in zip(items, periods, strict=True):
        lasts = starts_on <= on < ends_on
        found.append(
            Seen(
                one["id"],
                "contract",
                lasts,
                ends_on if lasts else None,
                any(first <= ends_on < end and first < end for first, end in periods),
                one["included_minutes"],
                one["used_minutes"],
                one["overrun_minutes"],
            )
        )
    return found


async def _packs(customer: Customer, on: date) -> list[Seen]:
    items = (await customer.get(f"ticket-packs?customer_id={customer.id}&limit=200"))["items"]
    packs = [await customer.get(f"ticket-packs/{one['id']}") for one in items]
    found = []
    for one in packs:
        ends = [
            date.fromisoformat(ticket["expires_on"])
            for ticket in one["tickets"]
            if ticket["state"] not in ("consumed", "cancelled")
        ]
        ends_on = max(ends, default=date.fromisoformat(one["expires_on"]))
        others = [
            date.fromisoformat(ticket["expires_on"])
            for other in packs
            if other["id"] != one["id"] and date.fromisoformat(other["purchased_on"]) <= ends_on
            for ticket in other["tickets"]
            if ticket["state"] in ("available", "expired")
        ]
        lasts = date.fromisoformat(one["purchased_on"]) <= on < ends_on
        found.append(
            Seen(
                one["id"],
                "ticket_pack",
                lasts,
                ends_on if lasts and ends else None,
                any(end > ends_on for end in others),
                one["quantity"] - one["cancelled"],
                one["held"] + one["consumed"],
                0,
            )
        )
    return found


async def _years(customer: Customer, on: date) -> list[Seen]:
    usage = await customer.get(f"customers/{customer.id}/usage")
    found = []
    for one in usage["allowances"]:
        if one["kind"] != "free_hours":
            continue
        stops_on, covered = None, False
        if one["state"] == "in_force":
            stops_on, covered = await _stops(customer, one["starts_on"])
        found.append(
            Seen(
                one["starts_on"],
                "free_hours",
                one["state"] in ("in_force", "suspended"),
                stops_on,
                covered,
                one["granted_minutes"],
                one["used_minutes"],
                one["overrun_minutes"],
            )
        )
    return found


async def _stops(customer: Customer, starts_on: str) -> tuple[date | None, bool]:
    """The first day on which a service year pays no more, and whether another pays then."""
    answer = await customer.entitlements()
    while answer["valid_until"] is not None:
        until = datetime.fromisoformat(answer["valid_until"])
        answer = await customer.entitlements(at=answer["valid_until"])
        years = [one["starts_on"] for one in answer["allowances"] if one["kind"] == "free_hours"]
        if years != [starts_on]:
            return until.astimezone(_ROME).date(), bool(years)
    return None, False


def _told(event: dict[str, Any]) -> Told:
    data = event["data"]
    allowance = data["allowance"]
    return Told(
        allowance["id"] or allowance["starts_on"],
        data.get("kind", event["type"].removeprefix("allowance.")),
        data.get("level"),
        data["episode"],
    )


async def _refusable(request: Awaitable[httpx.Response]) -> Any:
    answer = await request
    assert answer.status_code in (200, 201, 409, 422), answer.text
    return answer.json() if answer.is_success else None


class History:
    """A customer to which something happens, day after day."""

    def __init__(self, customer: Customer, chance: random.Random) -> None:
        self.customer = customer
        self.chance = chance
        self.cases: list[dict[str, Any]] = []
        self.entries: list[dict[str, Any]] = []

    async def step(self, what: str, today: date) -> None:
        customer, chance, client = self.customer, self.chance, self.customer.client
        days = (today - T0).days
        mine = f"customer_id={customer.id}&limit=200"
        reason = {"reason": "Because."}
        case = chance.choice(self.cases) if self.cases else None
        match what:
            case "open":
                channel = chance.choice(("email", "phone"))
                opened = await _refusable(customer.try_open(channel=channel))
                self.cases += [] if opened is None else [opened]
            case "work" if case:
                body = {"technician": "Help desk", "minutes": chance.choice((30, 70, 130, 200))}
                url = f"/v1/cases/{case['id']}/time-entries"
                entry = await _refusable(client.post(url, json=body))
                self.entries += [] if entry is None else [entry]
            case "reverse" if self.entries:
                entry = self.entries.pop(chance.randrange(len(self.entries)))
                url = f"/v1/cases/{entry['case_id']}/time-entries/{entry['id']}/reversal"
                await _refusable(client.post(url, json=reason))
            case "bug" | "no bug" if case:
                body = {"category": "bug" if what == "bug" else "problem"}
                await _refusable(client.patch(f"/v1/cases/{case['id']}", json=body))
            case "close" if case:
                body = {"resolution": "Because."}
                await _refusable(client.post(f"/v1/cases/{case['id']}/closure", json=body))
            case "sign":
                starts_on = today + timedelta(chance.choice((-330, -300, 0, 20)))
                body = {
                    "customer_id": customer.id,
                    "starts_on": str(starts_on),
                    "included_minutes": 150,
                }
                await _refusable(client.post("/v1/contracts", json=body))
            case "renew" | "end" | "reinstate":
                items = (await customer.get(f"contracts?{mine}"))["items"]
                if items:
                    bodies: dict[str, tuple[str, dict[str, Any]]] = {
                        "renew": (
                            "renewal",
                            {
                                "starts": chance.choice(("today", "at_end")),
                                "take_over_overrun": chance.random() < 0.5,
                            },
                        ),
                        "end": (
                            "cancellation",
                            {
                                "cancelled_on": str(today + timedelta(chance.choice((0, 5, 45)))),
                                **reason,
                            },
                        ),
                        "reinstate": ("reinstatement", reason),
                    }
                    path, body = bodies[what]
                    url = f"/v1/contracts/{chance.choice(items)['id']}/{path}"
                    await _refusable(client.post(url, json=body))
            case "buy tickets":
                await customer.pack(chance.choice((1, 2, 4)), days - chance.choice((0, 0, 340)))
            case "cancel tickets":
                items = (await customer.get(f"ticket-packs?{mine}"))["items"]
                if items:
                    body = {"quantity": 1, "cancelled_on": str(today), **reason}
                    url = f"/v1/ticket-packs/{chance.choice(items)['id']}/cancellation"
                    await _refusable(client.post(url, json=body))
            case "runtime" | "editor":
                await customer.licence(what, days)
            case "withdraw":
                items = (await customer.get(f"licences?{mine}"))["items"]
                # Contracts need an Editor all along.
                rest = [one for one in items if one["serial_number"] != customer.serials[0]]
                if rest:
                    one = chance.choice(rest)
                    later = 0 if one["kind"] == "editor" else chance.choice((0, 20))
                    body = {"withdrawn_on": str(today + timedelta(later)), **reason}
                    url = f"/v1/licences/{one['id']}/withdrawal"
                    await _refusable(client.post(url, json=body))


async def live(service: Service, client: httpx.AsyncClient, seed: int, length: int) -> int:
    """A history, compared at each look: how many notices there were."""
    chance = random.Random(seed)
    real = store.set_state

    async def set_state(*arguments: Any) -> None:
        if chance.random() < 0.25:
            raise _Killed
        await real(*arguments)

    today = T0
    with histories.at(today):
        customer = await Customer.new(client, T0)
        await customer.licence(days=-300)
        await customer.contract(days=-290, included_minutes=100)
        await customer.pack(2, days=-300)
        history, model = History(customer, chance), Model()
        for what in ("open", "open", "work", "work"):
            await history.step(what, today)
    expected: Counter[Told] = Counter()
    happened: list[str] = []
    for what in chance.choices([*_STEPS], [*_STEPS.values()], k=length):
        if what == "pass":
            today += timedelta(chance.choice((3, 7, 23, 30)))
        happened.append(f"{today} {what}")
        with histories.at(today):
            await history.step(what, today)
            # The follower does not run all the time.
            if chance.random() < 0.4:
                continue
            with patch.object(store, "set_state", set_state):
                while True:
                    try:
                        await follow_all(service)
                        break
                    except _Killed:
                        continue
            expected.update(model.look(today, await seen(customer, today)))
            events = await every(client, customer_id=customer.id, type=TYPES)
            told = Counter(map(_told, events))
            missing, beyond = expected - told, told - expected
            assert not missing and not beyond, (seed, missing, beyond, happened)  # noqa: PT018
    assert max(expected.values(), default=1) == 1 or all(
        one.what == "overrun" for one, times in expected.items() if times > 1
    )
    return sum(expected.values())


async def test_notices_agree(service: Service, client: httpx.AsyncClient) -> None:
    assert sum([await live(service, client, seed, 30) for seed in range(2)]) > 10


@pytest.mark.long
async def test_notices_agree_over_many_histories(
    service: Service, client: httpx.AsyncClient
) -> None:
    found = [await live(service, client, 1_000 + seed, 80) for seed in range(20)]
    assert sum(found) > 100
