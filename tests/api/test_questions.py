"""Lookups, check, batch, export, simulation and forecast: the same answers in other forms.

That they are the same whatever a customer has, `test_answers_agree.py` shows.
"""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.routers.entitlements import endpoints
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
    case = await known.open()
    expected = await known.entitlements()
    for params in (
        {"customer_code": known.code.lower()},
        {"serial_number": known.serials[0].lower()},
        {"case_number": case["number"]},
        {"case_number": case["number"].replace("-", "")},
        {"case_number": f" {case['number'].replace('-', '')}#"},
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
    problem = await made(await client.get(f"{URL}?phone={withheld}"), 422)
    assert problem["code"] == "anonymous_caller"
    assert "say" not in problem
    asked = f"{URL}/check?phone={withheld}&service=phone_support"
    answer = await made(await client.get(asked), 200)
    assert answer["outcome"] == "withheld_number"


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
        {"case_number": "*12"},
        {"case_number": ""},
        {"case_number": "2026-000001", "phone": "+39059454224"},
    ],
)
async def test_what_is_no_lookup(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    problem = await made(await client.get(URL, params=params), 422)
    assert problem["code"] == "invalid_input"


# --- batch and export ----------------------------------------------------------------------------


async def test_batch_equals_single_answers(
    client: httpx.AsyncClient, callers: dict[str, Customer], today: date
) -> None:
    known, one = callers["known"], callers["one"]
    case = await known.open()
    at = datetime.now(UTC).isoformat()
    for moment in (at, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"):
        lookups: list[dict[str, Any]] = [
            {"customer_id": known.id},
            {"case_number": case["number"].replace("-", "")},
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


async def test_a_batch_lists_few_faults_in_all(client: httpx.AsyncClient) -> None:
    """The first hundred, then one for each lookup: 95,000 took 7 s and made an answer of 9 MB."""
    junk = {f"field_{number}": 0 for number in range(60)}
    lookups = [junk, {**junk, "customer_id": 7}, {"customer_id": 7, **junk}, {"email": "x"}] * 5
    answer = await client.post(f"{URL}/batch", json={"lookups": lookups})
    results = (await made(answer, 200))["results"]
    assert [r["lookup"] for r in results] == lookups
    faults = [r["problem"]["errors"] for r in results]
    assert [len(some) for some in faults] == [60, 40] + [1] * 18


async def test_a_batch_lets_others_run_by_the_time_it_takes(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after so many lookups: one of them may take long."""
    pauses, now, step = 0, 0.0, 0.0
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal pauses
        pauses += seconds == 0
        await sleep(seconds)

    def clock() -> float:
        nonlocal now
        now += step
        return now

    monkeypatch.setattr(asyncio, "sleep", counted)
    monkeypatch.setattr(endpoints, "monotonic", clock, raising=False)
    # Each lookup is read, then answered.
    for seconds, wanted in ((0.0, 0), (1.0, 20)):
        pauses, step = 0, seconds
        answer = await client.post(f"{URL}/batch", json={"lookups": [{"x": 1}] * 10})
        await made(answer, 200)
        assert pauses == wanted


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


async def test_a_case_number_names_the_customer_of_a_simulation_and_a_forecast(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    known = callers["known"]
    number = (await known.open())["number"].replace("-", "")
    assume = [{"kind": "licence"}]
    done = await client.post(f"{URL}/simulation", json={"case_number": number, "assume": assume})
    assert (await made(done, 200))["before"]["customer"]["id"] == known.id
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    params = {"case_number": number, "until": until}
    ahead = await made(await client.get(f"{URL}/forecast", params=params), 200)
    assert ahead["customer"]["id"] == known.id


async def test_forecast_looks_ahead_and_no_further_than_ten_years(
    client: httpx.AsyncClient, callers: dict[str, Customer]
) -> None:
    params = {"customer_id": callers["known"].id}
    for bad in ("2020-01-01T00:00:00Z", "2050-01-01T00:00:00Z"):
        await made(await client.get(f"{URL}/forecast", params={**params, "until": bad}), 422)
