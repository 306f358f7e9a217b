"""The service against an independent model of the clauses, step by step, for as long as given.

`ASSISTENZA_LONG_SECONDS` says how long (60 by default), `ASSISTENZA_SEED` with which chances.
Hypothesis chooses the steps, on a clock that only goes forward; after each the answer, the balances
and every state must agree.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app import clock
from app.services.tokens import SCOPES
from app.store.reconcile import snapshot
from tests.api.build import unique
from tests.conftest import Service
from tests.long.model import Customer
from tests.long.records import (
    OPEN,
    Case,
    Entry,
    Hours,
    Licence,
    Pack,
    Payer,
    Ticket,
    a_year_after,
)
from tests.long.speaking import Counters, Speaking

pytestmark = pytest.mark.long
_SECONDS = float(os.environ.get("ASSISTENZA_LONG_SECONDS", "60"))
_SEED = int(os.environ.get("ASSISTENZA_SEED", "0")) or random.randrange(1, 2**31)

numbers = st.integers(0, 1000)
channels = st.sampled_from(["email", "email", "phone", "remote"])
days_ago = st.sampled_from([0, 1, 2, 30, 364, 365, 366, 400])
minutes = st.sampled_from([1, 45, 59, 60, 240, 299, 300, 301, 600, 1200, 1440])


def few(what: str) -> Callable[[Any], bool]:
    """Things are bought until there are some: the steps of interest come after."""
    return lambda machine: len(machine.all(what)) < 6


class Machine(Speaking):
    """Two customers, so that what one does shows if it touches the other."""

    @initialize(
        start=st.sampled_from(
            [date(2024, 2, 28), date(2024, 2, 29), date(2025, 3, 29), date(2026, 6, 15)]
        )
    )
    def begin(self, start: date) -> None:
        self.meet(start)
        # Somewhere to start from: a customer without anything is refused most of what it asks.
        for who in range(2):
            self.buy_licence(who, "editor", 30)
        self.sign_contract(0, 1, 300)
        self.buy_tickets(1, 2, 2)

    # --- time -------------------------------------------------------------------------------

    @rule(days=st.sampled_from([1, 1, 1, 1, 1, 1, 29, 90, 364, 366]))
    def time_passes(self, days: int) -> None:
        self.now += timedelta(days=days)
        for who in range(2):
            self.agree(who)

    # --- what is bought ---------------------------------------------------------------------

    @precondition(few("licences"))
    @rule(
        who=st.integers(0, 1), kind=st.sampled_from(["editor", "editor", "runtime"]), ago=days_ago
    )
    def buy_licence(self, who: int, kind: str, ago: int) -> None:
        id_, model = self.customers[who]
        lic = Licence(unique("L"), kind, self.today - timedelta(ago))
        body = {
            "customer_id": id_,
            "serial_number": lic.serial,
            "kind": kind,
            "product": "Movicon",
            "version": "11",
            "purchased_on": str(lic.bought),
        }
        self.both(lambda: model.licences.append(lic), "licences", body)
        self.agree(who)

    @precondition(lambda self: len(self.all("licences")) > 3)
    @rule(number=numbers, days=st.sampled_from([-40, -1, 0, 1, 40]))
    def withdraw_licence(self, number: int, days: int) -> None:
        who, lic = self.pick(self.all("licences"), number, lambda lic: not lic.withdrawn)
        model, on = self.customers[who][1], self.today + timedelta(days)
        body = {"withdrawn_on": str(on), "reason": "Sold"}
        self.both(lambda: model.withdraw(lic, on), f"licences/{lic.serial}/withdrawal", body)
        self.agree(who)

    @precondition(lambda self: self.all("licences"))
    @rule(number=numbers, ago=st.sampled_from([-1, 0, 1, 40]), contract=st.booleans())
    def upgrade_licence(self, number: int, ago: int, contract: bool) -> None:
        who, lic = self.pick(self.all("licences"), number, lambda lic: not lic.withdrawn)
        model, on = self.customers[who][1], self.today - timedelta(ago)
        paid_by = "contract" if contract else "purchase"
        body = {"version": "12", "upgraded_on": str(on), "paid_by": paid_by}
        path = f"licences/{lic.serial}/upgrades"
        self.both(lambda: model.upgrade(lic, on, self.today, paid_by), path, body)
        self.agree(who)

    @precondition(few("contracts"))
    @rule(who=st.integers(0, 1), ago=st.sampled_from([-40, 0, 1, 364, 365]), granted=minutes)
    def sign_contract(self, who: int, ago: int, granted: int) -> None:
        id_, model = self.customers[who]
        starts = self.today - timedelta(ago)
        body = {"customer_id": id_, "starts_on": str(starts), "included_minutes": granted}
        self._signed(self.both(lambda: model.sign(starts, granted), "contracts", body))
        self.agree(who)

    def _signed(self, done: tuple[Hours, dict[str, Any]] | None) -> None:
        if done is not None:
            contract, body = done
            contract.id = body["id"]
            assert body["ends_on"] == str(contract.ends)

    @precondition(lambda self: self.all("contracts"))
    @rule(number=numbers, starts=st.sampled_from(["today", "at_end"]), take_over=st.booleans())
    def renew_contract(self, number: int, starts: str, take_over: bool) -> None:
        who, old = self.pick(self.all("contracts"), number, lambda old: not old.cancelled)
        model = self.customers[who][1]
        body = {"starts": starts, "take_over_overrun": take_over}
        path = f"contracts/{old.id}/renewal"
        self._signed(self.both(lambda: model.renew(old, self.today, starts, take_over), path, body))
        self.agree(who)

    @precondition(lambda self: self.all("contracts"))
    @rule(number=numbers, days=st.sampled_from([-40, -1, 0, 1, 40]), at_end=st.booleans())
    def cancel_contract(self, number: int, days: int, at_end: bool) -> None:
        who, contract = self.pick(self.all("contracts"), number, lambda one: not one.cancelled)
        on = contract.ends if at_end else self.today + timedelta(days)
        body = {"cancelled_on": str(on), "reason": "Ended"}
        model = self.customers[who][1]
        path = f"contracts/{contract.id}/cancellation"
        self.both(lambda: model.cancel_contract(contract, on), path, body)
        self.agree(who)

    @precondition(few("packs"))
    @rule(who=st.integers(0, 1), ago=days_ago, quantity=st.integers(1, 3))
    def buy_tickets(self, who: int, ago: int, quantity: int) -> None:
        id_, model = self.customers[who]
        on = self.today - timedelta(ago)
        pack = Pack("", on, a_year_after(on), quantity)
        body = {"customer_id": id_, "quantity": quantity, "purchased_on": str(on)}
        done = self.both(lambda: model.packs.append(pack), "ticket-packs", body)
        assert done is not None
        pack.id = done[1]["id"]
        self.agree(who)

    # --- cases ------------------------------------------------------------------------------

    @rule(
        who=st.integers(0, 1),
        channel=channels,
        pay_with=st.sampled_from(["auto", "auto", "auto", "free_hours", "contract", "ticket"]),
        bug=st.sampled_from([False, False, False, True]),
        serial=st.sampled_from(["own"] * 8 + ["none", "any"]),
        number=numbers,
        spent=st.lists(minutes, max_size=3),
    )
    def open_case(
        self,
        who: int,
        channel: str,
        pay_with: str,
        bug: bool,
        serial: str,
        number: int,
        spent: list[int],
    ) -> None:
        id_, model = self.customers[who]
        known = [lic for _, lic in self.all("licences")]
        if serial == "own":
            known = [lic for lic in model.licences if lic.held(self.today)]
        named = None if serial == "none" or not known else known[number % len(known)].serial
        body = {
            "customer_id": id_,
            "requester": {"name": "Plant engineer"},
            "subject": "Screen stays blank",
            "description": "After the start the screen stays blank.",
            "channel": channel,
            "pay_with": pay_with,
            "category": "bug" if bug else "problem",
            **({"serial_number": named} if named else {}),
        }
        done = self.both(
            lambda: model.open(self.today, channel, pay_with, named, bug), "cases", body
        )
        if done is not None:
            (payer, priority_support), answer = done
            case = Case(
                answer["number"], answer["id"], channel, body["category"], self.today, payer, payer
            )
            model.add(case)
            assert answer["priority_support"] == priority_support
            assert _named(payer) == answer["paid_by"].get("id")
        self.agree(who)
        if done is not None:
            for each in spent:
                self._work(who, case, each, 0)

    def _case(self, number: int, likely: Callable[[Case], bool]) -> tuple[int, Customer, Case]:
        who, case = self.pick(self.all("cases"), number, likely)
        return who, self.customers[who][1], case

    @precondition(lambda self: self.all("cases"))
    @rule(
        number=numbers,
        spent=st.lists(minutes, min_size=1, max_size=3),
        ago=st.sampled_from([-1, 0, 0, 0, 1, 2, 30, 300]),
    )
    def work(self, number: int, spent: list[int], ago: int) -> None:
        who, _, case = self._case(number, lambda case: case.state in OPEN)
        for each in spent:
            if not self._work(who, case, each, ago):
                break

    def _work(self, who: int, case: Case, spent: int, ago: int) -> bool:
        model = self.customers[who][1]
        # Each at a second of its own, so that the order in which work was done is never in doubt.
        second = timedelta(seconds=len([e for c in model.cases for e in c.entries]))
        day = self.today - timedelta(ago)
        worked_at = datetime.combine(day, time_of_day(8), UTC) + second
        entry = Entry(case, spent, worked_at, day)
        body = {"technician": "T", "minutes": spent, "worked_at": worked_at.isoformat()}
        path = f"cases/{case.number}/time-entries"
        done = self.both(lambda: model.work(entry, self.now), path, body)
        if done is not None:
            entry.id = done[1]["id"]
            charged = [(c["allowance"]["kind"], c["minutes"]) for c in done[1]["charges"]]
            lines = [x for x in model.lines if x.entry is entry]
            assert charged == [
                (x.payer.kind, x.minutes) for x in lines if not x.overrun and x.payer
            ]
            assert done[1]["overrun_minutes"] == sum(x.minutes for x in lines if x.overrun)
        self.agree(who)
        return done is not None

    @precondition(lambda self: any(case.entries for _, case in self.all("cases")))
    @rule(number=numbers)
    def reverse(self, number: int) -> None:
        entries = [(who, e) for who, case in self.all("cases") for e in case.entries]
        who, entry = self.pick(entries, number, lambda entry: not entry.reversed)
        model = self.customers[who][1]
        path = f"cases/{entry.case.number}/time-entries/{entry.id}/reversal"
        self.both(lambda: model.reverse(entry), path, {"reason": "Wrong"})
        self.agree(who)

    @precondition(lambda self: self.all("cases"))
    @rule(number=numbers, category=st.sampled_from(["bug", "bug", "problem", "question"]))
    def classify(self, number: int, category: str) -> None:
        who, model, case = self._case(number, lambda case: case.state != "cancelled")
        body = {"category": category}
        path = f"cases/{case.number}"
        change = lambda: model.classify(case, category, self.today)  # noqa: E731
        self.both(change, path, body, method="PATCH")
        self.agree(who)

    @precondition(lambda self: self.all("cases"))
    @rule(
        number=numbers, step=st.sampled_from(["take", "wait", "close", "close", "reopen", "cancel"])
    )
    def move(self, number: int, step: str) -> None:
        states = {"reopen": {"closed"}, "wait": {"in_progress"}}.get(step, OPEN)
        who, model, case = self._case(number, lambda case: case.state in states)
        path, body = {
            "take": ("transition", {"to": "in_progress"}),
            "wait": ("transition", {"to": "waiting_for_customer"}),
            "close": ("closure", {"resolution": "Solved"}),
            "reopen": ("reopening", {"reason": "Again"}),
            "cancel": ("cancellation", {"reason": "Mistake"}),
        }[step]
        self.both(lambda: model.move(case, step), f"cases/{case.number}/{path}", body)
        self.agree(who)


def _named(payer: Payer) -> str | None:
    if isinstance(payer, Ticket):
        return payer.pack.id
    return payer.id or None if payer is not None else None


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_the_service_agrees_with_the_model(
    new_service: Callable[..., Awaitable[Service]],
    runner: asyncio.Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def begin() -> Service:
        return await new_service(pool_size=2)

    async def differences() -> list[str]:
        async with snapshot(service.database) as view:
            return [str(found) async for found in view.differences()]

    service = runner.run(begin())
    token = runner.run(service.token(*SCOPES))
    monkeypatch.setattr(clock, "now", clock.now)  # put back at the end
    Machine.runner = runner
    Machine.client = service.client(token)
    Machine.counters = counters = Counters()
    until = time.monotonic() + _SECONDS
    chances = random.Random(_SEED)
    print(f"ASSISTENZA_SEED={_SEED}")
    sequences = 0
    try:
        while time.monotonic() < until:
            run_state_machine_as_test(
                seed(chances.randrange(2**32))(Machine),
                settings=settings(
                    max_examples=8,
                    stateful_step_count=100,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            sequences += 8
            assert not runner.run(differences())
    finally:
        runner.run(Machine.client.aclose())
        runner.run(service.database.close())
    with capsys.disabled():
        print(f"\n{counters.steps} steps in {sequences} sequences (ASSISTENZA_SEED={_SEED})")
        print("  done:", dict(counters.done.most_common()))
        print("  refused alike:", dict(counters.refused.most_common()))
    # A run in which nothing happened proves nothing.
    assert counters.steps > _SECONDS
