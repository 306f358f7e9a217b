"""The same request twice opens one case and records its time once (Idempotency-Key)."""

import asyncio
import secrets
import threading
from typing import Any

import asyncpg
import httpx
import pytest

from app.http import idempotency
from tests.api.build import Customer
from tests.conftest import Service


def _body(customer: Customer, **fields: Any) -> dict[str, Any]:
    return {
        "customer_id": customer.id,
        "requester": {"name": "Plant engineer"},
        "subject": "Screen stays blank",
        "description": "After the start the screen stays blank.",
        **fields,
    }


async def _open(customer: Customer, key: str, **fields: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await customer.client.post("/v1/cases", json=_body(customer, **fields), headers=headers)


async def test_the_same_request_opens_one_case(customer: Customer) -> None:
    """R26, R19: the answer is the first one's, status, body and address; one ticket is held."""
    pack = await customer.pack(quantity=2)
    key = secrets.token_hex()
    first, second = await _open(customer, key), await _open(customer, key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert first.headers["Location"] == second.headers["Location"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert (await customer.get(f"ticket-packs/{pack['id']}"))["held"] == 1
    assert len((await customer.get(f"cases?customer_id={customer.id}"))["items"]) == 1


async def test_time_is_recorded_once(customer: Customer) -> None:
    """R20."""
    await customer.licence(days=-30)
    case = await customer.open()
    headers = {"Idempotency-Key": secrets.token_hex()}
    for _ in range(2):
        answer = await customer.client.post(
            f"/v1/cases/{case['id']}/time-entries",
            json={"technician": "Help desk", "minutes": 30},
            headers=headers,
        )
        assert answer.status_code == 201
    assert await customer.minutes(case) == (30, 30, 0)


async def test_a_key_belongs_to_one_request(customer: Customer) -> None:
    await customer.pack(quantity=2)
    key = secrets.token_hex()
    assert (await _open(customer, key)).status_code == 201
    other = await _open(customer, key, channel="phone")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_refusal_is_not_remembered(customer: Customer) -> None:
    """R33: its decision is kept, its key is not; after the purchase the same request opens."""
    key = secrets.token_hex()
    assert (await _open(customer, key)).status_code == 409
    await customer.pack()
    opened = await _open(customer, key)
    assert opened.status_code == 201
    assert "Idempotent-Replayed" not in opened.headers


async def test_while_the_first_is_running_the_second_is_told_so(
    customer: Customer, service: Service
) -> None:
    """R19: the first waits for the customer's lock, the second does not wait for the first."""
    await customer.pack(quantity=2)
    key = secrets.token_hex()
    blocker = await asyncpg.connect(service.admin_url)
    try:
        async with blocker.transaction():
            await blocker.execute("SELECT FROM customers WHERE id = $1 FOR UPDATE", customer.id)
            first = asyncio.create_task(_open(customer, key))
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            mine = f"{waiting} AND datname = current_database()"
            for _ in range(1000):
                if await blocker.fetchval(mine):
                    break
                await asyncio.sleep(0.01)
            second = await _open(customer, key)
    finally:
        await blocker.close()
    assert (second.status_code, second.json()["code"]) == (409, "request_in_progress")
    assert second.headers["Retry-After"] == "1"
    assert (await first).status_code == 201
    third = await _open(customer, key)
    assert third.content == (await first).content


async def test_keys_belong_to_the_customer_of_a_bound_token(
    customer: Customer, service: Service
) -> None:
    """R38: whichever of its tokens it uses, and no other client's."""
    await customer.pack(quantity=3)
    key = secrets.token_hex()
    assert (await _open(customer, key)).status_code == 201
    replayed = []
    for _ in range(2):
        async with await service.client_with("cases:write", customer_id=customer.id) as theirs:
            headers = {"Idempotency-Key": key}
            answer = await theirs.post("/v1/cases", json=_body(customer), headers=headers)
            assert answer.status_code == 201, answer.text
            replayed.append(answer.headers.get("Idempotent-Replayed"))
    assert replayed == [None, "true"]


@pytest.mark.parametrize("bound", [False, True], ids=["staff", "bound token"])
async def test_a_large_body_is_parsed_beside_the_loop_and_without_a_connection(
    customer: Customer, service: Service, monkeypatch: pytest.MonkeyPatch, bound: bool
) -> None:
    """Other requests are answered, and can have a connection, while its fingerprint is computed."""
    parsed: list[tuple[bool, int]] = []
    canonical = idempotency._canonical

    def watched(body: bytes) -> bytes:
        pools = service.database.pools()
        on_the_loop = threading.current_thread() is threading.main_thread()
        parsed.append((on_the_loop, pools["bound" if bound else "writing"].in_use))
        return canonical(body)

    monkeypatch.setattr(idempotency, "_canonical", watched)
    of = {"customer_id": customer.id} if bound else {}
    async with await service.client_with("cases:write", **of) as client:
        headers = {"Idempotency-Key": secrets.token_hex()}
        for _ in range(2):
            answer = await client.post(
                "/v1/cases", json={"nothing": "x" * 100_000}, headers=headers
            )
            assert answer.status_code == 422
    assert parsed == [(False, 0)] * 2
