"""Renewing contracts over HTTP (R24)."""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from app.policy.civil import add_months
from app.store import lock
from tests.api.build import Customer, made, recorded, refused, unique
from tests.conftest import Service

URL = "/v1/contracts"
DAY = timedelta(days=1)
Travel = Callable[[date], None]


async def sign(customer: Customer, days: int, **fields: Any) -> httpx.Response:
    starts_on = str(customer.today + days * DAY)
    body = {"customer_id": customer.id, "starts_on": starts_on, **fields}
    return await customer.client.post(URL, json=body)


async def renew(customer: Customer, contract: dict[str, Any], **body: Any) -> httpx.Response:
    body = {"starts": "today", **body}
    return await customer.client.post(f"{URL}/{contract['id']}/renewal", json=body)


async def cancel(customer: Customer, contract: dict[str, Any], on: date) -> httpx.Response:
    body = {"cancelled_on": str(on), "reason": "Agreed"}
    return await customer.client.post(f"{URL}/{contract['id']}/cancellation", json=body)


async def read(customer: Customer, contract: dict[str, Any]) -> dict[str, Any]:
    return await made(await customer.client.get(f"{URL}/{contract['id']}"), 200)


async def events(service: Service, customer: Customer) -> list[str]:
    return [type_ for type_, _ in await recorded(service, customer.id, "contract.%")]


async def test_renewed_today(holder: Customer, service: Service) -> None:
    contract = await holder.contract()
    answer = await renew(holder, contract, number=unique("N"))
    successor = await made(answer)
    assert answer.headers["Location"] == f"{URL}/{successor['id']}"
    assert successor["renews"] == contract["id"]
    assert successor["starts_on"] == str(holder.today)
    assert successor["ends_on"] == str(add_months(holder.today, 12))
    assert (
        answer.headers["ETag"]
        == ((await holder.client.get(answer.headers["Location"])).headers["ETag"])
    )
    refused(await renew(holder, contract), "already_renewed")
    refused(await renew(holder, contract, starts="at_end"), "already_renewed")
    assert await events(service, holder) == ["contract.signed", "contract.renewed"]


@pytest.mark.parametrize("days", [-30, -500])
async def test_renewed_at_its_end_even_if_past(holder: Customer, days: int) -> None:
    contract = await holder.contract(days=days)
    successor = await made(await renew(holder, contract, starts="at_end"))
    assert successor["starts_on"] == contract["ends_on"]
    if successor["starts_on"] <= str(holder.today):
        again = await made(await renew(holder, successor))
        assert again["renews"] == successor["id"]
    else:
        refused(await renew(holder, successor), "wrong_state")


async def test_renewable_from_its_first_day_on(holder: Customer, travel: Travel) -> None:
    contract = await made(await sign(holder, 1))
    assert refused(await renew(holder, contract), "wrong_state")["state"] == "upcoming"
    travel(holder.today + DAY)
    assert (await renew(holder, contract)).status_code == 201


async def test_not_renewed_once_cancelled(holder: Customer) -> None:
    contract = await holder.contract()
    await made(await cancel(holder, contract, holder.today + 9 * DAY), 200)
    assert refused(await renew(holder, contract), "wrong_state")["state"] == "cancelled"


async def test_only_a_holder_of_an_editor_renews(holder: Customer) -> None:
    contract = await holder.contract()
    (serial,) = holder.serials
    gone = {"withdrawn_on": str(holder.today + 100 * DAY), "reason": "Returned"}
    await made(await holder.client.post(f"/v1/licences/{serial}/withdrawal", json=gone), 200)
    refused(await renew(holder, contract, starts="at_end"), "editor_licence_required")
    assert (await renew(holder, contract)).status_code == 201


async def test_an_editor_of_the_past_renews_nothing(holder: Customer) -> None:
    contract = await holder.contract(days=-500)
    (serial,) = holder.serials
    gone = {"withdrawn_on": str(holder.today), "reason": "Returned"}
    await made(await holder.client.post(f"/v1/licences/{serial}/withdrawal", json=gone), 200)
    refused(await renew(holder, contract), "editor_licence_required")
    refused(await renew(holder, contract, starts="at_end"), "editor_licence_required")


async def test_an_editor_bought_since_does_not_renew_the_past(customer: Customer) -> None:
    first = await customer.licence(days=-600)
    contract = await customer.contract(days=-500)
    gone = {"withdrawn_on": str(customer.today - 300 * DAY), "reason": "Returned"}
    await made(await customer.client.post(f"/v1/licences/{first['id']}/withdrawal", json=gone), 200)
    await customer.licence(days=-5)
    refused(await renew(customer, contract, starts="at_end"), "editor_licence_required")
    assert (await renew(customer, contract)).status_code == 201


async def test_many_renewals_at_once_make_one_successor(
    holder: Customer, line_up: Callable[[Any, str, int], None]
) -> None:
    contract = await holder.contract()
    line_up(lock, "customer", 6)
    answers = await asyncio.gather(*(renew(holder, contract) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    codes = {answer.json().get("code") for answer in answers}
    assert codes == {None, "already_renewed"}
    query = {"customer_id": holder.id}
    items = (await holder.client.get(URL, params=query)).json()["items"]
    assert [item["renews"] for item in items] == [None, contract["id"]]


async def test_a_successor_takes_over_overrun_on_request(holder: Customer) -> None:
    contract = await holder.contract(included_minutes=60)
    case = await holder.open(pay_with="contract", channel="phone")
    await holder.work(case, 100)
    successor = await made(await renew(holder, contract, take_over_overrun=True))
    assert (successor["used_minutes"], successor["remaining_minutes"]) == (40, 1160)
    assert (await read(holder, contract))["overrun_minutes"] == 0

    cancelled = await made(await cancel(holder, successor, holder.today), 200)
    assert cancelled["used_minutes"] == 0, "given back"
    assert (await read(holder, contract))["overrun_minutes"] == 40
    assert (await renew(holder, contract)).status_code == 201, "freed for renewal"
    assert (await read(holder, contract))["overrun_minutes"] == 40, "no charge moves by itself"
