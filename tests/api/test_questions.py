"""Lookups, check, batch, export, simulation and forecast: the same answers in other forms.

That they are the same whatever a customer has, `test_answers_agree.py` shows.
"""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.build import Customer, made, unique
from tests.conftest import Service

URL = "/v1/entitlements"


@pytest.fixture(scope="module")
async def callers(client: httpx.AsyncClient, service: Service) -> dict[str, Customer]:
    """One known by everything, and two behind one switchboard."""
    today = service.today()
    known = await Customer.new(
        client,
        today,
        external_refs={"crm": unique("x")},
        contacts=[
            {"name": "Plant", "email": f"plant@{unique('known')}.example.com",
             "phones": ["059 454224", "+39 335 1234567"]}
        ],
    )  # fmt: skip
    await known.licence(days=-40)
    await known.contract(days=-20)
    switchboard = [{"name": "Switchboard", "phones": ["0721 411112"]}]
    one, two = [await Customer.new(client, today, contacts=switchboard) for _ in range(2)]
    return {"known": known, "one": one, "two": two}


async def test_every_lookup_finds_the_same(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    known = callers["known"]
    body = await made(await client.get(f"/v1/customers/{known.id}"), 200)
    expected = await known.entitlements()
    for params in (
        {"customer_code": known.code.lower()},
        {"serial_number": known.serials[0].lower()},
        {"email": body["contacts"][0]["email"].upper()},
        {"external_ref": f"crm:{body['external_refs']['crm']}"},
        {"phone": "+39059454224"},
        {"phone": " 39059454224"},
        {"phone": "0039059454224"},
        {"phone": "059 454224", "region": "IT"},
        {"phone": "+39 059 454224 ext. 12"},
        {"phone": "tel:+39-059-454224"},
        {"phone": "sip:+39059454224@exchange.example.com"},
        {"phone": "3351234567", "region": "IT"},
    ):
        found = await made(await client.get(URL, params=params), 200)
        assert {**found, "at": expected["at"]} == expected, params


async def test_a_raw_plus_in_an_address_is_read(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    answer = await made(await client.get(f"{URL}?phone=+39059454224"), 200)
    assert answer["customer"]["id"] == callers["known"].id


@pytest.mark.parametrize("withheld", ["anonymous", "", "Anonymous", "%20", "restricted"])
async def test_a_withheld_number_is_told_so(client: httpx.AsyncClient, withheld: str) -> None:
    for path in (URL, f"{URL}/check"):
        service = "&service=phone_support" if path.endswith("check") else ""
        problem = await made(await client.get(f"{path}?phone={withheld}{service}"), 422)
        assert problem["code"] == "anonymous_caller"
        assert ("say" in problem) == path.endswith("check")


@pytest.mark.parametrize(
    "path", ["", "/check?service=phone_support", "/forecast?until=2027-01-01T00:00:00Z"]
)
async def test_a_withheld_number_is_told_to_the_admitted_alone(service: Service, path: str) -> None:
    url = f"{URL}{path}{'&' if '?' in path else '?'}phone=anonymous"
    async with service.client("assistenza_" + "x" * 43) as stranger:
        assert (await stranger.get(url)).status_code == 401
    async with await service.client_with("cases:read") as other:
        assert (await other.get(url)).status_code == 403


async def test_several_behind_one_number(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    params = {"phone": "+39 0721 411112"}
    problem = await made(await client.get(URL, params=params), 409)
    assert problem["code"] == "ambiguous_lookup"
    found = {candidate["id"] for candidate in problem["candidates"]}
    assert found == {callers["one"].id, callers["two"].id}
    spoken = await made(
        await client.get(f"{URL}/check", params={**params, "service": "phone_support"}), 409
    )
    assert spoken["say"]
    assert spoken["help_desk"]["id"] == "it"


@pytest.mark.parametrize(
    "params",
    [
        {"phone": "059454224"},
        {"phone": "call me"},
        {"phone": "+39"},
        {"email": "nobody"},
        {"external_ref": "crm"},
        {"phone": "+39059454224", "email": "a@example.com"},
        {"email": "a@example.com", "region": "IT"},
        {"phone": "059454224", "region": "ITA"},
    ],
)
async def test_what_is_no_lookup(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    problem = await made(await client.get(URL, params=params), 422)
    assert problem["code"] == "invalid_input"


# --- check ---------------------------------------------------------------------------------------


async def check(client: httpx.AsyncClient, status: int = 200, **params: str) -> dict[str, Any]:
    params = {"service": "phone_support", **params}
    return await made(await client.get(f"{URL}/check", params=params), status)


async def test_check_says_it_in_the_customers_language(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    known = callers["known"]
    lunch = "2026-11-24T12:30:00+01:00"
    answer = await check(client, phone="+39059454224", at=lunch)
    assert answer["allowed"] is True
    assert answer["help_desk"]["open"] is False
    assert "20 ore" in answer["say"]
    assert "14:00" in answer["say"]
    assert known.code not in answer["say"]
    english = await client.get(
        f"{URL}/check",
        params={"service": "phone_support", "phone": "+39059454224", "at": lunch},
        headers={"Accept-Language": "en"},
    )
    assert "20 hours" in english.json()["say"]


async def test_check_on_a_holiday_and_for_an_unknown_caller(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    answer = await check(client, phone="+39059454224", at="2026-12-25T10:00:00+01:00")
    assert answer["help_desk"]["open"] is False
    assert answer["help_desk"]["changes_at"] == "2026-12-28T07:30:00Z"
    unknown = await check(client, 404, phone="+390721999999")
    assert unknown["say"]


async def test_a_problem_of_check_is_in_one_language(
    client: httpx.AsyncClient, today: date
) -> None:
    """The one asked for, else the customers', else their desk's."""

    async def ask(asked: str | None = None, **params: str) -> tuple[str, dict[str, Any]]:
        # httpx sends no Accept-Language of its own.
        headers = {} if asked is None else {"Accept-Language": asked}
        answer = await client.get(
            f"{URL}/check", params={"service": "phone_support", **params}, headers=headers
        )
        return answer.headers["Content-Language"], answer.json()

    async def ambiguous(*languages: str, country: str = "DE") -> str:
        email = f"{unique('desk').lower()}@example.com"
        people = [{"name": "Desk", "email": email}]
        for language in languages:
            await Customer.new(client, today, country=country, language=language, contacts=people)
        return email

    titles: dict[str, tuple[str, str]] = {}
    for language in ("en", "it", "de"):
        email = await ambiguous("it", "it")
        sent, problem = await ask(language, email=email)
        assert sent == language
        titles[language] = (problem["title"], problem["say"].split(".")[0])
    assert len(set(titles.values())) == 3

    for languages, spoken in ((("it", "it"), "it"), (("it", "en"), "de"), (("en", "en"), "en")):
        sent, problem = await ask(email=await ambiguous(*languages))
        assert sent == spoken, languages
        assert (problem["title"], problem["say"].split(".")[0]) == titles[spoken]
    sent, problem = await ask(email=f"{unique('nobody').lower()}@example.com")
    assert sent == "en"
    assert problem["code"] == "customer_not_found"


async def test_check_puts_through_a_caller_with_an_open_case(
    client: httpx.AsyncClient, today: date
) -> None:
    """R11: nothing left for a new case, and the open one goes on."""
    customer = await Customer.new(client, today)
    await customer.pack(1)
    case = await customer.open(channel="phone", pay_with="ticket")
    answer = await check(client, customer_id=customer.id)
    assert (answer["allowed"], answer["continues"]) == (False, [case["number"]])
    assert answer["unlocked_by"] == ["buy_tickets"]
    assert case["number"] not in answer["say"]


async def test_check_is_the_service_of_the_whole_answer(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    for customer in callers.values():
        whole = await customer.entitlements()
        for service in whole["services"]:
            answer = await check(client, customer_id=customer.id, service=service["service"])
            for name in ("allowed", "continues", "unlocked_by"):
                assert answer[name] == service[name]
            codes = [[r["code"] for r in s["reasons"]] for s in (answer, service)]
            assert codes[0] == codes[1]


# --- batch and export ----------------------------------------------------------------------------


async def test_batch_equals_single_answers(
    client: httpx.AsyncClient, callers: dict[str, Customer], today: date
) -> None:
    known, one = callers["known"], callers["one"]
    at = datetime.now(UTC).isoformat()
    for moment in (at, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"):
        lookups: list[dict[str, Any]] = [
            {"customer_id": known.id},
            {"customer_code": "NOBODY-1"},
            {"phone": "+390721411112"},
            {"customer_code": one.code.lower()},
            {"phone": "anonymous"},
            {"serial_number": known.serials[0]},
            {"phone": "+39059454224"},
            {"customer_id": known.id, "email": "a@example.com"},
            {"customer": "x"},
            {"customer_id": 7},
            {"customer_id": known.id},
        ]
        answer = await client.post(f"{URL}/batch", json={"lookups": lookups, "at": moment})
        results = (await made(answer, 200))["results"]
        assert [r["lookup"] for r in results] == lookups
        single = {c.id: await c.entitlements(at=moment) for c in (known, one)}
        told = [
            r["entitlements"]["customer"]["id"] if "entitlements" in r else r["problem"]["code"]
            for r in results
        ]
        assert told == [
            known.id,
            "customer_not_found",
            "ambiguous_lookup",
            one.id,
            "anonymous_caller",
            known.id,
            known.id,
            "invalid_input",
            "invalid_input",
            "invalid_input",
            known.id,
        ]
        for result in results:
            if "entitlements" in result:
                found = result["entitlements"]
                assert found == single[found["customer"]["id"]]


async def test_a_bad_envelope_is_422(client: httpx.AsyncClient) -> None:
    bodies: tuple[Any, ...] = (
        {"lookups": []},
        {"lookups": [{}] * 1001},
        {"lookup": [{}]},
        {"lookups": "x"},
    )
    for body in bodies:
        await made(await client.post(f"{URL}/batch", json=body), 422)


async def test_export_is_every_single_answer(
    client: httpx.AsyncClient, callers: dict[str, Customer], service: Service
) -> None:
    for at in ("2026-06-01T00:00:00Z", "2027-06-01T00:00:00Z"):
        answer = await client.get(f"{URL}/export", params={"at": at})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-ndjson"
        *lines, last = [json.loads(line) for line in answer.text.splitlines()]
        assert last == {"end": True, "count": len(lines)}
        exported = {line["customer"]["id"]: line for line in lines}
        for customer in callers.values():
            assert exported[customer.id] == await customer.entitlements(at=at)
    bound = await service.client_with("entitlements:read", customer_id=callers["one"].id)
    async with bound:
        lines = [json.loads(line) for line in (await bound.get(f"{URL}/export")).text.splitlines()]
        assert [line.get("customer", {}).get("id") for line in lines] == [callers["one"].id, None]


# --- simulation and forecast ---------------------------------------------------------------------


async def simulate(customer: Customer, status: int = 200, *assume: dict[str, Any]) -> Any:
    body = {"customer_id": customer.id, "assume": list(assume)}
    return await made(await customer.client.post(f"{URL}/simulation", json=body), status)


async def test_simulation_writes_nothing_and_refuses_as_the_real_thing_would(
    client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(client, today)
    before = await customer.entitlements()
    problem = await simulate(customer, 409, {"kind": "contract"})
    assert problem["code"] == "editor_licence_required"
    problem = await simulate(customer, 409, {"kind": "time", "minutes": 5})
    assert problem["code"] == "not_entitled"
    assert problem["reasons"]
    done = await simulate(customer, 200, {"kind": "licence"}, {"kind": "contract"})
    assert done["changes"]["columns_gained"] == ["DEV", "SA"]
    changed = {c["service"]: c["allowed_after"] for c in done["changes"]["services"]}
    assert changed["phone_support"] is True
    assert {**await customer.entitlements(), "at": before["at"]} == before
    tomorrow = str(today + timedelta(days=1))
    await simulate(customer, 422, {"kind": "licence", "purchased_on": tomorrow})


async def test_forecast_looks_ahead_and_no_further_than_ten_years(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    params = {"customer_id": callers["known"].id}
    for bad in ("2020-01-01T00:00:00Z", "2050-01-01T00:00:00Z"):
        await made(await client.get(f"{URL}/forecast", params={**params, "until": bad}), 422)
