"""Corrections, and licences that change hands, against the daily work on the same customer (R40,
R44): as if one after the other, in whatever order.

All requests wait for the customers' locks until the last has come, and then go on together.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import date, timedelta
from itertools import zip_longest
from typing import Any

import asyncpg
import httpx
import pytest

from app.store.reconcile import snapshot
from tests.api.build import Customer
from tests.conftest import Service

_WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"


Requests = Sequence[Coroutine[Any, Any, httpx.Response]]


async def _together(
    service: Service, customers: Sequence[Customer], *groups: Requests
) -> list[list[httpx.Response]]:
    """The answers to the requests of each group. They come one of each group in turn, and all of
    them have come to a lock before the first goes on."""
    holder = await asyncpg.connect(service.admin_url)
    started: list[list[asyncio.Task[httpx.Response]]] = [[] for _ in groups]
    try:
        async with holder.transaction():
            ids = [one.id for one in customers]
            await holder.execute("SELECT FROM customers WHERE id = ANY ($1) FOR UPDATE", ids)
            for turn in zip_longest(*groups):
                for tasks, request in zip(started, turn, strict=True):
                    if request is not None:
                        tasks.append(asyncio.create_task(request))
            for _ in range(1_000):
                if await holder.fetchval(_WAITING) == sum(map(len, started)):
                    break
                await asyncio.sleep(0.02)
            else:
                pytest.fail("somebody does not wait for the lock")
        return [await asyncio.gather(*tasks) for tasks in started]
    finally:
        await holder.close()


async def _consistent(service: Service) -> None:
    async with snapshot(service.database) as view:
        assert [str(found) async for found in view.differences()] == []


def _work(
    customer: Customer, case: dict[str, Any], minutes: int
) -> Coroutine[Any, Any, httpx.Response]:
    body = {"technician": "T", "minutes": minutes}
    return customer.client.post(f"/v1/cases/{case['id']}/time-entries", json=body)


def _correct(customer: Customer, path: str, **fields: Any) -> Coroutine[Any, Any, httpx.Response]:
    body = {"reason": "It was typed wrong.", **fields}
    return customer.client.post(f"/v1/{path}/correction", json=body)


async def _work_is_complete(
    customer: Customer, case: dict[str, Any], answers: Sequence[httpx.Response]
) -> tuple[int, int, int]:
    """Every minute that was recorded is charged or overrun: worked, charged, overrun."""
    recorded = sum(answer.json()["minutes"] for answer in answers)
    worked, charged, overrun = await customer.minutes(case)
    assert worked == recorded == charged + overrun
    return worked, charged, overrun


@pytest.mark.parametrize("worked", [10, 25])
async def test_a_licence_is_corrected_while_time_is_recorded(
    service: Service, client: httpx.AsyncClient, today: date, worked: int
) -> None:
    """The charges of its free hours follow to the year that it has at last."""
    customer = await Customer.new(client, today)
    licence = await customer.licence(days=-60)
    case = await customer.open()
    path, days = f"licences/{licence['id']}", [today - timedelta(days=40 + n) for n in range(6)]
    entries, corrections = await _together(
        service,
        [customer],
        [_work(customer, case, worked) for _ in range(20)],
        [_correct(customer, path, purchased_on=str(day)) for day in days],
    )
    # Neither is ever refused (R21, R40).
    assert [answer.status_code for answer in entries] == [201] * 20
    assert [answer.status_code for answer in corrections] == [200] * 6
    minutes = await _work_is_complete(customer, case, entries)
    assert minutes == (20 * worked, min(20 * worked, 300), max(20 * worked - 300, 0))
    bought = (await customer.get(path))["purchased_on"]
    assert bought in map(str, days)
    (year,) = (await customer.entitlements())["allowances"]
    assert (year["starts_on"], year["used_minutes"]) == (bought, minutes[1])
    shown = await customer.case(case["number"])
    assert shown["paid_by"]["service_year_start"] == bought
    await _consistent(service)


async def test_a_contract_is_corrected_while_time_is_recorded(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    """A correction that would take minutes from where they lie by then is refused (R40)."""
    customer = await Customer.new(client, today)
    await customer.licence(days=-400)
    contract = await customer.contract(days=-30, included_minutes=300)
    case = await customer.open(channel="phone")
    path = f"contracts/{contract['id']}"
    included = [150, 260, 200, 230]
    entries, corrections, dates = await _together(
        service,
        [customer],
        [_work(customer, case, 15) for _ in range(20)],
        [_correct(customer, path, included_minutes=minutes) for minutes in included],
        [_correct(customer, path, starts_on=str(today - timedelta(days=n))) for n in (20, 25)],
    )
    assert [answer.status_code for answer in entries] == [201] * 20
    for answer in (*corrections, *dates):
        assert answer.status_code == 200 or answer.json()["code"] == "correction_conflicts"
    now = await customer.get(path)
    assert now["included_minutes"] in (300, *included)
    worked, charged, overrun = await _work_is_complete(customer, case, entries)
    assert (charged, overrun) == (now["included_minutes"], worked - now["included_minutes"])
    assert (now["used_minutes"], now["overrun_minutes"]) == (charged, overrun)
    await _consistent(service)


async def test_a_licence_changes_hands_while_cases_are_opened(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    """Whoever opens a case holds it or does not, and each case says which."""
    seller, buyer = [await Customer.new(client, today) for _ in range(2)]
    licence = await seller.licence(days=-20)
    await buyer.pack(quantity=20)
    serial = licence["serial_number"]
    body = {"to_customer_id": buyer.id, "on": str(today), "reason": "Sold with the machine."}
    path = f"/v1/licences/{licence['id']}/transfer"
    sellers, buyers, transfers = await _together(
        service,
        [seller, buyer],
        [seller.try_open() for _ in range(10)],
        [buyer.try_open(channel="phone", serial_number=serial) for _ in range(10)],
        [client.post(path, json=body) for _ in range(3)],
    )
    assert sorted(answer.status_code for answer in transfers) == [200, 409, 409]
    # The seller opens cases on its free hours until it is sold.
    assert {answer.status_code for answer in sellers} <= {201, 409, 422}
    opened = [answer.json() for answer in sellers if answer.status_code == 201]
    assert all(case["paid_by"]["kind"] == "free_hours" for case in opened)
    listed = (await seller.get(f"cases?customer_id={seller.id}"))["items"]
    assert {case["id"] for case in listed} == {case["id"] for case in opened}
    # The buyer opens cases all the time, on its tickets; its own is the licence from the sale on.
    assert {answer.status_code for answer in buyers} == {201}
    theirs = sorted((answer.json() for answer in buyers), key=lambda case: case["number"])
    verified = [case["serial_verified"] for case in theirs]
    assert verified == sorted(verified)
    held = (await buyer.get(f"licences/{serial}"))["customer_id"]
    assert held == buyer.id
    pack = (await buyer.get(f"ticket-packs?customer_id={buyer.id}"))["items"][0]
    assert (pack["held"], pack["available"]) == (10, 10)
    await _consistent(service)
