"""What many do at once, on connections of their own (R19-R22): as if one after the other.

Each proof is a function that raises AssertionError where it does not hold, and each is shown to
fail once the lock is gone. `test_constraints.py` does that for what the database refuses.
"""

import asyncio
import random
import time
from collections import Counter
from datetime import date, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.store import events
from app.store.reconcile import snapshot
from tests.api.build import Customer, unique
from tests.conftest import Service
from tests.races.conftest import CROWD, Line, waiting

_ENOUGH = 20.0
"""Seconds within which a request that waits for nobody has its answer, on a busy machine."""


async def _differences(service: Service) -> list[str]:
    async with snapshot(service.database) as view:
        return [str(found) async for found in view.differences()]


def _statuses(answers: list[httpx.Response]) -> Counter[tuple[int, str | None]]:
    return Counter((answer.status_code, answer.json().get("code")) for answer in answers)


# --- the last ticket (R19) --------------------------------------------------------------------


async def _one_gets_the_last_ticket(customer: Customer) -> None:
    answers = await asyncio.gather(*(customer.try_open(channel="phone") for _ in range(CROWD)))
    assert _statuses(answers) == {(201, None): 1, (409, "not_entitled"): CROWD - 1}
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert [r["code"] for r in refused["reasons"] if r["column"] == "TCK"] == ["tickets_all_in_use"]


async def test_fifty_openings_on_the_last_ticket(
    service: Service, client: httpx.AsyncClient, today: date, line: Line
) -> None:
    customer = await Customer.new(client, today)
    await customer.pack(quantity=1)
    line.before_the_lock(CROWD)
    await _one_gets_the_last_ticket(customer)
    assert not await _differences(service)


async def test_without_the_lock_the_last_ticket_is_fought_over(
    service: Service, client: httpx.AsyncClient, today: date, line: Line
) -> None:
    customer = await Customer.new(client, today)
    await customer.pack(quantity=1)
    line.before_the_lock(CROWD, locking=False)
    with pytest.raises(AssertionError):
        await _one_gets_the_last_ticket(customer)
    # Even then the database lets nobody have it twice.
    assert not await _differences(service)


# --- a contract's last minutes (R20, R21) -----------------------------------------------------


async def _contract_with_case(client: httpx.AsyncClient, today: date) -> tuple[Customer, str, Any]:
    customer = await Customer.new(client, today)
    await customer.licence(days=-400)
    contract = await customer.contract(included_minutes=600)
    return customer, contract["id"], await customer.open(channel="phone")


async def _exactly_what_was_worked_is_charged(
    customer: Customer, contract: str, case: dict[str, Any]
) -> None:
    minutes = [5 + n % 20 for n in range(CROWD)]
    answers = await asyncio.gather(
        *(
            customer.client.post(
                f"/v1/cases/{case['id']}/time-entries", json={"technician": "T", "minutes": each}
            )
            for each in minutes
        )
    )
    assert _statuses(answers) == {(201, None): CROWD}
    after = (await customer.client.get(f"/v1/contracts/{contract}")).json()
    worked = sum(minutes)
    assert worked > 600
    assert (after["used_minutes"], after["overrun_minutes"]) == (600, worked - 600)
    charged = [sum(charge["minutes"] for charge in a.json()["charges"]) for a in answers]
    overrun = [answer.json()["overrun_minutes"] for answer in answers]
    assert sum(charged) == 600
    assert [a + b for a, b in zip(charged, overrun, strict=True)] == minutes


async def test_fifty_time_entries_on_one_contract(
    service: Service, client: httpx.AsyncClient, today: date, line: Line
) -> None:
    customer, contract, case = await _contract_with_case(client, today)
    line.before_the_lock(CROWD)
    await _exactly_what_was_worked_is_charged(customer, contract, case)
    assert not await _differences(service)


async def test_without_the_lock_minutes_are_lost(
    service: Service, client: httpx.AsyncClient, today: date, line: Line
) -> None:
    customer, contract, case = await _contract_with_case(client, today)
    line.before_the_lock(CROWD, locking=False)
    with pytest.raises(AssertionError):
        await _exactly_what_was_worked_is_charged(customer, contract, case)
    # Work is refused that never may be, but nothing is overdrawn: the balance's check holds.
    assert not await _differences(service)


# --- the same request many times --------------------------------------------------------------


async def test_a_code_that_goes_to_another_during_the_wait(
    client: httpx.AsyncClient, service: Service
) -> None:
    """The lock is that of the customer first found; nobody else may be written under it."""
    one, other = [await Customer.new(client, service.today()) for _ in range(2)]
    holder = await asyncpg.connect(service.admin_url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM customers WHERE id = $1 FOR UPDATE", one.id)
            asked = asyncio.create_task(
                client.patch(f"/v1/customers/{one.code}", json={"name": "For one alone"})
            )
            for _ in range(1000):
                if await holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    break
                await asyncio.sleep(0.02)
            for customer, code in ((one, unique("moved")), (other, one.code)):
                move = "UPDATE customers SET code = $2 WHERE id = $1"
                await holder.execute(move, customer.id, code)
        assert (await asked).status_code == 404
    finally:
        await holder.close()
    for customer in (one, other):
        shown = (await client.get(f"/v1/customers/{customer.id}")).json()
        assert shown["name"] != "For one alone"


async def test_twenty_equal_requests_have_one_effect(
    service: Service, client: httpx.AsyncClient, today: date, line: Line
) -> None:
    customer = await Customer.new(client, today)
    await customer.pack(quantity=20)
    key = {"Idempotency-Key": unique("once")}
    body = {
        "customer_id": customer.id,
        "requester": {"name": "Plant engineer"},
        "subject": "Sent twenty times",
        "description": "After the start the screen stays blank.",
    }

    def send() -> Any:
        return client.post("/v1/cases", json=body, headers=key)

    line.before_the_key(20)
    answers: list[httpx.Response] = await asyncio.gather(*(send() for _ in range(20)))
    done = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in done}) == 1
    first = [answer for answer in done if "idempotent-replayed" not in answer.headers]
    assert len(first) == 1
    refused = [answer for answer in answers if answer.status_code != 201]
    assert {answer.json()["code"] for answer in refused} <= {"request_in_progress"}
    opened = (await client.get("/v1/cases", params={"customer_id": customer.id})).json()["items"]
    assert [case["id"] for case in opened] == [done[0].json()["id"]]

    line.gone()
    again = await send()
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first[0].content


# --- everything at once on one customer -------------------------------------------------------


class _Mix:
    """Steps of every kind on one customer, chosen at random."""

    def __init__(self, customer: Customer, seed: int) -> None:
        self.customer = customer
        self.random = random.Random(seed)
        self.cases: list[str] = []
        self.contracts: list[str] = []
        self.licences: list[str] = []
        self.entries: list[tuple[str, str]] = []

    async def step(self) -> httpx.Response:
        choices = [self._open, self._open, self._licence, self._withdraw, self._sign]
        if self.cases:
            choices += [self._case_step] * 3 + [self._work] * 4 + [self._reclassify] * 3
        if self.entries:
            choices += [self._reverse] * 2
        if self.contracts:
            choices += [self._renew, self._cancel]
        answer = await self.random.choice(choices)()
        assert answer.status_code < 500, answer.text
        return answer

    async def _open(self) -> httpx.Response:
        channel = self.random.choice(["email", "phone"])
        answer = await self.customer.try_open(channel=channel)
        if answer.status_code == 201:
            self.cases.append(answer.json()["id"])
        return answer

    async def _post(self, path: str, **body: Any) -> httpx.Response:
        return await self.customer.client.post(f"/v1/{path}", json=body)

    async def _licence(self) -> httpx.Response:
        answer = await self._post(
            "licences",
            customer_id=self.customer.id,
            serial_number=unique("M"),
            kind=self.random.choice(["editor", "runtime"]),
            product="Movicon",
            version="11",
            purchased_on=str(self.customer.today - timedelta(self.random.randrange(400))),
        )
        self.licences.append(answer.json()["id"])
        return answer

    async def _withdraw(self) -> httpx.Response:
        if not self.licences:
            return await self._licence()
        on = str(self.customer.today + timedelta(self.random.choice([-1, 0, 3])))
        licence = self.random.choice(self.licences)
        return await self._post(f"licences/{licence}/withdrawal", withdrawn_on=on, reason="Sold")

    async def _sign(self) -> httpx.Response:
        starts_on = str(self.customer.today - timedelta(self.random.randrange(60)))
        minutes = self.random.choice([30, 120])
        answer = await self._post(
            "contracts",
            customer_id=self.customer.id,
            starts_on=starts_on,
            included_minutes=minutes,
        )
        if answer.status_code == 201:
            self.contracts.append(answer.json()["id"])
        return answer

    async def _renew(self) -> httpx.Response:
        path = f"contracts/{self.random.choice(self.contracts)}/renewal"
        answer = await self._post(path, starts="today", take_over_overrun=True)
        if answer.status_code == 201:
            self.contracts.append(answer.json()["id"])
        return answer

    async def _cancel(self) -> httpx.Response:
        on = str(self.customer.today + timedelta(self.random.choice([0, 1])))
        path = f"contracts/{self.random.choice(self.contracts)}/cancellation"
        return await self._post(path, cancelled_on=on, reason="Ended")

    async def _case_step(self) -> httpx.Response:
        case = self.random.choice(self.cases)
        step, body = self.random.choice(
            [
                ("closure", {"resolution": "Solved"}),
                ("reopening", {"reason": "Again"}),
                ("cancellation", {"reason": "Mistake"}),
                ("transition", {"to": "in_progress"}),
            ]
        )
        return await self._post(f"cases/{case}/{step}", **body)

    async def _work(self) -> httpx.Response:
        case = self.random.choice(self.cases)
        minutes = self.random.choice([5, 50, 200])
        answer = await self._post(f"cases/{case}/time-entries", technician="T", minutes=minutes)
        if answer.status_code == 201:
            self.entries.append((case, answer.json()["id"]))
        return answer

    async def _reverse(self) -> httpx.Response:
        case, entry = self.random.choice(self.entries)
        return await self._post(f"cases/{case}/time-entries/{entry}/reversal", reason="Wrong")

    async def _reclassify(self) -> httpx.Response:
        path = f"/v1/cases/{self.random.choice(self.cases)}"
        category = self.random.choice(["bug", "problem"])
        return await self.customer.client.patch(path, json={"category": category})


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_everything_at_once_leaves_a_ledger_that_adds_up(
    service: Service, client: httpx.AsyncClient, today: date, seed: int
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence(days=-20)
    await customer.pack(quantity=4)
    mix = _Mix(customer, seed)
    mix.contracts.append((await customer.contract(days=-10, included_minutes=100))["id"])
    done: Counter[int] = Counter()
    for _ in range(6):
        answers = await asyncio.gather(*(mix.step() for _ in range(15)))
        done.update(answer.status_code for answer in answers)
    assert not await _differences(service)
    assert done[200] + done[201] > 30, done


# --- other customers wait for nothing ---------------------------------------------------------


async def test_other_customers_wait_for_nothing(
    service: Service, client: httpx.AsyncClient, today: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one opening stands still after its number was drawn and its ticket taken."""
    held, free = [await Customer.new(client, today) for _ in range(2)]
    for customer in (held, free):
        await customer.pack(quantity=1)
    arrived, go_on = asyncio.Event(), asyncio.Event()
    record = events.record

    async def stop_there(*arguments: Any, **named: Any) -> None:
        if str(named["customer_id"]) == held.id:
            arrived.set()
            await go_on.wait()
        await record(*arguments, **named)

    monkeypatch.setattr(events, "record", stop_there)
    waiting = asyncio.create_task(held.open(channel="phone"))
    try:
        async with asyncio.timeout(_ENOUGH):
            await arrived.wait()
            started = time.monotonic()
            case = await free.open(channel="phone")
            await free.work(case, 10)
            await free.step(case, "closure", resolution="Solved")
            took = time.monotonic() - started
        assert not waiting.done()
        assert took < _ENOUGH
    finally:
        go_on.set()
        opened = await waiting
    assert opened["number"] < case["number"]


# --- cases of the wrong customer (R47) ----------------------------------------------------------


async def _two_customers(client: httpx.AsyncClient, today: date) -> list[Customer]:
    customers = [await Customer.new(client, today) for _ in range(2)]
    for customer in customers:
        await customer.pack(quantity=40)
    return customers


def _move(case: dict[str, Any], to: Customer) -> Any:
    body = {"customer_id": to.id, "reason": "It was the other customer."}
    return to.client.post(f"/v1/cases/{case['id']}/move", json=body)


async def test_moves_crosswise_do_not_block_each_other(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    """Each locks both customers, in one order whichever way it goes."""
    one, two = await _two_customers(client, today)
    mine = [await one.open(channel="phone") for _ in range(10)]
    theirs = [await two.open(channel="phone") for _ in range(10)]
    steps = [move for pair in zip(mine, theirs, strict=True) for move in pair]
    answers = await asyncio.gather(*(_move(case, two if case in mine else one) for case in steps))
    assert _statuses(answers) == {(200, None): 20}
    assert not await _differences(service)


async def test_a_call_that_waits_for_a_move_goes_along(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    """R47: it belongs to what the case became during the wait."""
    one, two = await _two_customers(client, today)
    case = await one.open(channel="phone")
    call = {
        "call_id": unique("call"),
        "number": "+390590000001",
        "started_at": "2026-11-23T09:00:00Z",
        "case": case["number"],
    }
    holder = await asyncpg.connect(service.admin_url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM customers WHERE id = $1 FOR NO KEY UPDATE", one.id)
            moving = asyncio.create_task(_move(case, two))
            await waiting(holder, 1)
            noting = asyncio.create_task(client.post("/v1/calls", json=call))
            await waiting(holder, 2)
        new, noted = (await moving).json(), (await noting).json()
    finally:
        await holder.close()
    assert (noted["customer_id"], noted["case"]) == (two.id, new["number"])


async def test_a_move_against_work_on_the_case(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    """A time entry lies where the case is by then, or is refused: none is lost or counts twice."""
    one, two = await _two_customers(client, today)
    for customer in (one, two):
        await customer.licence(days=-400)
        await customer.contract(included_minutes=600)
    case = await one.open(channel="phone", pay_with="contract")
    body = {"customer_id": two.id, "serial_number": two.serials[0], "reason": "Wrong customer."}
    path = f"/v1/cases/{case['id']}"
    work = {"technician": "T", "minutes": 10}
    answers = await asyncio.gather(
        *(client.post(f"{path}/time-entries", json=work) for _ in range(5)),
        client.post(f"{path}/move", json=body),
        client.post(f"{path}/move", json=body),
        *(client.post(f"{path}/time-entries", json=work) for _ in range(5)),
    )
    moves, entries = answers[5:7], [*answers[:5], *answers[7:]]
    assert _statuses(moves) == {(200, None): 1, (409, "wrong_state"): 1}
    assert set(_statuses(entries)) <= {(201, None), (409, "wrong_state")}
    recorded = 10 * sum(answer.status_code == 201 for answer in entries)
    (new,) = (await two.get(f"cases?customer_id={two.id}"))["items"]
    assert (new["worked_minutes"], new["charged_minutes"]) == (recorded, recorded)
    assert not await _differences(service)
