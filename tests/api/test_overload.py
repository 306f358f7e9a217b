"""Too much at once, and a database that fails: 503 in bounded time, and all is well afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from app.jobs import housekeeping
from app.main import create_app
from app.policy.document import Policies
from app.services import tokens
from app.settings import Settings, least_connections
from app.store.database import Database
from tests.api.build import Customer, unique
from tests.conftest import Server, Service
from tests.line import Line, line_to, through

POOL, LOCK, STATEMENT, LONGEST = 0.3, 0.5, 1.5, 4.0
# A busy machine is slow; what waits without a limit waits for ever.
MARGIN = 5.0


@pytest.fixture(scope="module")
async def line(server: Server) -> AsyncIterator[tuple[Line, int]]:
    async with line_to(make_url(server.admin_url)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def service(
    server: Server,
    new_database: Callable[[], Awaitable[str]],
    policies: Policies,
    line: tuple[Line, int],
) -> AsyncIterator[Service]:
    """With short deadlines, one connection of each kind, and a line that can be cut."""
    name = await new_database()
    url = through(make_url(server.url(name, server.login)), line[1])
    settings = Settings(
        database_url=url.render_as_string(hide_password=False),
        connections=least_connections(1, background_process=False),
        background_process=False,
        pool_timeout=POOL,
        connect_timeout=1.0,
        lock_timeout_ms=int(LOCK * 1000),
        statement_timeout_ms=int(STATEMENT * 1000),
        request_timeout=LONGEST,
    )
    database = Database(settings)
    app = create_app(settings, policies=policies, database=database)
    yield Service(app, database, server, name, policies)
    await database.close()


@pytest.fixture(autouse=True)
async def well_afterwards(client: httpx.AsyncClient, line: tuple[Line, int]) -> AsyncIterator[None]:
    yield
    line[0].dead = False
    for path in ("/readyz", "/v1/help-desks", "/v1/customers"):
        for _ in range(50):
            answer = await client.get(path)
            if answer.status_code == 200:
                break
            await asyncio.sleep(0.05)
        assert answer.status_code == 200, answer.text


async def timed(asked: Awaitable[httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = await asked
    return answer, time.monotonic() - began


def unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "service_unavailable"


async def alive(client: httpx.AsyncClient) -> None:
    answer, took = await timed(client.get("/livez"))
    assert answer.status_code == 200
    assert took < MARGIN


def new_customer() -> dict[str, str]:
    return {"code": unique("O"), "name": "Overload", "country": "IT"}


@asynccontextmanager
async def locked(service: Service, customer: Customer) -> AsyncIterator[None]:
    """Somebody else holds the customer's row."""
    other = await asyncpg.connect(service.admin_url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM customers WHERE id = $1 FOR UPDATE", customer.id)
            yield
    finally:
        await other.close()


async def test_a_row_that_stays_locked(
    client: httpx.AsyncClient, service: Service, customer: Customer
) -> None:
    async with locked(service, customer):
        change = client.patch(f"/v1/customers/{customer.id}", json={"name": "Changed"})
        answer, took = await timed(change)
        unavailable(answer)
        assert LOCK <= took < LOCK + MARGIN
    answer = await client.patch(f"/v1/customers/{customer.id}", json={"name": "Changed"})
    assert answer.json()["name"] == "Changed"


async def test_a_pool_that_is_used_up(client: httpx.AsyncClient, service: Service) -> None:
    async with service.database.reading.connect(), service.database.writing.connect():
        for asked in (
            client.get("/v1/customers"),
            client.post("/v1/customers", json=new_customer()),
        ):
            answer, took = await timed(asked)
            unavailable(answer)
            assert POOL <= took < POOL + MARGIN
            await alive(client)
        # A service that is busy is ready all the same; its others can be no less busy.
        assert (await client.get("/readyz")).status_code == 200


async def test_a_crowd_is_served_or_refused(client: httpx.AsyncClient, service: Service) -> None:
    async with service.database.reading.connect():
        crowd = asyncio.gather(*(timed(client.get("/v1/customers")) for _ in range(100)))
        await asyncio.sleep(POOL / 4)
        await alive(client)
        for answer, took in await crowd:
            unavailable(answer)
            assert took < POOL + MARGIN


async def test_a_statement_that_is_too_slow(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = text(
        f"SELECT id, name, scopes, customer_id FROM tokens, pg_sleep(60) WHERE {tokens.IS_VALID}"
    )
    with monkeypatch.context() as patched:
        patched.setattr(tokens, "_FIND", slow)
        for asked in (
            client.get("/v1/customers"),
            client.post("/v1/customers", json=new_customer()),
        ):
            answer, took = await timed(asked)
            unavailable(answer)
            assert STATEMENT <= took < STATEMENT + MARGIN
    assert (await client.post("/v1/customers", json=new_customer())).status_code == 201


async def test_a_line_that_breaks_between_two_requests_is_not_noticed(
    client: httpx.AsyncClient, service: Service, line: tuple[Line, int]
) -> None:
    # Pooled connections of every kind, all of them dead by now.
    id_ = await one(client)
    bound = await service.client_with(
        "customers:read", "cases:write", "entitlements:read", customer_id=id_
    )
    asked = {"customer_id": id_}
    async with bound:
        for _ in range(2):
            assert (await client.get("/v1/customers")).status_code == 200
            assert (await client.post("/v1/customers", json=new_customer())).status_code == 201
            for somebody in (client, bound):
                assert (await somebody.get("/v1/customers")).status_code == 200
                answer = await somebody.get("/v1/entitlements", params=asked)
                assert answer.status_code == 200
            assert (await bound.post("/v1/cases", json={})).status_code == 422
            line[0].cut()
            await asyncio.sleep(0.02)


async def one(client: httpx.AsyncClient) -> str:
    id_: str = (await client.post("/v1/customers", json=new_customer())).json()["id"]
    return id_


async def test_a_database_that_ended_our_sessions_is_not_noticed(
    client: httpx.AsyncClient, service: Service
) -> None:
    assert (await client.post("/v1/customers", json=new_customer())).status_code == 201
    await service.server.run_in(
        service.database_name,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert (await client.post("/v1/customers", json=new_customer())).status_code == 201
    assert (await client.get("/v1/customers")).status_code == 200


async def test_a_line_that_breaks_under_a_statement(
    client: httpx.AsyncClient, line: tuple[Line, int]
) -> None:
    body = new_customer()
    line[0].cut_before = lambda piece: body["code"].encode() in piece
    unavailable(await client.post("/v1/customers", json=body))
    assert (await client.post("/v1/customers", json=body)).status_code == 201


async def test_a_database_that_refuses(client: httpx.AsyncClient, line: tuple[Line, int]) -> None:
    await line[0].close()
    try:
        for asked in (
            client.get("/v1/customers"),
            client.get("/v1/help-desks"),
            client.post("/v1/customers", json=new_customer()),
            client.get("/readyz"),
        ):
            answer, took = await timed(asked)
            unavailable(answer)
            assert took < MARGIN
        await alive(client)
    finally:
        await line[0].open()


@pytest.mark.parametrize(
    ("away", "back"),
    [
        ("ALTER DATABASE {} ALLOW_CONNECTIONS false", "ALTER DATABASE {} ALLOW_CONNECTIONS true"),
        ("ALTER DATABASE {} CONNECTION LIMIT 0", "ALTER DATABASE {} CONNECTION LIMIT -1"),
        ("ALTER ROLE {login} NOLOGIN", "ALTER ROLE {login} LOGIN"),
        ("ALTER ROLE {login} PASSWORD 'another'", "ALTER ROLE {login} PASSWORD '{password}'"),
    ],
)
async def test_a_database_that_lets_nobody_in(
    client: httpx.AsyncClient, service: Service, line: tuple[Line, int], away: str, back: str
) -> None:
    names = {"login": service.server.login, "password": service.server.password}
    if "PASSWORD" in away and not await asks_for_passwords(service):
        pytest.skip("the server that was given lets its roles in without a password")
    await service.server.run(away.format(service.database_name, **names))
    try:
        line[0].cut()
        unavailable(await client.get("/v1/customers"))
        unavailable(await client.post("/v1/customers", json=new_customer()))
        unavailable(await client.get("/readyz"))
    finally:
        await service.server.run(back.format(service.database_name, **names))


async def asks_for_passwords(service: Service) -> bool:
    url = make_url(service.server.url(service.database_name, service.server.login))
    wrong = url.set(password="wrong").render_as_string(hide_password=False)
    try:
        await (await asyncpg.connect(wrong)).close()
    except asyncpg.InvalidPasswordError:
        return True
    return False


async def test_a_database_that_vanishes(client: httpx.AsyncClient, line: tuple[Line, int]) -> None:
    # No timeout of the server's can help: nothing comes back.
    assert (await client.post("/v1/customers", json=new_customer())).status_code == 201
    line[0].dead = True
    asked = (client.get("/v1/customers"), client.post("/v1/customers", json=new_customer()))
    answers = asyncio.gather(*map(timed, asked))
    await asyncio.sleep(POOL)
    await alive(client)
    unavailable(await client.get("/readyz"))
    for answer, took in await answers:
        unavailable(answer)
        # Ending a connection in good order is given two seconds more.
        assert took < LONGEST + 2 + MARGIN


async def test_connections_that_die_silently_cost_one_wait(
    client: httpx.AsyncClient, service: Service, line: tuple[Line, int]
) -> None:
    # As when a server is replaced behind its address: what is sent on the old connections is
    # acknowledged and never answered, new connections are served.
    id_ = await one(client)
    bound = await service.client_with(
        "customers:read", "cases:write", "entitlements:read", customer_id=id_
    )
    asked = {"customer_id": id_}

    async def ask_everything() -> list[int]:
        answers = [
            await client.get("/v1/customers"),
            await client.post("/v1/customers", json=new_customer()),
            await client.get("/v1/entitlements", params=asked),
            await client.get("/readyz"),
            await bound.get("/v1/customers"),
            await bound.get("/v1/entitlements", params=asked),
            await bound.post("/v1/cases", json={}),
        ]
        return [answer.status_code for answer in answers]

    well = [200, 201, 200, 200, 200, 200, 422]
    async with bound:
        assert await ask_everything() == well
        line[0].freeze()
        began = time.monotonic()
        answers = []
        while (now := await ask_everything()) != well:
            answers += now
        took = time.monotonic() - began
    assert set(answers) <= {200, 201, 422, 503}
    assert STATEMENT < took < 2 * STATEMENT + MARGIN, took


async def test_requests_under_way_do_not_wait_for_a_silent_server_one_by_one(
    client: httpx.AsyncClient, line: tuple[Line, int]
) -> None:
    # A connection in each pool.
    id_ = await one(client)
    await client.get("/v1/entitlements", params={"customer_id": id_})
    line[0].freeze()
    first = asyncio.create_task(timed(client.get("/v1/customers")))
    await asyncio.sleep(STATEMENT - 0.2)
    later = asyncio.gather(
        timed(client.post("/v1/customers", json=new_customer())),
        timed(client.get("/v1/entitlements", params={"customer_id": id_})),
    )
    await first
    for _, took in await later:
        # Sooner than their own limit.
        assert took < STATEMENT + 0.5, took


async def test_the_service_ends_without_its_database(
    service: Service, line: tuple[Line, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_LONGEST_SECONDS", 0.3)
    monkeypatch.setattr("app.store.database._CLOSING_SECONDS", 0.3)
    app = create_app(service.app.state.settings, policies=service.policies)
    began = time.monotonic()
    async with app.router.lifespan_context(app):
        async with app.state.database.reading.connect() as connection:
            await connection.execute(text("SELECT 1"))
        line[0].dead = True
        began = time.monotonic()
    assert time.monotonic() - began < 5 * 0.3 + 2 + MARGIN


@pytest.mark.parametrize("done", [True, False])
async def test_nobody_knows_whether_it_was_committed(
    client: httpx.AsyncClient, line: tuple[Line, int], done: bool
) -> None:
    def commits(piece: bytes) -> bool:
        return b"COMMIT" in piece

    body, key = new_customer(), {"Idempotency-Key": unique("K")}
    # The one connection is there already: connecting commits nothing.
    assert (await client.post("/v1/customers", json=new_customer())).status_code == 201
    if done:
        line[0].cut_after = commits
    else:
        line[0].cut_before = commits
    unavailable(await client.post("/v1/customers", json=body, headers=key))
    again = await client.post("/v1/customers", json=body, headers=key)
    assert again.status_code == 201, again.text
    assert ("idempotent-replayed" in again.headers) is done
    found = await client.get("/v1/customers", params={"q": body["code"]})
    assert len(found.json()["items"]) == 1


async def test_the_log_says_what_was_unavailable(
    client: httpx.AsyncClient, service: Service, customer: Customer
) -> None:
    async with locked(service, customer):
        with capture_logs() as lines:
            await client.patch(f"/v1/customers/{customer.id}", json={"name": "Changed"})
    said = {line["event"]: line for line in lines}
    assert said["unavailable"]["error"] == "LockNotAvailableError"
    assert said["request"]["problem"] == "service_unavailable"
