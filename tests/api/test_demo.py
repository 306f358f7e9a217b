"""The examples of `serve --demo`: that they show what they say, and that nothing else is touched."""

import shlex
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any, get_args

import httpx
import phonenumbers
import pytest
from sqlalchemy import func, select

from app.demo import DemoRefused, days, loading, prepare
from app.demo.clients import CLIENTS, HOLD_FOR, Greeting
from app.demo.loading import CUSTOMERS, SCOPES
from app.demo.steps import Step
from app.http.tokens import BOUND_SCOPES
from app.policy.civil import add_months
from app.policy.facts import ReasonCode
from app.store import tables
from tests.conftest import Service

NewService = Callable[..., Awaitable[Service]]


async def fill(service: Service) -> Greeting:
    return await prepare(service.app.state.settings)


@pytest.fixture(scope="module")
async def demo(new_service: NewService) -> tuple[Service, Greeting]:
    service = await new_service()
    return service, await fill(service)


@pytest.fixture(scope="module")
async def answers(demo: tuple[Service, Greeting]) -> dict[str, dict[str, Any]]:
    """Every customer's entitlements, asked as the phone system of the greeting would."""
    service, _ = demo
    async with await service.client_with("entitlements:read") as client:
        found = {}
        for customer in CUSTOMERS:
            answer = await client.get("/v1/entitlements", params={"customer_code": customer.code})
            assert answer.status_code == 200, answer.text
            found[customer.code] = answer.json()
        return found


def all_of(answers: dict[str, dict[str, Any]], *path: str) -> set[str]:
    """What stands at the end of a path through dictionaries and lists, over all answers."""
    values: list[Any] = list(answers.values())
    for name in path:
        values = [
            one
            for value in values
            for one in (value[name] if isinstance(value[name], list) else [value[name]])
        ]
    return set(values)


async def test_each_stands_where_it_says(answers: dict[str, dict[str, Any]]) -> None:
    said = {one.code: one.columns for one in CUSTOMERS}
    assert {code: answer["columns"] for code, answer in answers.items()} == said


async def test_all_that_can_be_seen_is_seen(answers: dict[str, dict[str, Any]]) -> None:
    assert all_of(answers, "columns") == {"NO_DEV", "DEV", "SA", "TCK"}
    assert len({tuple(answer["columns"]) for answer in answers.values()}) == 8
    assert all_of(answers, "help_desk", "id") == {"it", "de", "abroad"}
    assert all_of(answers, "services", "reasons", "code") == set(get_args(ReasonCode))
    assert all_of(answers, "services", "unlocked_by") == {
        "buy_editor_licence",
        "buy_any_licence",
        "sign_contract",
        "renew_contract",
        "buy_tickets",
    }
    assert all_of(answers, "allowances", "kind") == {"free_hours", "contract", "ticket_pack"}


async def test_boundaries(demo: tuple[Service, Greeting], answers: dict[str, Any]) -> None:
    today = demo[0].today()
    tomorrow = today + timedelta(days=1)

    def periods(code: str) -> list[tuple[str, str]]:
        return [(one["starts_on"], one["ends_on"]) for one in answers[code]["allowances"]]

    for code in ("C-0002", "C-0010", "C-0018"):
        assert today.isoformat() in {starts for starts, _ in periods(code)}, code
    for code in ("C-0003", "C-0015", "C-0019", "C-0027", "C-0032"):
        assert tomorrow.isoformat() in {ends for _, ends in periods(code)}, code
    for code, fact in (
        ("C-0004", "lapsed_on"),
        ("C-0020", "last_ended_on"),
        ("C-0022", "last_ended_on"),
        ("C-0031", "expired_on"),
    ):
        facts = {
            key: value
            for service in answers[code]["services"]
            for reason in service["reasons"]
            for key, value in reason["facts"].items()
        }
        assert facts[fact] == today.isoformat(), code


async def test_contracts_in_every_state(demo: tuple[Service, Greeting]) -> None:
    async with await demo[0].client_with("contracts:read") as client:
        contracts = (await client.get("/v1/contracts?limit=200")).json()["items"]
    assert {one["state"] for one in contracts} == {
        "upcoming",
        "in_force",
        "suspended",
        "expired",
        "cancelled",
    }
    assert sum(one["renews"] is not None for one in contracts) == 2


async def test_a_shared_switchboard(demo: tuple[Service, Greeting]) -> None:
    numbers = [one.contacts[0]["phones"][0] for one in CUSTOMERS]
    assert len(set(numbers)) == len(numbers) - 1
    for number in numbers:
        assert phonenumbers.is_valid_number(phonenumbers.parse(number)), number


async def test_nobody_is_named() -> None:
    for customer in CUSTOMERS:
        for contact in customer.contacts:
            assert contact["email"].endswith(".example.com")
    assert all(set(one.scopes) <= BOUND_SCOPES for one in CLIENTS if one.bound)


def curl_lines(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.lstrip().startswith("curl")]


def tokens_in(text: str) -> list[str]:
    return [line[3].removeprefix("Authorization: Bearer ") for line in curl_lines(text)]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("::1", "http://[::1]:8123"),
        ("assistenza.example.com", "http://assistenza.example.com:8123"),
    ],
)
async def test_every_line_works(demo: tuple[Service, Greeting], host: str, address: str) -> None:
    service, greeting = demo
    lines = curl_lines(greeting(host, 8123))
    assert len(lines) == len(CLIENTS)
    for command, silent, flag, header, url in lines:
        assert (command, silent, flag) == ("curl", "-s", "-H")
        assert url.startswith(address + "/v1/")
        name, _, value = header.partition(": ")
        async with service.client(None) as client:
            answer = await client.get(url.removeprefix(address), headers={name: value})
        assert answer.status_code == 200, (url, answer.text)


async def test_the_website_sees_its_own_customer_alone(demo: tuple[Service, Greeting]) -> None:
    service, greeting = demo
    website = tokens_in(greeting("127.0.0.1", 8000))[[one.bound for one in CLIENTS].index(True)]
    async with service.client(website) as client:
        assert [one["code"] for one in (await client.get("/v1/customers")).json()["items"]] == [
            "C-0001"
        ]
        assert (await client.get("/v1/customers/C-0002")).status_code == 404


async def counted(service: Service) -> dict[str, int]:
    async with service.database.reading.connect() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in tables.metadata.sorted_tables
        }


async def valid_tokens(service: Service) -> dict[str, Any]:
    query = select(tables.tokens).where(tables.tokens.c.revoked_at.is_(None))
    async with service.database.reading.connect() as connection:
        return {row.name: row for row in (await connection.execute(query)).all()}


async def test_a_second_start_keeps_the_data_and_makes_new_tokens(
    new_service: NewService,
) -> None:
    service = await new_service()
    first = tokens_in((await fill(service))("127.0.0.1", 8000))
    before = await counted(service)
    async with await service.client_with("customers:write", name="somebody") as client:
        changed = await client.patch("/v1/customers/C-0001", json={"code": "ANOTHER-CODE"})
        assert changed.status_code == 200
    second = (await fill(service))("127.0.0.1", 8000)
    assert "customer_code=ANOTHER-CODE" in second
    after = await counted(service)
    assert after == before | {
        "tokens": before["tokens"] + 1 + len(CLIENTS),
        "events": before["events"] + 1,
    }
    for old in first:
        async with service.client(old) as client:
            assert (await client.get("/v1/service-matrix")).status_code == 401
    for new in tokens_in(second):
        async with service.client(new) as client:
            assert (await client.get("/v1/service-matrix")).status_code == 200
    valid = await valid_tokens(service)
    assert set(valid) == {"somebody", *(client.name for client in CLIENTS)}
    for client in CLIENTS:
        row = valid[client.name]
        assert row.expires_at - row.created_at == HOLD_FOR


@pytest.mark.parametrize("steps", [0, 1, 2, 40])
async def test_a_loading_broken_off_goes_on(
    new_service: NewService, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    service = await new_service()
    send = httpx.AsyncClient.request
    left = [steps]

    async def break_off(self: httpx.AsyncClient, *args: Any, **more: Any) -> httpx.Response:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return await send(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(httpx.AsyncClient, "request", break_off)
        with pytest.raises(KeyboardInterrupt):
            await fill(service)
    broken = await counted(service)
    assert broken["customers"] < len(CUSTOMERS)
    assert await valid_tokens(service) == {}
    await fill(service)
    whole = await new_service()
    await fill(whole)
    assert await counted(service) == await counted(whole) | {
        # The loader's second, and the days it was marked and loaded.
        "tokens": 2 + len(CLIENTS),
    }


@pytest.mark.parametrize("holds", ["a token", "a customer"])
async def test_other_data_is_never_touched(new_service: NewService, holds: str) -> None:
    service = await new_service()
    token = await service.token("customers:write", "customers:read")
    if holds == "a customer":
        async with service.client(token) as client:
            body = {"code": "OWN", "name": "Own", "country": "IT"}
            assert (await client.post("/v1/customers", json=body)).status_code == 201
    before = await counted(service)
    with pytest.raises(DemoRefused, match="data of its own"):
        await fill(service)
    assert await counted(service) == before
    async with service.client(token) as client:
        assert (await client.get("/v1/customers")).status_code == 200


async def test_a_step_refused_is_said(
    new_service: NewService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await new_service()
    wrong = CUSTOMERS[0]._replace(records=(Step("/v1/licences", {"serial_number": "?"}),))
    with monkeypatch.context() as patch:
        patch.setattr(loading, "CUSTOMERS", (wrong,))
        with pytest.raises(DemoRefused, match="POST /v1/licences was answered 422 invalid_input"):
            await fill(service)
    assert await valid_tokens(service) == {}


def test_days_are_right_on_every_date() -> None:
    day = date(2027, 1, 1)
    while day < date(2033, 1, 1):
        assert add_months(days.last_day(day), 12) > day
        assert add_months(days.day_after(day), 12) <= day
        day += timedelta(days=1)


def test_the_loader_may_do_no_more_than_it_must() -> None:
    assert not {"admin", "tokens:issue", "events:read"} & set(SCOPES)
