"""Notices of random histories with a moving clock equal those of an independent model of R41.

Of two customers: their purchases, contracts and packs are corrected (R40) and taken back (R46),
licences pass from one to the other (R44), and they become one (R49). The follower is stopped and
started between the steps, and its transaction is rolled back at random; over `kill -9`:
long/test_notices.py.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import httpx

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
    "reinstate contract": 1,
    "buy tickets": 2,
    "cancel tickets": 1,
    "runtime": 2,
    "editor": 1,
    "withdraw": 1,
    "reinstate licence": 1,
    "correct contract": 2,
    "correct pack": 1,
    "correct licence": 6,
    "transfer": 1,
    "merge": 1,
}
# After these a service year that began may never have begun.
_UNDOING = {"withdraw", "reinstate licence", "correct licence", "transfer", "merge"}


class _Killed(Exception):
    """The process ended before the transaction did."""


async def seen(customer: Customer, on: date, *, undone: bool) -> list[Seen]:
    """The customer's allowances, from the answers of the interface alone.

    `undone`: whether purchases were corrected, so that a year may never have begun.
    """
    found = [*await _contracts(customer, on), *await _packs(customer, on)]
    return [*found, *await _years(customer, on, undone=undone)]


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


async def _years(customer: Customer, on: date, *, undone: bool) -> list[Seen]:
    usage = await customer.get(f"customers/{customer.id}/usage")
    standing = await _paying(customer, on) if undone else None
    found = []
    for one in usage["allowances"]:
        if one["kind"] != "free_hours":
            continue
        stops_on, covered = None, False
        if one["state"] == "in_force":
            stops_on, covered = await _stops(customer, one["starts_on"])
        stands = standing is None or one["starts_on"] in standing
        found.append(
            Seen(
                one["starts_on"],
                "free_hours",
                stands and one["state"] in ("in_force", "suspended"),
                stops_on,
                covered,
                one["granted_minutes"],
                one["used_minutes"],
                one["overrun_minutes"],
                stands,
            )
        )
    return found


async def _paying(customer: Customer, on: date) -> set[str]:
    """The first days of the service years that pay for new cases on some day until today."""
    found: set[str] = set()
    at = f"{T0 - timedelta(days=400)}T12:00:00Z"
    until = datetime.combine(on + timedelta(days=1), datetime.min.time(), _ROME)
    while at is not None and datetime.fromisoformat(at) < until:
        answer = await customer.entitlements(at=at)
        found |= {x["starts_on"] for x in answer["allowances"] if x["kind"] == "free_hours"}
        at = answer["valid_until"]
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
        self.buyer: Customer | None = None
        """Who gets licences of it."""
        self.undone = False
        """Whether a service year may be on record that no purchase begins any more."""
        self.model = Model()
        self.expected: Counter[Told] = Counter()

    async def begin(self) -> None:
        await self.customer.licence(days=-300)
        await self.customer.contract(days=-290, included_minutes=100)
        await self.customer.pack(2, days=-300)
        for what in ("open", "open", "work", "work"):
            await self.step(what, T0)

    async def merge(self, other: "History") -> None:
        """The other becomes part of this one."""
        await self._change(f"customers/{other.customer.id}/merge", into=self.customer.id)
        self.cases += other.cases
        self.entries += other.entries
        self.undone = True
        self.model.take_over(other.model)
        self.expected += other.expected

    async def look(self, today: date) -> None:
        found = await seen(self.customer, today, undone=self.undone)
        self.expected.update(self.model.look(today, found))

    async def _change(self, path: str, **body: Any) -> None:
        body["reason"] = "Because."
        await _refusable(self.customer.client.post(f"/v1/{path}", json=body))

    async def _one(self, kind: str, *, first: bool = False) -> dict[str, Any] | None:
        path = f"{kind}?customer_id={self.customer.id}&limit=200"
        items = (await self.customer.get(path))["items"]
        if kind == "licences":
            # Contracts need the first, an Editor, all along.
            is_first = (one["serial_number"] == self.customer.serials[0] for one in items)
            items = [one for one, is_it in zip(items, is_first, strict=True) if is_it == first]
        return self.chance.choice(items) if items else None

    async def _correct(self, what: str, today: date) -> None:
        """A correction, something taken back, or a licence that passes to another customer."""
        chance, day = self.chance, str(today - timedelta(self.chance.choice((0, 5, 40, 200))))
        kind = "ticket-packs" if what.endswith("pack") else f"{what.split()[-1]}s"
        moves = what == "correct licence" and chance.random() < 0.7
        one = await self._one("licences" if what == "transfer" else kind, first=moves)
        if one is None:
            return
        match what:
            case "reinstate contract" | "reinstate licence":
                await self._change(f"{kind}/{one['id']}/reinstatement")
            case "correct contract":
                bodies: list[dict[str, Any]] = [
                    {"starts_on": day},
                    {"included_minutes": chance.choice((60, 100, 300))},
                ]
                await self._change(f"{kind}/{one['id']}/correction", **chance.choice(bodies))
            case "correct pack":
                await self._change(f"{kind}/{one['id']}/correction", purchased_on=day)
            case "correct licence" if moves:
                # Its service years begin a little sooner or later.
                bought = date.fromisoformat(one["purchased_on"])
                moved = min(bought + timedelta(chance.choice((-40, -9, -2, 4, 15))), today)
                await self._change(f"{kind}/{one['id']}/correction", purchased_on=str(moved))
            case "correct licence":
                other = {"kind": chance.choice(("editor", "runtime"))}
                await self._change(f"{kind}/{one['id']}/correction", **other)
            case "transfer" if self.buyer is not None:
                to = {"to_customer_id": self.buyer.id, "on": day}
                await self._change(f"licences/{one['id']}/transfer", **to)

    async def step(self, what: str, today: date) -> None:
        customer, chance, client = self.customer, self.chance, self.customer.client
        days = (today - T0).days
        reason = {"reason": "Because."}
        self.undone = self.undone or what in _UNDOING
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
            case "renew" | "end":
                if one := await self._one("contracts"):
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
                    }
                    path, body = bodies[what]
                    url = f"/v1/contracts/{one['id']}/{path}"
                    await _refusable(client.post(url, json=body))
            case "buy tickets":
                await customer.pack(chance.choice((1, 2, 4)), days - chance.choice((0, 0, 340)))
            case "cancel tickets":
                if one := await self._one("ticket-packs"):
                    body = {"quantity": 1, "cancelled_on": str(today), **reason}
                    url = f"/v1/ticket-packs/{one['id']}/cancellation"
                    await _refusable(client.post(url, json=body))
            case "runtime" | "editor":
                await customer.licence(what, days)
            case "withdraw":
                if one := await self._one("licences"):
                    later = 0 if one["kind"] == "editor" else chance.choice((0, 20))
                    body = {"withdrawn_on": str(today + timedelta(later)), **reason}
                    url = f"/v1/licences/{one['id']}/withdrawal"
                    await _refusable(client.post(url, json=body))
            case _ if what == "transfer" or what.startswith(("correct ", "reinstate ")):
                await self._correct(what, today)


class RolledBack:
    """Follows in this process; its transactions are rolled back at random."""

    def __init__(self, service: Service, seed: int) -> None:
        self._service = service
        self._chance = random.Random(seed)
        self._set_state = store.set_state

    async def __call__(self) -> None:
        with patch.object(store, "set_state", self._or_killed):
            while True:
                try:
                    await follow_all(self._service)
                    return
                except _Killed:
                    continue

    async def _or_killed(self, *arguments: Any) -> None:
        if self._chance.random() < 0.25:
            raise _Killed
        await self._set_state(*arguments)


Follow = Callable[[], Awaitable[None]]


async def live(client: httpx.AsyncClient, follow: Follow, seed: int, length: int) -> int:
    """A history, compared at each look: how many notices there were."""
    chance = random.Random(seed)
    today = T0
    with histories.at(today):
        both = [History(await Customer.new(client, T0), chance) for _ in range(2)]
        both[0].buyer, both[1].buyer = both[1].customer, both[0].customer
        for one in both:
            await one.begin()
    happened: list[str] = []
    for number, what in enumerate(chance.choices([*_STEPS], [*_STEPS.values()], k=length)):
        if what == "pass":
            today += timedelta(chance.choice((3, 7, 23, 30)))
        who = 0 if chance.random() < 0.7 else len(both) - 1
        happened.append(f"{today} {what} {who}")
        with histories.at(today):
            if what != "merge":
                await both[who].step(what, today)
            elif len(both) == 2 and number > length // 2:
                await both[0].merge(both.pop())
            # The follower does not run all the time.
            if chance.random() < 0.4:
                continue
            await follow()
            for one in both:
                await one.look(today)
                events = await every(client, customer_id=one.customer.id, type=TYPES)
                told = Counter(map(_told, events))
                missing, beyond = one.expected - told, told - one.expected
                assert not missing and not beyond, (seed, missing, beyond, happened)  # noqa: PT018
    for one in both:
        for notice, times in one.expected.items():
            # A service year that was undone and comes back is a new one. Its key is its first day.
            is_year = len(notice.key) == len("2024-01-01")
            again = notice.what == "overrun" or (one.undone and is_year)
            assert times == 1 or again, (seed, notice)
    return sum(sum(one.expected.values()) for one in both)


async def test_notices_agree(service: Service, client: httpx.AsyncClient) -> None:
    assert sum([await live(client, RolledBack(service, seed), seed, 30) for seed in range(2)]) > 10
