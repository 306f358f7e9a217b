"""GET /v1/entitlements beyond the scenarios: lookups, instants, explanations, who may ask."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event

from app.services.tokens import SCOPES
from app.store.raw_reads import RawReadPool, Row
from tests.api.build import Customer, made, unique
from tests.conftest import Service

URL = "/v1/entitlements"


@pytest.fixture(scope="module")
async def acme(client: httpx.AsyncClient, service: Service) -> Customer:
    customer = await Customer.new(client, service.today(), name="Acme Automazione S.r.l.")
    await customer.licence(days=-40)
    await customer.contract(days=-20)
    await customer.pack(2, days=-10)
    return customer


async def test_the_whole_answer(acme: Customer, today: date) -> None:
    answer = await acme.entitlements()
    assert answer["customer"] == {
        "id": acme.id,
        "code": acme.code,
        "name": "Acme Automazione S.r.l.",
    }
    assert answer["on"] == str(today)
    assert datetime.fromisoformat(answer["at"]).utcoffset() == timedelta(0)
    assert answer["columns"] == ["DEV", "SA", "TCK"]
    assert [s["service"] for s in answer["services"]] == [
        "web_forum",
        "web_support_portal",
        "support_downloads",
        "email_support",
        "phone_support",
        "remote_access",
        "priority_support",
        "editor_upgrades",
    ]
    assert [a["kind"] for a in answer["allowances"]] == ["free_hours", "contract", "ticket_pack"]
    assert answer["allowances"][1]["suspended"] is False
    assert answer["help_desk"]["id"] == "it"
    assert answer["policy"] == "progea/2020-01-01"


@pytest.mark.parametrize("more", [{}, {"explain": "true"}, {"at": "2026-01-01T00:00:00Z"}])
async def test_one_statement_answers_token_and_facts(
    service: Service, acme: Customer, more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where every statement of the service passes, the token's check included."""
    seen: list[str] = []
    answer = RawReadPool._fetch_on

    async def ask(self: RawReadPool, connection: Any, statement: str, values: Any) -> list[Row]:
        seen.append(statement)
        return await answer(self, connection, statement, values)

    monkeypatch.setattr(RawReadPool, "_fetch_on", ask)

    def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engines = (service.database.reading, service.database.writing)
    for engine in engines:
        event.listen(engine.sync_engine, "before_cursor_execute", count)
    try:
        await acme.entitlements(**more)
    finally:
        for engine in engines:
            event.remove(engine.sync_engine, "before_cursor_execute", count)
    assert len(seen) == 1


async def test_lookup_by_code_whatever_its_case(acme: Customer) -> None:
    for code in (acme.code, acme.code.lower(), acme.code.upper()):
        answer = await made(await acme.client.get(URL, params={"customer_code": code}), 200)
        assert answer["customer"]["id"] == acme.id


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"customer_id": str(uuid4()), "customer_code": "C-1"},
        {"customer_cod": "C-1"},
        {"customer_code": "C-1", "customer_id": "x"},
        {"customer_code": str(uuid4())},
        {"customer_code": "C-1", "at": "2026-11-23T10:15:00"},
        {"customer_code": "C-1", "at": "yesterday"},
        {"customer_code": "C-1", "at": "0001-01-01T00:00:00Z"},
        {"customer_code": "C-1", "explain": "maybe"},
        {"customer_code": "C\x00"},
    ],
)
async def test_what_is_no_question_is_422(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    answer = await client.get(URL, params=params)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]


async def test_nobody_found_is_404(client: httpx.AsyncClient) -> None:
    for params in ({"customer_code": unique("X")}, {"customer_id": str(uuid4())}):
        problem = await made(await client.get(URL, params=params), 404)
        assert problem["code"] == "customer_not_found"


async def test_who_may_ask(service: Service, acme: Customer) -> None:
    params = {"customer_code": acme.code}
    async with service.client(None) as nobody:
        answer = await nobody.get(URL, params=params)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    async with service.client("assistenza_" + "x" * 43) as stranger:
        answer = await stranger.get(URL, params=params)
        assert answer.status_code == 401
        # A question that is none tells a stranger nothing either.
        assert (await stranger.get(URL)).status_code == 401
    async with await service.client_with(*(SCOPES - {"entitlements:read"})) as other:
        answer = await other.get(URL, params=params)
        assert answer.status_code == 403
        assert 'scope="entitlements:read"' in answer.headers["www-authenticate"]
        assert (await other.get(URL)).status_code == 403
    past = datetime.now(UTC) - timedelta(seconds=1)
    for ended in ({"expires_at": past}, {"revoked_at": past}):
        async with await service.client_with("entitlements:read", **ended) as late:
            assert (await late.get(URL, params=params)).status_code == 401


async def test_a_bound_token_finds_itself_alone(
    service: Service, client: httpx.AsyncClient, acme: Customer, today: date
) -> None:
    other = await Customer.new(client, today)
    bound = await service.client_with("entitlements:read", customer_id=acme.id)
    async with bound:
        own = await made(await bound.get(URL, params={"customer_id": acme.id}), 200)
        assert own["customer"]["code"] == acme.code
        foreign = await bound.get(URL, params={"customer_id": other.id})
        unknown = await bound.get(URL, params={"customer_id": str(uuid4())})
        assert foreign.status_code == unknown.status_code == 404
        assert _less_id(foreign.json()) == _less_id(unknown.json())


def _less_id(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}


async def test_languages(acme: Customer, client: httpx.AsyncClient) -> None:
    for header, language, name in (
        ("it", "it", "Assistenza Tecnica Telefonica"),
        ("de-AT, en;q=0.5", "de", "Telefonischer Support"),
        ("fr", "en", "Phone support"),
    ):
        answer = await client.get(
            URL, params={"customer_code": acme.code}, headers={"Accept-Language": header}
        )
        assert answer.headers["content-language"] == language
        assert answer.json()["services"][4]["name"] == name


async def test_past_and_future(client: httpx.AsyncClient, today: date) -> None:
    """R13: as things are known now, at any instant."""
    customer = await Customer.new(client, today)
    await customer.licence(days=-400)
    await customer.licence("runtime", days=-10)

    async def columns(days: int) -> list[str]:
        at = datetime.combine(today + timedelta(days=days), datetime.min.time(), UTC)
        answer = await customer.entitlements(at=at.replace(hour=12).isoformat())
        columns: list[str] = answer["columns"]
        return columns

    assert await columns(-500) == ["NO_DEV"]
    assert await columns(-399) == ["DEV"]
    assert await columns(-30) == ["NO_DEV"]
    assert await columns(0) == ["DEV"]
    assert await columns(350) == ["DEV"]
    assert await columns(360) == ["NO_DEV"]


async def test_a_day_begins_at_midnight_in_italy(client: httpx.AsyncClient, today: date) -> None:
    """An instant is turned into a civil date in Europe/Rome, not in UTC."""
    customer = await Customer.new(client, today)
    await customer.licence(purchased_on="2025-01-15")
    late = await customer.entitlements(at="2025-01-14T23:30:00Z")
    assert (late["on"], late["columns"]) == ("2025-01-15", ["DEV"])
    early = await customer.entitlements(at="2025-01-14T22:30:00Z")
    assert (early["on"], early["columns"]) == ("2025-01-14", ["NO_DEV"])
    assert early["valid_until"] == "2025-01-14T23:00:00Z"


async def test_explain_names_clauses_and_records(acme: Customer) -> None:
    explanation = (await acme.entitlements(explain="true"))["explanation"]
    assert [c["column"] for c in explanation] == ["NO_DEV", "DEV", "SA", "TCK"]
    assert [c["stands"] for c in explanation] == [False, True, True, True]
    rules = {r["test"]: r for c in explanation for r in c["rules"]}
    assert rules["holds_editor"]["record"]["serial_number"] == acme.serials[0]
    assert rules["contract_in_force"]["passed"] is True
    assert {r["clause"] for r in rules.values()} == {"R1", "R2", "R3", "R4", "R5", "R6"}
    assert "explanation" not in await acme.entitlements()


async def test_who_to_ask_stands_beside_what_would_help(
    client: httpx.AsyncClient, today: date
) -> None:
    """R39: every refusal that buying would change gives the contact; no message cites a clause."""
    nobody = await Customer.new(client, today, country="DE")
    answer = await nobody.entitlements()
    for service in answer["services"]:
        assert ("sales_contact" in service) == bool(service["unlocked_by"])
        for reason in service["reasons"]:
            assert reason["message"]
            assert "R1" not in reason["message"]
    assert answer["help_desk"]["id"] == "de"
