"""The examples of `serve --demo` show what they say, and nothing else is ever touched."""

import shlex
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any, get_args

import phonenumbers
import pytest

from app.demo import days, prepare
from app.demo.clients import CLIENTS, Greeting
from app.demo.loading import CUSTOMERS, SCOPES
from app.policy.civil import add_months
from app.policy.facts import ReasonCode
from app.services.tokens import BOUND_SCOPES
from tests.conftest import Service, malformed_events

NewService = Callable[..., Awaitable[Service]]


async def fill(service: Service) -> Greeting:
    return await prepare(service.app.state.settings)


@pytest.fixture(scope="module")
async def demo(new_service: NewService) -> tuple[Service, Greeting]:
    service = await new_service()
    return service, await fill(service)


async def test_every_event_has_the_shape_of_its_type(demo: tuple[Service, Greeting]) -> None:
    assert await malformed_events(demo[0]) == []


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
    renewals = [one for one in contracts if one["renews"] is not None]
    assert {one["number"][:7] for one in renewals} == {"SA-0023", "SA-0024", "SA-0041", "SA-0045"}


async def test_cases_of_every_kind(demo: tuple[Service, Greeting]) -> None:
    async with await demo[0].client_with("cases:read") as client:
        cases = (await client.get("/v1/cases?limit=200")).json()["items"]
    found = {name: {one[name] for one in cases} for name in ("state", "channel", "category")}
    assert found == {
        "state": {"open", "in_progress", "waiting_for_customer", "closed", "cancelled"},
        "channel": {"email", "phone", "remote"},
        "category": {"problem", "question", "bug"},
    }
    assert {one["paid_by"]["kind"] for one in cases} == {"free_hours", "contract", "ticket", "none"}
    assert {one["priority"] for one in cases} == {"high", "normal", "low"}
    assert {one["priority_support"] for one in cases} == {True, False}


async def test_what_was_recorded_wrong_is_corrected(demo: tuple[Service, Greeting]) -> None:
    """R40, R44, R45: each with its reason in the history."""
    async with await demo[0].client_with("licences:read", "tickets:read") as client:
        history = (await client.get("/v1/licences/RT-0037/history")).json()
        passed_on = (await client.get("/v1/licences/ED-0029")).json()
        pack = (await client.get("/v1/ticket-packs/TP-0009")).json()
    assert [step["type"] for step in history["steps"]][-1] == "licence.corrected"
    assert passed_on["transferred_on"] is None
    assert passed_on["held_from"] > passed_on["purchased_on"]
    assert (pack["quantity"], pack["cancelled"], pack["available"]) == (7, 2, 5)


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("C-0001", [("free_hours", 280, 0), ("contract", 1125, 0), ("ticket_pack", 2, 0)]),
        ("C-0014", [("free_hours", 0, 0)]),
        ("C-0015", [("ticket_pack", 0, 0)]),
        ("C-0016", [("free_hours", 0, 0), ("contract", 1160, 0)]),
        ("C-0017", [("contract", 1160, 0)]),
        ("C-0024", [("contract", 0, 0), ("contract", 1170, 0)]),
        ("C-0025", [("contract", 0, 30)]),
        ("C-0033", [("free_hours", 300, 0), ("contract", 3000, 0), ("ticket_pack", 10, 0)]),
        ("C-0034", [("contract", 1200, 0), ("ticket_pack", 3, 0)]),
        ("C-0035", [("free_hours", 15, 0)]),
        ("C-0036", [("free_hours", 300, 0), ("ticket_pack", 1, 0)]),
    ],
)
def test_what_is_left(
    answers: dict[str, dict[str, Any]], code: str, left: list[tuple[str, int, int]]
) -> None:
    assert [
        (
            one["kind"],
            one["available" if one["kind"] == "ticket_pack" else "remaining_minutes"],
            one.get("overrun_minutes", 0),
        )
        for one in answers[code]["allowances"]
    ] == left


def test_open_cases_go_on(answers: dict[str, dict[str, Any]]) -> None:
    for code in ("C-0001", "C-0015", "C-0017", "C-0036"):
        (phone,) = (s for s in answers[code]["services"] if s["service"] == "phone_support")
        assert len(phone["continues"]) == 1, code


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


def test_days_are_right_on_every_date() -> None:
    day = date(2027, 1, 1)
    while day < date(2033, 1, 1):
        assert add_months(days.last_day(day), 12) > day
        assert add_months(days.day_after(day), 12) <= day
        day += timedelta(days=1)


def test_the_loader_may_do_no_more_than_it_must() -> None:
    assert not {"admin", "tokens:issue", "events:read"} & set(SCOPES)
