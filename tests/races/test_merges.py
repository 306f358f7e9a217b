"""A merge of two customers against every write: nothing is lost, nobody waits for ever (R49)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import httpx
import pytest

from app.store.reconcile import snapshot
from tests.api.build import Customer, unique
from tests.api.test_merge import STAYING, merge, rows_of
from tests.conftest import Service
from tests.races.conftest import waiting

Call = Callable[[], Coroutine[Any, Any, httpx.Response]]


async def _differences(service: Service) -> list[str]:
    async with snapshot(service.database) as view:
        return [str(found) async for found in view.differences()]


def _codes(answers: list[httpx.Response]) -> Counter[str]:
    """How many were answered 200, and with each problem."""
    return Counter("200" if a.status_code == 200 else a.json()["code"] for a in answers)


async def _while_it_is_merged(
    service: Service, one: Customer, into: Customer, calls: list[Call]
) -> tuple[httpx.Response, list[httpx.Response]]:
    """The answers of the merge, and of calls that wait for the record's lock behind it."""
    holder = await asyncpg.connect(service.admin_url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM customers WHERE id = $1 FOR NO KEY UPDATE", one.id)
            merging = asyncio.create_task(merge(one, into))
            await waiting(holder, 1)
            tasks = [asyncio.create_task(call()) for call in calls]
            await waiting(holder, 1 + len(calls))
        return await merging, list(await asyncio.gather(*tasks))
    finally:
        await holder.close()


def _writes(customer: Customer, case: dict[str, Any], today: date) -> dict[str, Call]:
    """A write of each kind, by the record's id or what belongs to it."""
    client = customer.client

    def post(path: str, **body: Any) -> Call:
        return lambda: client.post(f"/v1/{path}", json=body)

    bought = {"kind": "editor", "product": "Movicon", "version": "11", "purchased_on": str(today)}
    owner = {"customer_id": customer.id}
    now = datetime.now(UTC).isoformat()
    return {
        "licence": post("licences", **owner, serial_number=unique("S"), **bought),
        "put": lambda: client.put(
            f"/v1/licences/by-serial/{unique('S')}", json={"customer_id": customer.code, **bought}
        ),
        "contract": post("contracts", **owner, starts_on=str(today)),
        "pack": post("ticket-packs", **owner, quantity=1, purchased_on=str(today)),
        "case": lambda: customer.try_open(channel="phone"),
        "time": post(f"cases/{case['id']}/time-entries", technician="T", minutes=10),
        "time again": post(f"cases/{case['number']}/time-entries", technician="T", minutes=7),
        "comment": post(f"cases/{case['id']}/comments", body="Please restart it."),
        "contact": post(f"customers/{customer.code}/contacts", name="Anna Rossi"),
        "token": post(f"customers/{customer.id}/tokens", scopes=["cases:read"]),
        "call": post("calls", call_id=unique("call"), number="112", started_at=now,
                     case=case["number"]),
        "patch": lambda: client.patch(f"/v1/customers/{customer.id}", json={"vat_number": "IT1"}),
    }  # fmt: skip


async def test_a_merge_against_every_write(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    one, two = [await Customer.new(client, today) for _ in range(2)]
    for customer in (one, two):
        await customer.licence(days=-400)
        await customer.contract(included_minutes=600)
        await customer.pack(5)
    case = await one.open(channel="phone", pay_with="contract")
    writes = _writes(one, case, today)
    done, answers = await _while_it_is_merged(service, one, two, list(writes.values()))
    assert done.status_code == 200, done.text
    seen = dict(zip(writes, answers, strict=True))
    assert {name: a.status_code for name, a in seen.items() if not a.is_success} == {}
    for name in ("licence", "put", "contract", "pack", "case", "call"):
        assert seen[name].json()["customer_id"] == two.id, name
    kept = await rows_of(service, one.id)
    assert {table for table, count in kept.items() if count} <= STAYING
    assert (await two.case(case["number"]))["worked_minutes"] == 17
    async with service.client(seen["token"].json()["token"]) as bound:
        listed = (await bound.get("/v1/cases")).json()["items"]
        assert {item["id"] for item in listed} == {case["id"], seen["case"].json()["id"]}
    shown = (await client.get(f"/v1/customers/{one.code}")).json()
    assert (shown["id"], shown["vat_number"]) == (two.id, "IT1")
    assert [contact["name"] for contact in shown["contacts"]] == ["Anna Rossi"]
    assert not await _differences(service)


async def test_a_put_by_a_code_that_is_merged_meanwhile(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    one, two = [await Customer.new(client, today) for _ in range(2)]
    body = {"name": "Sent again", "country": "IT"}
    done, (answer,) = await _while_it_is_merged(
        service,
        one,
        two,
        [lambda: client.put(f"/v1/customers/by-code/{one.code}", json=body)],
    )
    assert done.status_code == 200
    assert (answer.status_code, answer.json()["code"]) == (409, "customer_merged")
    assert (await two.get(f"customers/{two.id}"))["name"] != "Sent again"


async def test_a_bound_token_that_waits_is_refused_and_a_key_is_used_once(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    """A request that begins again asks for its token and its key once more."""
    one, two = [await Customer.new(client, today) for _ in range(2)]
    await one.pack(5)
    body = {
        "requester": {"name": "Plant engineer"},
        "subject": "Screen stays blank",
        "description": "After the start the screen stays blank.",
        "channel": "phone",
    }
    keyed = {**body, "customer_id": one.id}
    key = {"Idempotency-Key": unique("once")}
    async with await service.client_with("cases:write", customer_id=one.id) as bound:
        done, (theirs, ours) = await _while_it_is_merged(
            service,
            one,
            two,
            [
                lambda: bound.post("/v1/cases", json=body),
                lambda: client.post("/v1/cases", json=keyed, headers=key),
            ],
        )
    assert done.status_code == 200, done.text
    assert (theirs.status_code, theirs.json()["code"]) == (401, "unauthorized")
    assert (ours.status_code, ours.json()["customer_id"]) == (201, two.id)
    again = await client.post("/v1/cases", json=keyed, headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == ours.content
    (case,) = (await two.get(f"cases?customer_id={two.id}"))["items"]
    assert case["id"] == ours.json()["id"]


async def test_moves_and_transfers_while_a_record_is_merged(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    """Both go to the survivor; where both customers have become one there is nothing to do."""
    one, two, third = [await Customer.new(client, today) for _ in range(3)]
    for customer in (one, two, third):
        await customer.pack(9)
    licences = [await customer.licence("runtime", days=-50) for customer in (third, one)]
    cases = [await customer.open(channel="phone", serial_number=None) for customer in (third, one)]

    def move(case: dict[str, Any], to: Customer) -> Call:
        body = {"customer_id": to.id, "reason": "Theirs."}
        return lambda: client.post(f"/v1/cases/{case['id']}/move", json=body)

    def transfer(licence: dict[str, Any], to: Customer) -> Call:
        body = {"to_customer_id": to.id, "on": str(today), "reason": "Sold."}
        return lambda: client.post(f"/v1/licences/{licence['id']}/transfer", json=body)

    done, answers = await _while_it_is_merged(
        service,
        one,
        two,
        [
            move(cases[0], one),
            transfer(licences[0], one),
            move(cases[1], two),
            transfer(licences[1], two),
        ],
    )
    assert done.status_code == 200, done.text
    assert [(a.status_code, a.json().get("code")) for a in answers[2:]] == [
        (409, "already_exists")
    ] * 2
    for answer in answers[:2]:
        assert answer.status_code == 200, answer.text
        assert answer.json()["customer_id"] == two.id
    assert not await _differences(service)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_merges_crosswise(
    service: Service, client: httpx.AsyncClient, today: date, seed: int
) -> None:
    one, two = [await Customer.new(client, today) for _ in range(2)]
    for customer in (one, two):
        await customer.licence(days=-40)
        await customer.work(await customer.open(), 100)
    answers = await asyncio.gather(
        *(call for _ in range(seed) for call in (merge(one, two), merge(two, one)))
    )
    assert _codes(list(answers)) == {"200": 1, "customer_merged": 2 * seed - 1}
    (hours,) = (await one.entitlements())["allowances"]
    assert hours["used_minutes"] == 200
    assert await one.entitlements(at="2026-01-01T00:00:00Z") == await two.entitlements(
        at="2026-01-01T00:00:00Z"
    )
    assert not await _differences(service)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_ring_of_merges_beside_other_writes(
    service: Service, client: httpx.AsyncClient, today: date, seed: int
) -> None:
    """Each of four merges into the next, while all of them are written to."""
    ring = [await Customer.new(client, today) for _ in range(4)]
    cases = []
    for customer in ring:
        await customer.licence(days=-400)
        await customer.contract(included_minutes=600)
        await customer.pack(9)
        cases.append(await customer.open(channel="phone", pay_with="contract"))
    following = [*ring[seed:], *ring[:seed]]
    calls = [
        call
        for customer, into, case in zip(ring, following, cases, strict=True)
        if customer is not into
        for call in (
            merge(customer, into),
            customer.work(case, 10),
            customer.try_open(channel="phone"),
            customer.work(case, 20),
            customer.contract(days=0),
        )
    ]
    answers = await asyncio.gather(*calls)
    responses = [answer for answer in answers if isinstance(answer, httpx.Response)]
    for answer in responses:
        assert answer.status_code < 500, answer.text
    survivors = {(await customer.get(f"customers/{customer.id}"))["id"] for customer in ring}
    lost = {customer.id for customer in ring} - survivors
    for customer_id in lost:
        kept = await rows_of(service, customer_id)
        assert {table for table, count in kept.items() if count} <= STAYING
    worked = 0
    for customer_id in survivors:
        usage = (await client.get(f"/v1/customers/{customer_id}/usage")).json()
        worked += usage["totals"]["worked_minutes"]
    assert worked == 30 * len(ring)
    assert not await _differences(service)
