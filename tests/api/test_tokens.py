"""Tokens bound to a customer: issued for the reserved area, walled in twice."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import ColumnElement, text, true

from app import clock
from app.jobs import housekeeping
from app.services import idempotency, tokens, visibility
from app.services.tokens import BOUND_PREFIX, BOUND_SCOPES, LINK_PREFIX, SCOPES
from app.services.unit_of_work import Caller
from tests.api.build import Customer, made
from tests.conftest import Service


async def issue(
    client: httpx.AsyncClient, customer: Customer, *scopes: str, status: int = 201, **more: int
) -> dict[str, str]:
    body = {"scopes": list(scopes), **more}
    answer = await client.post(f"/v1/customers/{customer.id}/tokens", json=body)
    issued: dict[str, str] = await made(answer, status)
    return issued


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    customer = await Customer.new(client, today)
    await customer.licence(days=-40)
    await customer.contract(days=-20)
    return customer


async def test_an_issued_token_shows_its_customer(
    service: Service, client: httpx.AsyncClient, customer: Customer
) -> None:
    answer = await client.post(
        f"/v1/customers/{customer.code}/tokens",
        json={"scopes": ["entitlements:read", "cases:write"], "expires_in_seconds": 60},
    )
    issued = await made(answer)
    assert issued["token"].startswith(BOUND_PREFIX)
    left = datetime.fromisoformat(issued["expires_at"]) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=60)
    about = await made(await client.get(answer.headers["location"]), 200)
    assert "token" not in about
    async with service.client(issued["token"]) as bound:
        params = {"customer_id": customer.id}
        seen = await made(await bound.get("/v1/entitlements", params=params), 200)
        assert seen == {**await customer.entitlements(), "at": seen["at"]}
        case = await bound.post(
            "/v1/cases",
            json={
                "requester": {"name": "Plant engineer"},
                "subject": "Alarm list empty",
                "description": "The alarm list stays empty.",
                "serial_number": customer.serials[0],
            },
        )
        assert (await made(case))["customer_id"] == customer.id
        refused = await bound.get("/v1/cases")
        assert refused.status_code == 403


async def test_no_more_than_the_issuer_may_and_a_customer_can(
    service: Service, client: httpx.AsyncClient, customer: Customer
) -> None:
    for scope in SCOPES - BOUND_SCOPES:
        problem = await issue(client, customer, scope, status=422)
        assert problem["code"] == "invalid_input"
    async with await service.client_with("tokens:issue", "usage:read") as website:
        await issue(website, customer, "usage:read")
        problem = await issue(website, customer, "usage:read", "cases:read", status=403)
        assert problem["code"] == "insufficient_scope"
    await issue(client, customer, "usage:read", status=422, expires_in_seconds=3601)


async def test_a_secret_is_never_told_twice(client: httpx.AsyncClient, customer: Customer) -> None:
    headers = {"Idempotency-Key": f"issue-{customer.code}"}
    body = {"scopes": ["usage:read"]}
    url = f"/v1/customers/{customer.id}/tokens"
    await made(await client.post(url, json=body, headers=headers))
    again = await made(await client.post(url, json=body, headers=headers), 409)
    assert again["code"] == "secret_already_issued"


async def test_the_second_wall_stands_without_the_first(
    service: Service,
    client: httpx.AsyncClient,
    customer: Customer,
    today: date,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R38: with every check of ours taken away the database still shows one customer alone."""
    other = await Customer.new(client, today)
    licence = await other.licence(days=-40)
    contract = await other.contract(days=-20)
    pack = await other.pack()
    case = await other.open()
    entry = await other.work(case, 5)
    paths = [
        f"/v1/customers/{other.id}",
        f"/v1/licences/{licence['id']}",
        f"/v1/contracts/{contract['id']}",
        f"/v1/ticket-packs/{pack['id']}",
        f"/v1/cases/{case['id']}",
        f"/v1/cases/{case['number']}/timeline",
        f"/v1/cases/{case['id']}/time-entries/{entry['id']}",
        f"/v1/customers/{other.code}/usage",
        f"/v1/customers/{other.id}/statement?from=2026-01-01&to=2027-01-01",
    ]
    lists = ["/v1/customers", "/v1/licences", "/v1/contracts", "/v1/ticket-packs", "/v1/cases"]
    for path in paths + lists:
        assert (await client.get(path)).status_code == 200, path

    def everything(*_: object) -> ColumnElement[bool]:
        return true()

    monkeypatch.setattr(visibility, "within", everything)
    monkeypatch.setattr(Caller, "sees", lambda self, customer_id: True)
    async with await service.client_with(*BOUND_SCOPES, customer_id=customer.id) as bound:
        for path in paths:
            assert (await bound.get(path)).status_code == 404, path
        for path in lists:
            items = (await made(await bound.get(path), 200))["items"]
            assert all(item.get("customer_id", item["id"]) == customer.id for item in items)
        refused = await bound.post(
            "/v1/cases",
            json={
                "customer_id": other.id,
                "requester": {"name": "Plant engineer"},
                "subject": "Not mine",
                "description": "Not mine.",
                "serial_number": licence["serial_number"],
            },
        )
        assert refused.status_code == 404, refused.text
    monkeypatch.undo()
    assert (await client.get(f"/v1/cases?customer_id={other.id}")).json()["items"][0] == (
        await other.case(case["id"])
    )


async def test_the_bound_role_sees_nothing_before_a_token_is_admitted(
    service: Service, customer: Customer
) -> None:
    async with service.database.bound.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM customers")) == 0
        for statement in (
            "SELECT * FROM tokens",
            "UPDATE customers SET name = 'x'",
            "DELETE FROM ledger",
            "INSERT INTO licences DEFAULT VALUES",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(Exception, match="permission denied"):
                async with (
                    connection.begin_nested()
                    if connection.in_transaction()
                    else (connection.begin())
                ):
                    await connection.execute(text(statement))


async def test_last_use_is_written_in_the_background(service: Service, customer: Customer) -> None:
    token = await service.token("entitlements:read", name="seldom")
    async with service.client(token) as client:
        await client.get("/v1/entitlements", params={"customer_id": customer.id})
    keeping: housekeeping.Housekeeping = service.app.state.housekeeping
    await keeping.tidy(service.database)
    async with service.database.reading.connect() as connection:
        query = text("SELECT last_used_at FROM tokens WHERE name = 'seldom'")
        used: datetime = (await connection.execute(query)).scalar_one()
    assert datetime.now(UTC) - used < timedelta(seconds=30)


async def test_a_lost_connection_delays_nothing(service: Service, customer: Customer) -> None:
    """The database restarted since the last time, half a minute ago or at the end."""
    token = await service.token("entitlements:read", name="restarted")
    async with service.client(token) as client:
        await client.get("/v1/entitlements", params={"customer_id": customer.id})
    async with service.database.operations.connect() as connection:
        lost = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    async with service.database.reading.connect() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:lost, 5000)"), {"lost": lost})
    await service.app.state.housekeeping.tidy(service.database)
    async with service.database.reading.connect() as connection:
        query = text("SELECT last_used_at FROM tokens WHERE name = 'restarted'")
        assert (await connection.execute(query)).scalar_one() is not None


async def test_a_task_that_fails_undoes_no_other(
    service: Service, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise TimeoutError

    token = await service.token("entitlements:read", name="often")
    async with service.client(token) as client:
        await client.get("/v1/entitlements", params={"customer_id": customer.id})
    keeping: housekeeping.Housekeeping = service.app.state.housekeeping
    monkeypatch.setattr(idempotency, "forget", fails)
    monkeypatch.setattr(keeping, "_forgot_at", None)
    await keeping.tidy(service.database)
    async with service.database.reading.connect() as connection:
        query = text("SELECT last_used_at FROM tokens WHERE name = 'often'")
        assert (await connection.execute(query)).scalar_one() is not None
    assert keeping._forgot_at is None


async def test_old_keys_are_deleted_some_at_a_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 2)
    then = datetime(2001, 1, 1, tzinfo=UTC)
    async with service.database.writing.begin() as connection:
        await connection.execute(
            text("""INSERT INTO idempotency_keys
                    (client, key, fingerprint, status, headers, created_at)
                SELECT 'old', n::text, '', 200, '{}'::jsonb, :then FROM generate_series(1, 3) n"""),
            {"then": then},
        )
        until = then + timedelta(days=1)
        assert not await idempotency.forget(connection, until)
        assert await idempotency.forget(connection, until)
        query = text("SELECT count(*) FROM idempotency_keys WHERE client = 'old'")
        assert (await connection.execute(query)).scalar_one() == 0


async def test_revocation_is_effective_at_once(service: Service, customer: Customer) -> None:
    token = await service.token("entitlements:read", name="short")
    params = {"customer_id": customer.id}
    async with service.client(token) as client:
        assert (await client.get("/v1/entitlements", params=params)).status_code == 200
        async with service.database.writing.begin() as connection:
            await connection.execute(
                text("UPDATE tokens SET revoked_at = now() WHERE name = 'short'")
            )
        assert (await client.get("/v1/entitlements", params=params)).status_code == 401


def test_ids_are_ids(customer: Customer) -> None:
    assert UUID(customer.id).version == 7


async def link_of(client: httpx.AsyncClient, customer: Customer, **more: int) -> str:
    """The code of a new sign-in link."""
    issued = await issue(client, customer, "entitlements:read", "usage:read", **more)
    address, _, code = issued["url"].rpartition("/")
    assert address == "http://test/area/enter"
    assert code.startswith(LINK_PREFIX)
    assert issued["token"] not in issued["url"]
    return code


async def redeem(service: Service, code: str) -> httpx.Response:
    async with service.client(None) as stranger:
        return await stranger.post("/v1/sign-in-links/redemption", json={"code": code})


async def test_a_link_gives_a_token_once_also_to_two_at_the_same_moment(
    service: Service, client: httpx.AsyncClient, customer: Customer
) -> None:
    code = await link_of(client, customer)
    answers = await asyncio.gather(*(redeem(service, code) for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [200, *[410] * 7]
    given = next(one.json() for one in answers if one.status_code == 200)
    assert given["customer_id"] == customer.id
    assert given["scopes"] == ["entitlements:read", "usage:read"]
    async with service.client(given["token"]) as bound:
        own = await made(await bound.get("/v1/token"), 200)
        assert own["customer"] == {
            "id": customer.id,
            "code": customer.code,
            "name": own["customer"]["name"],
            "language": "it",
        }
        assert (await bound.get(f"/v1/customers/{customer.id}/usage")).status_code == 200
    assert (await redeem(service, code)).json()["code"] == "link_expired"


async def test_what_is_no_link_gives_nothing(
    service: Service, client: httpx.AsyncClient, customer: Customer
) -> None:
    code = await link_of(client, customer)
    issued = await issue(client, customer, "usage:read")
    # The code is not accepted as a token, although its hash is stored like one, nor a token as a
    # code.
    async with service.client(code) as stranger:
        assert (await stranger.get("/v1/service-matrix")).status_code == 401
    for wrong in (issued["token"], code[:-1], LINK_PREFIX, "x", code.replace(LINK_PREFIX, "")):
        assert (await redeem(service, wrong)).status_code == 410, wrong
    async with service.client(issued["token"]) as bound:
        assert (await bound.get(f"/v1/customers/{customer.id}/usage")).status_code == 200
    assert (await redeem(service, "")).status_code == 422
    assert (await redeem(service, code)).status_code == 200


async def test_a_link_ends_with_its_time_and_with_who_made_it(
    service: Service,
    client: httpx.AsyncClient,
    customer: Customer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = await link_of(client, customer, expires_in_seconds=60)
    later = clock.now() + timedelta(seconds=61)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: later)
        assert (await redeem(service, short)).status_code == 410
    async with await service.client_with("tokens:issue", *BOUND_SCOPES, name="portal") as portal:
        unused, used = await link_of(portal, customer), await link_of(portal, customer)
        token = (await made(await redeem(service, used), 200))["token"]
    async with service.database.writing.begin() as connection:
        await tokens.revoke(connection, clock.now(), "portal")
    assert (await redeem(service, unused)).status_code == 410
    async with service.client(token) as bound:
        assert (await bound.get("/v1/token")).status_code == 401


async def test_there_is_no_link_where_there_are_no_pages(
    new_service: Callable[..., Awaitable[Service]],
) -> None:
    service = await new_service(pages=False)
    async with await service.client_with(*SCOPES) as client:
        customer = await Customer.new(client, service.today())
        assert (await issue(client, customer, "usage:read"))["url"] is None
    other = await new_service(public_url="https://support.example.com/help/")
    async with await other.client_with(*SCOPES) as client:
        customer = await Customer.new(client, other.today())
        url = (await issue(client, customer, "usage:read"))["url"]
        assert url.startswith("https://support.example.com/help/area/enter/")
