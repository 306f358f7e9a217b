"""Lookups that many customers match: bounded answers, and the others of a batch answered."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.services.tokens import SCOPES
from tests.api.build import Customer, made, refused
from tests.conftest import Service

MANY = 5_000
PHONE, EMAIL = "+390599990000", "switchboard@example.com"
_FILL = [
    f"""INSERT INTO customers (id, code, name, country, language, created_at, updated_at)
        SELECT gen_random_uuid(), 'M-' || lpad(n::text, 5, '0'), 'Many ' || n, 'IT', 'it',
            now(), now()
        FROM generate_series(1, {MANY}) n""",
    f"""INSERT INTO contacts (id, customer_id, position, name, email, phones)
        SELECT gen_random_uuid(), id, p, 'Switchboard', '{EMAIL}', ARRAY['{PHONE}']
        FROM customers, generate_series(0, 1) p WHERE code LIKE 'M-%'""",
    "ANALYZE",
]


@dataclass
class Crowd:
    service: Service
    client: httpx.AsyncClient
    alone: Customer


@pytest.fixture(scope="module")
async def crowd(service: Service) -> AsyncIterator[Crowd]:
    for statement in _FILL:
        await service.server.run_in(service.database_name, statement)
    async with await service.client_with(*SCOPES) as client:
        contacts = [
            {"name": f"Line {n}", "email": "alone@example.com", "phones": ["+390599990001"]}
            for n in range(100)
        ]
        alone = await Customer.new(client, service.today(), contacts=contacts)
        yield Crowd(service, client, alone)


@pytest.mark.parametrize("lookup", [{"phone": PHONE}, {"email": EMAIL.upper()}])
@pytest.mark.parametrize("at", [None, "2026-01-01T00:00:00Z"])
async def test_candidates_stop_at_twenty(
    crowd: Crowd, lookup: dict[str, str], at: str | None
) -> None:
    query = lookup | ({"at": at} if at else {})
    answer = await crowd.client.get("/v1/entitlements", params=query)
    problem = refused(answer, "ambiguous_lookup")
    codes = [one["code"] for one in problem["candidates"]]
    assert (len(codes), codes) == (20, sorted(codes))
    assert problem["more"] is True
    assert len(answer.content) < 5_000
    again = await crowd.client.get("/v1/entitlements", params=query)
    assert again.json()["candidates"] == problem["candidates"]


async def test_twenty_are_not_more(crowd: Crowd) -> None:
    for count in (2, 20, 21):
        email = f"of-{count}@example.com"
        await crowd.service.server.run_in(
            crowd.service.database_name,
            "INSERT INTO contacts (id, customer_id, position, name, email, phones)"
            " SELECT gen_random_uuid(), id, 9, 'Same', $1, '{}' FROM customers"
            f" WHERE code LIKE 'M-%' ORDER BY code LIMIT {count}",
            email,
        )
        problem = refused(
            await crowd.client.get("/v1/entitlements", params={"email": email}),
            "ambiguous_lookup",
        )
        assert len(problem["candidates"]) == min(count, 20)
        assert problem["more"] is (count > 20)


async def test_the_same_number_of_many_contacts_is_one_customer(crowd: Crowd) -> None:
    for lookup in ({"phone": "+390599990001"}, {"email": "alone@example.com"}):
        answer = await made(await crowd.client.get("/v1/entitlements", params=lookup), 200)
        assert answer["customer"]["id"] == crowd.alone.id


@pytest.mark.parametrize("at", [{}, {"at": "2026-01-01T00:00:00Z"}])
async def test_a_batch_answers_the_others(crowd: Crowd, at: dict[str, str]) -> None:
    one: dict[str, Any] = {"customer_id": crowd.alone.id}
    crowded = [{"phone": PHONE}, {"email": EMAIL}]
    # The longest batch: each lookup of its own spelling, with the one that can be answered last.
    lookups = [*crowded * 499, {"phone": "+390599990001"}, one]
    answer = await crowd.client.post("/v1/entitlements/batch", json={"lookups": lookups, **at})
    results = (await made(answer, 200))["results"]
    assert [result["lookup"] for result in results] == lookups
    for result in results[:-2]:
        problem = result["problem"]
        assert problem["code"] == "ambiguous_lookup"
        assert (len(problem["candidates"]), problem["more"]) == (20, True)
    for result in results[-2:]:
        assert result["entitlements"]["customer"]["id"] == crowd.alone.id
    single = await crowd.client.get("/v1/entitlements", params={"phone": PHONE, **at})
    assert single.json()["candidates"] == results[0]["problem"]["candidates"]


async def test_a_token_of_one_of_them_finds_itself(crowd: Crowd) -> None:
    rows = await crowd.service.server.run_in(
        crowd.service.database_name,
        "SELECT id FROM customers WHERE code LIKE 'M-%' ORDER BY code DESC LIMIT 1",
    )
    customer_id = str(rows[0]["id"])
    async with await crowd.service.client_with(
        "entitlements:read", customer_id=customer_id
    ) as theirs:
        for lookup in ({"phone": PHONE}, {"email": EMAIL}):
            answer = await made(await theirs.get("/v1/entitlements", params=lookup), 200)
            assert answer["customer"]["id"] == customer_id
        body = {"lookups": [{"phone": PHONE}, {"email": EMAIL}]}
        batch = await made(await theirs.post("/v1/entitlements/batch", json=body), 200)
        for result in batch["results"]:
            assert result["entitlements"]["customer"]["id"] == customer_id
