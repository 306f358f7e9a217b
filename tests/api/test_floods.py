"""What limits a customer's tokens together: writes in a minute, open cases, refusals (R33)."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import asyncpg
import httpx
import pytest

from app.http import idempotency
from app.http.bound_writes import AT_ONCE
from app.main import create_app
from app.services.tokens import SCOPES, authenticate, new_token
from app.services.unit_of_work import Caller
from tests.api.build import Customer, made, recorded, refused
from tests.conftest import Service

WRITES, OPEN = 5, 3
SCOPES_OF_A_CUSTOMER = ("cases:read", "cases:write", "entitlements:read")


@dataclass
class Flood:
    service: Service
    staff: Customer
    """The customer, as somebody with every scope reaches it."""
    theirs: httpx.AsyncClient
    """A token bound to the customer."""
    case: dict[str, Any]

    async def comment(self, client: httpx.AsyncClient, **headers: str) -> httpx.Response:
        path = f"/v1/cases/{self.case['id']}/comments"
        return await client.post(path, json={"body": "Again."}, headers=headers)

    async def run(self, command: str, *parameters: Any) -> list[asyncpg.Record]:
        service = self.service
        return await service.server.run_in(service.database_name, command, *parameters)

    async def age(self, seconds: int) -> None:
        """Let time pass for the writes that were counted."""
        await self.run(
            "UPDATE bound_writes SET written_at = ARRAY("
            " SELECT at - make_interval(secs => $1) FROM unnest(written_at) at)",
            float(seconds),
        )
        self.service.app.state.bound_writes.forget_refusals()


@pytest.fixture(scope="module")
async def small(new_service: Callable[..., Awaitable[Service]]) -> Service:
    return await new_service(bound_writes_per_minute=WRITES, bound_open_cases=OPEN)


@pytest.fixture
async def flood(small: Service) -> AsyncIterator[Flood]:
    async with await small.client_with(*SCOPES) as client:
        customer = await Customer.new(client, small.today())
        await customer.pack(10)
        case = await customer.open()
        async with await small.client_with(
            *SCOPES_OF_A_CUSTOMER, customer_id=customer.id
        ) as theirs:
            yield Flood(small, customer, theirs, case)


async def test_writes_in_a_minute_are_limited(flood: Flood) -> None:
    for _ in range(WRITES):
        assert (await flood.comment(flood.theirs)).status_code == 201
    answer = await flood.comment(flood.theirs)
    refused(answer, "too_many_requests", 429)
    wait = int(answer.headers["Retry-After"])
    assert 55 <= wait <= 60
    assert answer.headers["RateLimit-Policy"] == f'"writes";q={WRITES};w=60'
    assert answer.headers["RateLimit"] == f'"writes";r=0;t={wait}'
    assert len(await flood.staff.timeline(flood.case)) == 1 + WRITES
    # Neither reads nor questions are writes.
    assert (await flood.theirs.get("/v1/cases")).status_code == 200
    body = {"lookups": [{"customer_code": flood.staff.code}]}
    for _ in range(2):
        assert (await flood.theirs.post("/v1/entitlements/batch", json=body)).status_code == 200
    await flood.age(50)
    assert 5 <= int((await flood.comment(flood.theirs)).headers["Retry-After"]) <= 10
    await flood.age(10)
    assert (await flood.comment(flood.theirs)).status_code == 201


async def test_it_is_any_sixty_seconds(flood: Flood) -> None:
    """Not the minutes of a clock, at whose border twice as many would fit."""
    for _ in range(WRITES - 1):
        assert (await flood.comment(flood.theirs)).status_code == 201
    await flood.age(30)
    statuses = [(await flood.comment(flood.theirs)).status_code for _ in range(2)]
    assert statuses == [201, 429]
    await flood.age(31)
    statuses = [(await flood.comment(flood.theirs)).status_code for _ in range(WRITES)]
    assert statuses == [201] * (WRITES - 1) + [429]


async def test_all_tokens_of_a_customer_count_together_in_every_process(flood: Flood) -> None:
    service = flood.service
    settings, policies = service.app.state.settings, service.policies
    app = create_app(settings, policies=policies, database=service.database)
    another = replace(service, app=app)
    token = await service.token(*SCOPES_OF_A_CUSTOMER, customer_id=flood.staff.id)
    async with another.client(token) as second:
        statuses = [
            (await flood.comment(client)).status_code for client in (flood.theirs, second) * WRITES
        ]
    assert statuses == [201] * WRITES + [429] * WRITES


async def test_staff_and_other_customers_are_not_limited(flood: Flood) -> None:
    while (await flood.comment(flood.theirs)).status_code == 201:
        pass
    for _ in range(WRITES + 1):
        assert (await flood.comment(flood.staff.client)).status_code == 201
    other = await Customer.new(flood.staff.client, flood.staff.today)
    await other.pack()
    async with await flood.service.client_with("cases:write", customer_id=other.id) as others:
        other.client = others
        await other.open()


async def test_at_once_no_more_get_through(flood: Flood) -> None:
    answers = await asyncio.gather(*(flood.comment(flood.theirs) for _ in range(3 * WRITES)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * WRITES + [429] * 2 * WRITES


_REFUSED: dict[str, tuple[int, str, Any]] = {
    "unknown field": (422, "/v1/cases", {"nothing": 1}),
    "no such case": (404, "/v1/cases/nothing/comments", {"body": "x"}),
    "unknown parameter": (422, "/v1/cases?nothing=1", {}),
    "nothing pays": (409, "/v1/cases", {"pay_with": "contract"}),
}


@pytest.mark.parametrize("kind", _REFUSED)
async def test_refused_writes_count(flood: Flood, kind: str) -> None:
    status, path, fields = _REFUSED[kind]
    body = fields
    if kind == "nothing pays":
        requester = {"requester": {"name": "Plant engineer"}}
        body = {**requester, "subject": "Blank", "description": "Blank.", **fields}
    statuses = [(await flood.theirs.post(path, json=body)).status_code for _ in range(WRITES + 1)]
    assert statuses == [status] * WRITES + [429]


async def test_a_replayed_answer_does_not_count(flood: Flood) -> None:
    key = {"Idempotency-Key": secrets.token_hex()}
    first = await flood.comment(flood.theirs, **key)
    for _ in range(WRITES + 2):
        again = await flood.comment(flood.theirs, **key)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
    for _ in range(WRITES - 1):
        assert (await flood.comment(flood.theirs)).status_code == 201
    assert (await flood.comment(flood.theirs)).status_code == 429
    # Within a second, that is answered without the database; then the stored answer is found.
    assert (await flood.comment(flood.theirs, **key)).status_code == 429
    flood.service.app.state.bound_writes.forget_refusals()
    assert (await flood.comment(flood.theirs, **key)).status_code == 201
    # Another request with the same key is not taken for a repetition.
    path = f"/v1/cases/{flood.case['id']}/comments"
    assert (await flood.theirs.post(path, json={"body": "x"}, headers=key)).status_code == 429


async def test_a_refused_write_is_not_parsed(flood: Flood, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new Idempotency-Key is counted before its body is parsed, so that the limit bounds what
    parsing costs."""
    parsed: list[bytes] = []
    canonical = idempotency._canonical

    def watched(body: bytes) -> bytes:
        parsed.append(body)
        return canonical(body)

    monkeypatch.setattr(idempotency, "_canonical", watched)
    body = {"nothing": [1] * 20_000}
    for wanted in [422] * WRITES + [429] * 3:
        key = {"Idempotency-Key": secrets.token_hex()}
        answer = await flood.theirs.post("/v1/cases", json=body, headers=key)
        assert answer.status_code == wanted
    assert len(parsed) == WRITES


async def test_a_stored_key_with_a_large_body_is_not_parsed(
    flood: Flood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat is known by its bytes; anything else is counted before it is parsed."""
    parsed: list[bytes] = []
    canonical = idempotency._canonical

    def watched(body: bytes) -> bytes:
        parsed.append(body)
        return canonical(body)

    monkeypatch.setattr(idempotency, "_canonical", watched)
    path = f"/v1/cases/{flood.case['id']}/comments"
    key = {"Idempotency-Key": secrets.token_hex()}
    large = {"body": "ü" * 10_000}

    async def send(body: dict[str, Any], *, spaced: bool = False) -> httpx.Response:
        content = json.dumps(body, indent=1 if spaced else None, ensure_ascii=False)
        headers = {"Content-Type": "application/json", **key}
        return await flood.theirs.post(path, content=content.encode(), headers=headers)

    first = await made(await send(large))
    assert len(parsed) == 1
    for _ in range(WRITES + 1):
        again = await send(large)
        assert (again.json(), again.headers["Idempotent-Replayed"]) == (first, "true")
    assert len(parsed) == 1
    # Equal as JSON, but not to the byte: counted and parsed, and answered the same.
    again = await send(large, spaced=True)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first, "true")
    for _ in range(WRITES - 2):
        refused(await send({"body": "u" * 20_000}), "idempotency_key_reused", 422)
    assert len(parsed) == WRITES
    for _ in range(3):
        refused(await send({"body": "u" * 20_000}), "too_many_requests", 429)
    assert len(parsed) == WRITES


async def test_a_flood_keeps_no_writer_of_the_staff_waiting(flood: Flood) -> None:
    """While a write of the customer is being counted."""
    await flood.comment(flood.theirs)
    holder = await asyncpg.connect(flood.service.admin_url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM bound_writes FOR UPDATE")
            waiting = asyncio.create_task(flood.comment(flood.theirs))
            done, _ = await asyncio.wait([waiting], timeout=0.5)
            assert not done
            async with asyncio.timeout(2):
                assert (await flood.comment(flood.staff.client)).status_code == 201
                await flood.staff.work(flood.case, 5)
        assert (await waiting).status_code == 201
    finally:
        await holder.close()


async def test_a_flood_holds_few_connections_of_the_other_customers(flood: Flood) -> None:
    """All of a customer's tokens together, while its counter is locked."""
    service = flood.service
    token = await service.token(*SCOPES_OF_A_CUSTOMER, customer_id=flood.staff.id)
    holder = await asyncpg.connect(service.admin_url)
    async with service.client(token) as second:
        for client in (flood.theirs, second):
            assert (await flood.comment(client)).status_code == 201
        try:
            async with holder.transaction():
                await holder.execute("SELECT FROM bound_writes FOR UPDATE")
                waiting = [
                    asyncio.create_task(flood.comment(client))
                    for client in (flood.theirs, second) * WRITES
                ]
                done, _ = await asyncio.wait(waiting, timeout=0.5)
                assert service.database.pools()["bound"].in_use == AT_ONCE
                # More than the quota need not wait to be refused.
                assert [one.result().status_code for one in done] == [429] * (WRITES - AT_ONCE)
                assert {one.result().headers["Retry-After"] for one in done} == {"1"}
        finally:
            await holder.close()
        answers = await asyncio.gather(*waiting)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * (WRITES - 2) + [429] * (WRITES + 2)


async def test_a_refusal_is_repeated_without_the_database(
    flood: Flood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the token that was refused, and for no longer than a second."""
    while (await flood.comment(flood.theirs)).status_code == 201:
        pass
    asked: list[str] = []

    async def watched(connection: Any, token: str, *of: Any) -> Caller:
        asked.append(token)
        return await authenticate(connection, token, *of)

    monkeypatch.setattr("app.http.routes.authenticate", watched)
    for _ in range(3):
        refused(await flood.comment(flood.theirs), "too_many_requests", 429)
    assert asked == []
    async with flood.service.client(new_token(True)[0]) as made_up:
        for _ in range(2):
            assert (await flood.comment(made_up)).status_code == 401
    assert len(asked) == 2
    later = monotonic() + 1
    monkeypatch.setattr("app.http.bound_writes.monotonic", lambda: later)
    refused(await flood.comment(flood.theirs), "too_many_requests", 429)
    assert len(asked) == 3


async def test_a_revoked_token_is_told_so(flood: Flood) -> None:
    assert (await flood.comment(flood.theirs)).status_code == 201
    await flood.run("UPDATE tokens SET revoked_at = now() WHERE customer_id = $1", flood.staff.id)
    for _ in range(2):
        assert (await flood.comment(flood.theirs)).status_code == 401


async def test_the_bound_role_cannot_change_what_is_counted(flood: Flood) -> None:
    service = flood.service
    url = service.server.url(service.database_name, service.server.login)
    serving = await asyncpg.connect(url, server_settings={"role": "assistenza_bound"})
    try:
        for command in (
            "SELECT * FROM bound_writes",
            "UPDATE bound_writes SET written_at = '{}'",
            "DELETE FROM bound_writes",
            "DELETE FROM refusals",
            "UPDATE refusals SET first_at = now()",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await serving.execute(command)
    finally:
        await serving.close()


# --- open cases -------------------------------------------------------------------------------


async def try_open(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    body = {
        "requester": {"name": "Plant engineer"},
        "subject": "Screen stays blank",
        "description": "After the start the screen stays blank.",
        **fields,
    }
    return await client.post("/v1/cases", json=body)


async def test_a_customer_opens_so_many_cases_itself(flood: Flood) -> None:
    """Its open cases count whoever opened them; staff open more."""
    opened = [await made(await try_open(flood.theirs)) for _ in range(OPEN - 1)]
    problem = refused(await try_open(flood.theirs), "too_many_open_cases")
    assert str(OPEN) in problem["detail"]
    await flood.staff.close(await flood.staff.open())
    await flood.age(60)
    refused(await try_open(flood.theirs), "too_many_open_cases")
    assert "case.refused" not in [
        type_ for type_, _ in await recorded(flood.service, flood.staff.id)
    ]
    await flood.staff.close(opened[0])
    await made(await try_open(flood.theirs))
    refused(await try_open(flood.theirs), "too_many_open_cases")


async def test_at_once_no_more_cases_are_opened(
    new_service: Callable[..., Awaitable[Service]],
) -> None:
    service = await new_service(bound_open_cases=OPEN)
    async with await service.client_with(*SCOPES) as client:
        customer = await Customer.new(client, service.today())
        await customer.pack(20)
        async with await service.client_with("cases:write", customer_id=customer.id) as theirs:
            answers = await asyncio.gather(*(try_open(theirs) for _ in range(9)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] * OPEN + [409] * (9 - OPEN)


# --- refusals ---------------------------------------------------------------------------------

_DECISIONS = """
    SELECT e.id, e.data->>'channel' AS channel, r.count FROM events e
    LEFT JOIN refusals r ON r.event_id = e.id
    WHERE e.customer_id = $1 AND e.type = 'case.refused' ORDER BY e.id"""


async def test_equal_refusals_within_an_hour_are_one_decision_with_a_count(flood: Flood) -> None:
    """R33."""

    async def decisions() -> list[tuple[str, int | None]]:
        rows = await flood.run(_DECISIONS, flood.staff.id)
        return [(row["channel"], row["count"]) for row in rows]

    async def refuse(client: httpx.AsyncClient, times: int, **fields: Any) -> None:
        for _ in range(times):
            await flood.age(60)
            refused(
                await try_open(client, customer_id=flood.staff.id, pay_with="contract", **fields),
                "not_entitled",
            )

    await refuse(flood.theirs, 3, channel="phone")
    assert await decisions() == [("phone", 3)]
    token = await flood.service.token("cases:write", customer_id=flood.staff.id)
    async with flood.service.client(token) as second:
        await refuse(second, 1, channel="phone")
    assert await decisions() == [("phone", 4)]
    await refuse(flood.theirs, 2, channel="email")
    assert await decisions() == [("phone", 4), ("email", 2)]
    # What staff asked is kept each time.
    await refuse(flood.staff.client, 2, channel="phone")
    assert await decisions() == [("phone", 4), ("email", 2), ("phone", None), ("phone", None)]
    # Other reasons are another decision.
    await flood.staff.licence(days=-800)
    await flood.staff.contract(included_minutes=5)
    await flood.staff.work(await flood.staff.open(pay_with="contract"), 5)
    await refuse(flood.theirs, 1, channel="phone", serial_number=flood.staff.serials[0])
    assert (await decisions())[4:] == [("phone", 1)]
    # And so is the next hour.
    await flood.run("UPDATE refusals SET first_at = first_at - interval '59 minutes 50 seconds'")
    await refuse(flood.theirs, 1, channel="phone", serial_number=flood.staff.serials[0])
    assert (await decisions())[4:] == [("phone", 2)]
    await flood.run("UPDATE refusals SET first_at = first_at - interval '10 seconds'")
    await refuse(flood.theirs, 2, channel="phone", serial_number=flood.staff.serials[0])
    assert (await decisions())[4:] == [("phone", 2), ("phone", 2)]


async def test_equal_refusals_at_once_are_one_decision(
    new_service: Callable[..., Awaitable[Service]],
) -> None:
    service = await new_service()
    async with await service.client_with(*SCOPES) as client:
        customer = await Customer.new(client, service.today())
        async with await service.client_with("cases:write", customer_id=customer.id) as theirs:
            answers = await asyncio.gather(*(try_open(theirs) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {409}
    rows = await service.server.run_in(service.database_name, _DECISIONS, customer.id)
    assert [row["count"] for row in rows] == [12]


def test_the_limits_are_those_of_the_contract(small: Service) -> None:
    fields = type(small.app.state.settings).model_fields
    assert fields["bound_open_cases"].default == 20
    assert fields["bound_writes_per_minute"].default == 30
