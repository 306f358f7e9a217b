"""The backlog: open cases by what they have in common, and the oldest."""

import csv
import io
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest
from openpyxl import load_workbook

from app.services.backlog import BANDS
from tests.api.build import Customer, made
from tests.api.test_responses import MONDAY, Clock, at
from tests.conftest import Service, follow_all

__all__ = ["at"]


async def backlog(client: httpx.AsyncClient) -> dict[str, Any]:
    return await made(await client.get("/v1/usage/backlog"), 200)


def counted(body: dict[str, Any], dimension: str) -> dict[Any, tuple[int, int]]:
    return {
        one["value"]: (one["cases"], one["unanswered"])
        for one in body["items"]
        if one["dimension"] == dimension
    }


def some(counts: dict[Any, tuple[int, int]]) -> dict[Any, tuple[int, int]]:
    return {value: both for value, both in counts.items() if both != (0, 0)}


@pytest.fixture
async def filled(service: Service, client: httpx.AsyncClient, at: Clock) -> Customer:
    """Six open cases of one customer and a closed one, one of another, on Tuesday at 10:00."""
    at("08:30")
    customer, other = [await Customer.new(client, MONDAY) for _ in range(2)]
    for one in (customer, other):
        await one.licence()
        await one.contract()
    old = [await customer.open(channel="phone", pay_with="contract") for _ in range(2)]
    waiting = await customer.open(priority_requested="high")
    closed = await customer.open()
    await other.open(priority_requested="low")
    at("09:30")
    await customer.patch(old[0], technician="Anna")
    await customer.step(waiting, "transition", to="in_progress")
    at("10:00")
    await customer.step(waiting, "transition", to="waiting_for_customer")
    await customer.close(closed)
    at("2026-03-10T08:30")
    await customer.patch(await customer.open(), technician="Bruno")
    await customer.open()
    at("2026-03-10T10:00")
    await customer.open(channel="remote", pay_with="contract")
    await follow_all(service)
    return customer


async def test_open_cases_are_counted_by_each_dimension(
    service: Service, client: httpx.AsyncClient, filled: Customer, at: Clock
) -> None:
    token = await service.token("usage:read", customer_id=filled.id)
    async with service.client(token) as bound:
        body = await backlog(bound)
    assert (body["open"], body["unanswered"], body["as_of"]) == (6, 3, "2026-03-10T09:00:00Z")
    assert counted(body, "state") == {
        "open": (5, 3),
        "in_progress": (0, 0),
        "waiting_for_customer": (1, 0),
    }
    assert counted(body, "channel") == {"email": (3, 1), "phone": (2, 1), "remote": (1, 1)}
    assert counted(body, "priority") == {"high": (1, 0), "normal": (5, 3), "low": (0, 0)}
    assert counted(body, "technician") == {"Anna": (1, 0), "Bruno": (1, 0), None: (4, 3)}
    # Just now; 90 minutes twice and that of before it waited; a day and 90 minutes.
    assert counted(body, "age") == {
        "0-59": (1, 1),
        "60-239": (3, 1),
        "240-479": (0, 0),
        "480-1439": (2, 1),
        "1440-2399": (0, 0),
        "2400-": (0, 0),
    }
    assert [one["age_minutes"] for one in body["oldest"]] == [510, 510, 90, 90, 90, 0]
    assert body["oldest"][0] | {"number": ""} == {
        "number": "",
        "state": "open",
        "channel": "phone",
        "priority": "normal",
        "priority_support": True,
        "technician": "Anna",
        "opened_at": "2026-03-09T07:30:00Z",
        "responded_at": "2026-03-09T08:30:00Z",
        "age_minutes": 510,
        "due_at": None,
        "overdue": False,
    }
    everybody = await backlog(client)
    assert everybody["open"] > body["open"]
    for dimension in ("state", "channel", "priority", "technician", "age"):
        columns = zip(*counted(everybody, dimension).values(), strict=True)
        assert [sum(one) for one in columns] == [everybody["open"], everybody["unanswered"]]


async def test_time_alone_moves_cases_from_band_to_band(
    service: Service, filled: Customer, at: Clock
) -> None:
    """Each band as the ages of the oldest cases, worked out one by one, have it."""
    token = await service.token("usage:read", customer_id=filled.id)
    bounds = [(int(one.split("-")[0]), one) for one in BANDS]
    async with service.client(token) as bound:
        for hours in range(0, 24 * 14, 5):
            moment = MONDAY + timedelta(days=1 + hours // 24)
            at(f"{moment}T{hours % 24:02}:30" if hours else f"{moment}T10:00")
            body = await backlog(bound)
            ages = [one["age_minutes"] for one in body["oldest"]]
            expected = Counter([band for start, band in bounds if start <= age][-1] for age in ages)
            found = {band: both[0] for band, both in some(counted(body, "age")).items()}
            assert found == expected, moment


async def test_a_case_that_is_not_measured_yet(
    service: Service, client: httpx.AsyncClient, at: Clock
) -> None:
    customer = await Customer.new(client, MONDAY)
    await customer.licence()
    await customer.open()
    token = await service.token("usage:read", customer_id=customer.id)
    async with service.client(token) as bound:
        body = await backlog(bound)
        assert some(counted(body, "age")) == {None: (1, 1)}
        assert body["oldest"][0]["age_minutes"] is None
        await follow_all(service)
        assert some(counted(await backlog(bound), "age")) == {"0-59": (1, 1)}


async def test_usage_read_sees_no_contact_and_no_text(
    service: Service, client: httpx.AsyncClient, at: Clock
) -> None:
    customer = await Customer.new(client, MONDAY)
    await customer.licence()
    secret = "Geheimnis"
    await customer.open(
        subject=secret, description=secret, requester={"name": secret, "email": "g@heim.example"}
    )
    await follow_all(service)
    async with await service.client_with("usage:read") as reader:
        for form in ("json", "csv"):
            answer = await reader.get(f"/v1/usage/backlog?format={form}")
            assert answer.status_code == 200
            assert secret not in answer.text
            assert "heim" not in answer.text
    async with await service.client_with("cases:read") as reader:
        assert (await reader.get("/v1/usage/backlog")).status_code == 403


async def test_as_a_table(client: httpx.AsyncClient, filled: Customer) -> None:
    body = await backlog(client)
    answer = await client.get("/v1/usage/backlog?format=csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="backlog.csv"'
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert lines == [
        {name: "" if value is None else str(value) for name, value in one.items()}
        for one in body["items"]
    ]
    answer = await client.get("/v1/usage/backlog?format=xlsx", headers={"Accept-Language": "it"})
    sheet = load_workbook(io.BytesIO(answer.content)).worksheets[0]
    header, *rows = sheet.iter_rows(values_only=True)
    assert (sheet.title, header) == ("Arretrato", ("Per", "Valore", "Casi", "Senza risposta"))
    assert rows == [tuple(one.values()) for one in body["items"]]


async def test_nothing_new_is_not_sent_again(client: httpx.AsyncClient, filled: Customer) -> None:
    answer = await client.get("/v1/usage/backlog")
    again = {"If-None-Match": answer.headers["ETag"]}
    assert (await client.get("/v1/usage/backlog", headers=again)).status_code == 304
