"""The phone system's question: every caller gets an answer, and a wrong question a sentence to
speak."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from time import monotonic
from typing import Any

import httpx
import pytest

from app.policy import civil
from app.policy.document import load
from app.services.tokens import SCOPES
from app.settings import Settings
from app.store.database import Database
from tests.api.build import Customer, made, unique
from tests.conftest import Service

URL = "/v1/entitlements/check"
_DESK = load().in_force(date.today()).desk_for("IT", None).schedule
_TEN = next(
    at
    for days in range(1, 30)
    if civil.state(
        _DESK, at := datetime.combine(date.today() + timedelta(days), time(10), _DESK.zone)
    ).open
)
OPEN, LUNCH = _TEN.isoformat(), _TEN.replace(hour=12, minute=30).isoformat()
SWITCHBOARD = "+390721411112"

Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="module")
async def callers(client: httpx.AsyncClient, service: Service) -> dict[str, Customer]:
    """One known by everything, two behind one switchboard, and one with an open case alone."""
    today = service.today()
    people = [
        {"name": "Plant", "email": f"plant@{unique('known')}.example.com",
         "phones": ["059 454224", "+39 335 1234567"]},
        {"name": "Office", "phones": ["+39 059 000002", "+39 335 1234567"]},
    ]  # fmt: skip
    known = await Customer.new(client, today, contacts=people)
    await known.licence(days=-40)
    await known.contract(days=-20)
    switchboard = [{"name": "Switchboard", "phones": [SWITCHBOARD]}]
    one, two = [await Customer.new(client, today, contacts=switchboard) for _ in range(2)]
    busy = await Customer.new(client, today)
    await busy.pack(1)
    return {"known": known, "one": one, "two": two, "busy": busy}


@pytest.fixture
def ask(client: httpx.AsyncClient) -> Ask:
    async def check(asked: str | None = None, status: int = 200, **params: str) -> dict[str, Any]:
        # httpx sends no Accept-Language of its own.
        headers = {} if asked is None else {"Accept-Language": asked}
        params = {"service": "phone_support", "at": OPEN, **params}
        answer = await client.get(URL, params=params, headers=headers)
        body = await made(answer, status)
        return {**body, "language": answer.headers["Content-Language"]}

    return check


async def test_a_customer_is_served_in_its_language(ask: Ask, callers: dict[str, Customer]) -> None:
    known = callers["known"]
    answer = await ask(phone="+39059454224")
    assert (answer["outcome"], answer["route"], answer["allowed"]) == ("allowed", "serve", True)
    assert answer["customer"]["id"] == known.id
    assert answer["contact"]["name"] == "Plant"
    assert answer["candidates"] == []
    assert answer["say"] == (
        "Può utilizzare il servizio Assistenza Tecnica Telefonica. Ha ancora a disposizione 20 ore."
        " L'help desk è aperto fino alle 12."
    )
    assert answer["language"] == "it"
    english = await ask("en", phone="+39059454224")
    assert "20 hours" in english["say"]
    # Two contacts have this number, and none has a customer's code.
    assert "contact" not in await ask(phone="+393351234567")
    assert "contact" not in await ask(customer_code=known.code)


async def test_a_closed_desk_is_a_route_and_no_outcome(
    ask: Ask, callers: dict[str, Customer]
) -> None:
    for params in ({"phone": "+39059454224"}, {"phone": "+390599999999", "called": "059454224"}):
        opened = await ask(**params)
        closed = await ask(**params, at=LUNCH)
        assert opened["route"] != "closed"
        assert (closed["route"], closed["outcome"]) == ("closed", opened["outcome"])
        assert closed["help_desk"]["open"] is False
        assert "riapre oggi alle 14" in closed["say"]
        by_mail = await ask(**params, at=LUNCH, service="email_support")
        assert by_mail["route"] != "closed"


async def test_a_caller_with_an_open_case_alone(ask: Ask, callers: dict[str, Customer]) -> None:
    """R11: nothing left for a new case, and the open one goes on."""
    busy = callers["busy"]
    case = await busy.open(channel="phone", pay_with="ticket")
    answer = await ask(customer_id=busy.id)
    assert (answer["outcome"], answer["route"]) == ("open_case_only", "serve_case")
    assert (answer["allowed"], answer["continues"]) == (False, [case["number"]])
    assert answer["unlocked_by"] == ["buy_tickets"]
    assert case["number"] not in answer["say"]
    denied = await ask(customer_id=callers["one"].id)
    assert (denied["outcome"], denied["route"]) == ("denied", "sales")
    assert denied["reasons"]
    assert denied["sales_contact"]["email"]


async def test_a_dialled_case_number_names_the_customer(
    ask: Ask, callers: dict[str, Customer]
) -> None:
    known = callers["known"]
    number = (await known.open())["number"]
    for dialled in (number, number.replace("-", ""), f"{number.replace('-', '')}#", f"{number}#"):
        answer = await ask(case_number=dialled)
        assert (answer["outcome"], answer["customer"]["id"]) == ("allowed", known.id)
    for wrong in ("2026999999#", "#", "", "**", "1234567890123456789012345678901234567890"):
        answer = await ask(case_number=wrong)
        assert (answer["outcome"], answer["route"]) == ("unknown_caller", "identify"), wrong


@pytest.mark.parametrize(
    ("phone", "outcome"),
    [
        ("+390599999999", "unknown_caller"),
        (SWITCHBOARD, "ambiguous_caller"),
        ("anonymous", "withheld_number"),
        ("", "withheld_number"),
        ('"Anonymous" <sip:anonymous@anonymous.invalid>', "withheld_number"),
        ("204", "unusable_number"),
        ("059454224", "unusable_number"),
    ],
)
async def test_a_caller_whom_nobody_knows_is_asked_who_it_is(
    ask: Ask, callers: dict[str, Customer], phone: str, outcome: str
) -> None:
    answer = await ask(phone=phone)
    assert (answer["outcome"], answer["route"], answer["allowed"]) == (outcome, "identify", False)
    assert "customer" not in answer
    assert answer["reasons"] == answer["unlocked_by"] == answer["continues"] == []
    assert answer["valid_until"] is None
    candidates = {one["id"] for one in answer["candidates"]}
    if outcome == "ambiguous_caller":
        assert candidates == {callers["one"].id, callers["two"].id}
        assert answer["help_desk"]["id"] == "it"
    else:
        assert candidates == set()
        assert answer["help_desk"] is None
    # Nobody is heard of by name or number.
    assert not any(one in answer["say"] for one in (callers["one"].code, SWITCHBOARD))


async def test_the_number_dialled_gives_desk_and_language(
    ask: Ask, callers: dict[str, Customer]
) -> None:
    for called, desk, language in (
        ("059 454224", "it", "it"),
        ("+41919676610", "abroad", "en"),
        ("sip:09001776432@pbx.example.com", "de", "de"),
    ):
        for phone in ("+390599999999", "anonymous", "204"):
            answer = await ask(phone=phone, called=called)
            assert (answer["help_desk"]["id"], answer["language"]) == (desk, language)
        assert (await ask("fr, it", phone="anonymous", called=called))["language"] == "it"
        # A customer has a desk of its own.
        assert (await ask(phone="+39059454224", called=called))["help_desk"]["id"] == "it"
    assert (await ask(phone="anonymous", called="204"))["help_desk"] is None


async def test_several_customers_speak_their_common_language(
    ask: Ask, client: httpx.AsyncClient, today: date
) -> None:
    """The one asked for, else the customers', else their desk's."""

    async def ambiguous(*languages: str) -> str:
        email = f"{unique('desk').lower()}@example.com"
        people = [{"name": "Desk", "email": email}]
        for language in languages:
            await Customer.new(client, today, country="DE", language=language, contacts=people)
        return email

    for languages, spoken in ((("it", "it"), "it"), (("it", "en"), "de"), (("en", "en"), "en")):
        email = await ambiguous(*languages)
        assert (await ask(email=email))["language"] == spoken, languages
        assert (await ask("it", email=email))["language"] == "it"


async def test_check_is_the_service_of_the_whole_answer(
    ask: Ask, callers: dict[str, Customer]
) -> None:
    for customer in callers.values():
        whole = await customer.entitlements(at=OPEN)
        for service in whole["services"]:
            answer = await ask("en", customer_id=customer.id, service=service["service"])
            for name in ("allowed", "continues", "unlocked_by", "reasons"):
                assert answer[name] == service[name]
            assert answer["help_desk"] == whole["help_desk"]


# --- settings ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def italian(new_service: Callable[..., Awaitable[Service]]) -> Service:
    return await new_service(phone_region="IT", phone_trunk_prefix="0", default_desk="it")


async def test_an_exchange_s_own_country_prefix_and_desk(italian: Service) -> None:
    async with await italian.client_with(*SCOPES) as client:
        people = [{"name": "Plant", "phones": ["+39 059 0000001"]}]
        known = await Customer.new(client, italian.today(), contacts=people)
        for phone in ("0590000001", "00590000001", "+390590000001", "sip:00590000001@pbx.example"):
            for url, more in (("/v1/entitlements", {}), (URL, {"service": "phone_support"})):
                answer = await made(await client.get(url, params={"phone": phone, **more}), 200)
                assert answer["customer"]["id"] == known.id, (url, phone)
        batch = {"lookups": [{"phone": "0590000001"}, {"phone": "030 23125202", "region": "DE"}]}
        answer = await made(await client.post("/v1/entitlements/batch", json=batch), 200)
        found, missing = answer["results"]
        assert found["entitlements"]["customer"]["id"] == known.id
        assert missing["problem"]["code"] == "customer_not_found"
        query = {"service": "phone_support", "phone": "anonymous"}
        spoken = await client.get(URL, params=query)
        assert spoken.headers["Content-Language"] == "it"
        assert spoken.json()["help_desk"]["id"] == "it"
        problem = await client.get(URL, params={"service": "phone_support"})
        assert (problem.status_code, problem.headers["Content-Language"]) == (422, "it")
        assert problem.json()["say"].startswith("Al momento non possiamo verificare")


# --- no question, or no answer -------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "service=phone_support",
        "service=phone_support&phone=+390590000001&customer_code=C-1",
        "service=fax_support&phone=+390590000001",
        "phone=+390590000001",
        "service=phone_support&phone=+390590000001&mistyped=1",
        "service=phone_support&email=nobody",
        "service=phone_support&phone=" + "1" * 501,
        "service=phone_support&customer_code=C-1&called=%00",
    ],
)
async def test_what_is_no_question_can_be_spoken(client: httpx.AsyncClient, query: str) -> None:
    said = set()
    for headers, language in (
        ({"Accept-Language": "it"}, "it"),
        ({"Accept-Language": "de-CH"}, "de"),
        ({}, "en"),
    ):
        answer = await client.get(f"{URL}?{query}", headers=headers)
        assert answer.status_code == 422
        assert answer.headers["Content-Language"] == language
        said.add(answer.json()["say"])
    assert len(said) == 3
    dialled = await client.get(f"{URL}?{query.replace('&called=%00', '')}&called=059454224")
    assert dialled.headers["Content-Language"] == "it"


async def test_who_may_not_ask_is_told_so_in_words(service: Service) -> None:
    query = {"service": "phone_support", "phone": "+39059454224"}
    async with service.client("assistenza_" + "x" * 43) as stranger:
        answer = await stranger.get(URL, params=query)
        assert (answer.status_code, bool(answer.json()["say"])) == (401, True)
    async with service.client(None) as nobody:
        answer = await nobody.get(URL, params=query)
        assert (answer.status_code, bool(answer.json()["say"])) == (401, True)
        # Other calls have nothing to say.
        assert "say" not in (await nobody.get("/v1/entitlements", params=query)).json()
    async with await service.client_with("cases:read") as other:
        answer = await other.get(URL, params=query)
        assert (answer.status_code, bool(answer.json()["say"])) == (403, True)
        answer = await other.get(URL, params={**query, "phone": "anonymous"})
        assert answer.status_code == 403


async def test_while_the_database_is_away_a_caller_waits_a_second_at_most(
    client: httpx.AsyncClient, service: Service
) -> None:
    """It refuses connections, or takes them and says nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    free = socket.create_server(("127.0.0.1", 0))
    refusing = free.getsockname()[1]
    free.close()
    reached = service.app.state.database
    try:
        for port in (refusing, silent.sockets[0].getsockname()[1]):
            nowhere = Database(Settings(database_url=f"postgresql://x@127.0.0.1:{port}/x"))
            service.app.state.database = nowhere
            for phone in ("+39059454224", "anonymous"):
                query = {"service": "phone_support", "phone": phone, "called": "059454224"}
                began = monotonic()
                answer = await client.get(URL, params=query)
                assert monotonic() - began < 1.5
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                assert answer.json()["say"] == (
                    "Al momento non possiamo verificare il suo diritto all'assistenza."
                    " La preghiamo di richiamare più tardi."
                )
            await nowhere.close()
    finally:
        service.app.state.database = reached
        silent.close()
        await silent.wait_closed()


# --- the wall ------------------------------------------------------------------------------------


async def test_a_bound_token_finds_its_own_customer_alone(
    service: Service, callers: dict[str, Customer]
) -> None:
    """R38: another's case, number or contact is exactly as if it did not exist."""
    known, one = callers["known"], callers["one"]
    theirs = (await known.open())["number"]
    bound = await service.client_with("entitlements:read", customer_id=one.id)
    async with bound:

        async def ask(**params: str) -> dict[str, Any]:
            query = {"service": "phone_support", "at": OPEN, "called": "059454224", **params}
            return await made(await bound.get(URL, params=query), 200)

        for found, missing in (
            ({"case_number": theirs}, {"case_number": "2026-999999"}),
            ({"phone": "+39059454224"}, {"phone": "+39059454225"}),
            ({"customer_id": known.code}, {"customer_id": "C-NOBODY"}),
        ):
            assert await ask(**found) == await ask(**missing)
            assert (await ask(**found))["outcome"] == "unknown_caller"
        # Of the two behind the switchboard it is the one.
        assert (await ask(phone=SWITCHBOARD))["customer"]["id"] == one.id
        foreign = await bound.get("/v1/entitlements", params={"case_number": theirs})
        assert foreign.json()["code"] == "customer_not_found"
