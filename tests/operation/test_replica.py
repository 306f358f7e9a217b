"""Reads from a replica: a caller sees its own writes, nobody sees what is too old, none fails.

The long test makes a hundred pairs of a write and a read for each second of
`ASSISTENZA_LONG_SECONDS` (10,000 by default).
"""

import asyncio
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.services.tokens import BOUND_SCOPES
from app.store.replica import parse
from app.store.roles import OWNER
from tests.command import run
from tests.operation.clusters import Cluster, prepare, primary_in, standby_in
from tests.operation.running import Load, Running, directory, more, running
from tests.pages.visitor import BROWSER, Page

_POSITION = "X-Assistenza-Position"
_SCOPES = (
    "admin", "customers:write", "licences:write", "tokens:issue", *sorted(BOUND_SCOPES),
)  # fmt: skip
_STALENESS = 1.0
_PAIRS = int(100 * float(os.environ.get("ASSISTENZA_LONG_SECONDS", "100")))


@pytest.fixture(scope="module")
def parent() -> Iterator[Path]:
    with directory() as parent:
        yield parent


@pytest.fixture(scope="module")
def primary(parent: Path) -> Iterator[Cluster]:
    with primary_in(parent) as primary:
        asyncio.run(prepare(primary))
        yield primary


@pytest.fixture(scope="module")
def token(primary: Cluster) -> str:
    scopes = itertools.chain.from_iterable(("--scope", scope) for scope in _SCOPES)
    done = run("keys", "create", "--name", "a", *scopes, ASSISTENZA_DATABASE_URL=primary.url())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def standby(parent: Path, primary: Cluster, token: str) -> Iterator[Cluster]:
    with standby_in(parent, primary) as standby:
        yield standby


@pytest.fixture(scope="module")
def service(primary: Cluster, standby: Cluster) -> Iterator[Running]:
    """One whose replica is up to date unless a test holds it up."""
    with running(
        database_url=primary.url(), read_database_url=standby.url(), read_staleness=_STALENESS
    ) as service:
        yield service


@pytest.fixture(scope="module")
def delayed(primary: Cluster, parent: Path, token: str) -> Iterator[Cluster]:
    """A replica that is two seconds behind."""
    with standby_in(parent, primary, "recovery_min_apply_delay = '2s'") as standby:
        yield standby


@pytest.fixture(scope="module")
def patient(primary: Cluster, delayed: Cluster) -> Iterator[Running]:
    """A service that uses the replica although it is behind."""
    with running(
        database_url=primary.url(), read_database_url=delayed.url(), read_staleness=60
    ) as service:
        yield service


@pytest.fixture
async def client(service: Running, token: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service, token) as client:
        await until_the_replica_answers(client)
        yield client


def client_of(service: Running, token: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=service.address, headers=headers, timeout=30)


async def replica_reads(client: httpx.AsyncClient) -> int:
    for line in (await client.get("/metrics")).text.splitlines():
        if line.startswith("assistenza_replica_reads_total "):
            return int(float(line.split()[1]))
    raise AssertionError("there is no such metric")


async def until_the_replica_answers(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 60
    before = await replica_reads(client)
    while await replica_reads(client) <= before:
        assert time.monotonic() < deadline, "the replica is not used"
        await asyncio.sleep(0.1)


_numbers = itertools.count()


async def new_customer(client: httpx.AsyncClient) -> str:
    body = {"code": f"C-{next(_numbers)}", "name": "Esempio", "country": "IT"}
    made = await client.post("/v1/customers", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def rename(client: httpx.AsyncClient, customer: str) -> tuple[str, str]:
    """The new name, and the position of the write."""
    name = f"Esempio {next(_numbers)}"
    answer = await client.patch(f"/v1/customers/{customer}", json={"name": name})
    assert answer.status_code == 200, answer.text
    return name, answer.headers[_POSITION]


async def name_of(client: httpx.AsyncClient, customer: str, position: str | None = None) -> str:
    headers = {} if position is None else {_POSITION: position}
    answer = await client.get(f"/v1/customers/{customer}", headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["name"])


@asynccontextmanager
async def replay_paused(standby: Cluster) -> AsyncIterator[None]:
    admin = await asyncpg.connect(standby.url("postgres"))
    await admin.execute("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        await admin.execute("SELECT pg_wal_replay_resume()")
        await admin.close()


async def pairs(service: Running, token: str, count: int, clients: int) -> tuple[int, int]:
    """Write and read so often; how many reads missed the write, with the position and without."""
    left, missed, missed_without = iter(range(count)), 0, 0
    pauses = random.Random(21)

    async def work() -> None:
        nonlocal missed, missed_without
        async with client_of(service, token) as client:
            customer = await new_customer(client)
            await asyncio.sleep(2.5)
            for number in left:
                name, position = await rename(client, customer)
                # Some reads find their write on the replica, most are too early for that.
                await asyncio.sleep(2.2 if number % 50 == 0 else pauses.random() / 50)
                missed += await name_of(client, customer, position) != name
                missed_without += await name_of(client, customer) != name

    await asyncio.gather(*(work() for _ in range(clients)))
    return missed, missed_without


async def test_a_read_sees_the_write_whose_position_it_brings(patient: Running, token: str) -> None:
    async with client_of(patient, token) as client:
        await until_the_replica_answers(client)
        before = await replica_reads(client)
        missed, missed_without = await pairs(patient, token, 300, 8)
        assert missed == 0
        # Otherwise the replica was not asked, and nothing was tried.
        assert missed_without > 100
        assert await replica_reads(client) - before > 100


@pytest.mark.long
async def test_thousands_of_reads_see_their_write(
    patient: Running, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    async with client_of(patient, token) as client:
        await until_the_replica_answers(client)
    missed, missed_without = await pairs(patient, token, _PAIRS, 16)
    with capsys.disabled():
        took = time.monotonic() - began
        print(
            f"\n{_PAIRS} pairs of a write and a read in {took:.0f} s, replica 2 s behind:"
            f" {missed} missed the write, {missed_without} did without the position"
        )
    assert missed == 0
    assert missed_without > _PAIRS // 10


async def test_a_read_waits_for_a_replica_that_is_nearly_there(client: httpx.AsyncClient) -> None:
    customer = await new_customer(client)
    before = await replica_reads(client)
    for _ in range(20):
        name, position = await rename(client, customer)
        assert await name_of(client, customer, position) == name
    # A busy machine may hold the replica up now and then.
    assert await replica_reads(client) - before >= 10


async def test_a_replica_that_is_behind_its_bound_is_not_asked(
    primary: Cluster, delayed: Cluster, token: str
) -> None:
    with running(
        database_url=primary.url(), read_database_url=delayed.url(), read_staleness=_STALENESS
    ) as service:
        async with client_of(service, token) as client:
            customer = await new_customer(client)
            for _ in range(30):
                name, _ = await rename(client, customer)
                await asyncio.sleep(0.1)
                assert await name_of(client, customer) == name


async def test_what_a_held_up_replica_answers_is_no_older_than_its_bound(
    client: httpx.AsyncClient, standby: Cluster, primary: Cluster
) -> None:
    customer = await new_customer(client)
    issued = await client.post(
        f"/v1/customers/{customer}/tokens",
        json={"scopes": ["customers:read"], "expires_in_seconds": 600},
    )
    bound = {"Authorization": f"Bearer {issued.json()['token']}"}
    old, position = await rename(client, customer)
    assert await name_of(client, customer, position) == old
    async with replay_paused(standby):
        admin = await asyncpg.connect(primary.url("postgres"))
        revoke = "UPDATE tokens SET revoked_at = now() WHERE id = $1"
        await admin.execute(revoke, UUID(issued.json()["id"]))
        await admin.close()
        name, _ = await rename(client, customer)
        written_at = time.monotonic()
        seen = set()
        while time.monotonic() - written_at < 2 * _STALENESS:
            asked_at = time.monotonic() - written_at
            answer = await client.get(f"/v1/customers/{customer}", headers=bound)
            found = await name_of(client, customer)
            seen.add(found)
            if asked_at > _STALENESS:
                assert answer.status_code == 401
                assert found == name
            await asyncio.sleep(0.05)
        # At first the replica was asked: it is the bound that was tried.
        assert seen == {old, name}


async def test_a_visitor_sees_what_the_form_has_just_written(patient: Running, token: str) -> None:
    async with client_of(patient, token) as client:
        customer = await new_customer(client)
        licence = {
            "customer_id": customer,
            "serial_number": f"ED-{next(_numbers)}",
            "kind": "editor",
            "product": "Editor",
            "version": "4.2",
            "purchased_on": str(datetime.now(UTC).date() - timedelta(days=1)),
        }
        assert (await client.post("/v1/licences", json=licence)).status_code == 201
        link = await client.post(
            f"/v1/customers/{customer}/tokens",
            json={"scopes": sorted(BOUND_SCOPES), "expires_in_seconds": 600},
        )
        assert link.status_code == 201, link.text
        await asyncio.sleep(2.5)
    async with httpx.AsyncClient(
        base_url=patient.address, headers=BROWSER, follow_redirects=True, timeout=30
    ) as browser:
        door = Page(await browser.get(link.json()["url"]))
        entered = await browser.post(link.json()["url"], data=door.forms[0].fields)
        assert entered.url.path == "/area", entered.text
        # Until the replica knows the session's token.
        await asyncio.sleep(2.5)
        form = Page(await browser.get("/area/cases/new")).forms[-1]
        filled = form.fields | {
            "subject": "Screen stays blank",
            "description": "After the start it stays blank.",
            "requester/name": "Anna Rossi",
        }
        opened = await browser.post(form.action, data=filled)
        assert opened.status_code == 200
        assert "Screen stays blank" in opened.text
        assert opened.url.path.startswith("/area/cases/2")


async def test_what_was_just_made_is_found_although_the_replica_lacks_it(
    client: httpx.AsyncClient, standby: Cluster, service: Running
) -> None:
    """A token that was just issued is admitted, bound or not."""
    customer = await new_customer(client)
    async with replay_paused(standby):
        issued = await client.post(
            f"/v1/customers/{customer}/tokens",
            json={"scopes": ["customers:read", "usage:read"], "expires_in_seconds": 600},
        )
        async with client_of(service, issued.json()["token"]) as bound:
            for path in (f"/v1/customers/{customer}", f"/v1/customers/{customer}/usage"):
                assert (await bound.get(path)).status_code == 200


@pytest.mark.parametrize("position", ["", "x", "16", "16/", "FFFFFFFF/FFFFFFFF", "123456789/0"])
async def test_a_position_that_is_none_is_answered_by_the_primary(
    client: httpx.AsyncClient, standby: Cluster, position: str
) -> None:
    customer = await new_customer(client)
    async with replay_paused(standby):
        name, _ = await rename(client, customer)
        assert await name_of(client, customer, position) == name


def test_positions_are_read_as_postgresql_writes_them() -> None:
    assert parse("16/B374D848") == 0x16_B374D848
    assert parse("0/0") == 0
    assert parse("16/B374D848 ") is None


async def test_lists_usage_and_exports_come_from_the_replica(client: httpx.AsyncClient) -> None:
    customer = await new_customer(client)
    _, position = await rename(client, customer)
    await name_of(client, customer, position)
    await until_the_replica_answers(client)
    for path in (
        "customers",
        f"customers/{customer}/usage",
        f"entitlements?customer_id={customer}",
        f"entitlements/check?service=phone_support&customer_id={customer}",
        "entitlements/export",
    ):
        before = await replica_reads(client)
        answer = await client.get(f"/v1/{path}")
        assert answer.status_code == 200, answer.text
        # One for the call, one for the metrics that are read.
        assert await replica_reads(client) - before == 2, path


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGSTOP])
async def test_a_replica_that_is_gone_costs_no_request(
    client: httpx.AsyncClient, standby: Cluster, service: Running, token: str, number: int
) -> None:
    """Killed, or frozen so that its connections stay open and say nothing."""
    customer = await new_customer(client)
    load, export = Load(), Load()
    usage = f"{service.address}/v1/customers/{customer}/usage"
    async with (
        load.of(usage, token, clients=4),
        export.of(f"{service.address}/v1/entitlements/export", token, clients=1),
    ):
        await more(load)
        before = await replica_reads(client)
        if number == signal.SIGSTOP:
            standby.freeze()
        else:
            await asyncio.to_thread(standby.stop, number)
        await more(load)
        if number == signal.SIGSTOP:
            standby.thaw()
        else:
            await asyncio.to_thread(standby.start)
        await until_the_replica_answers(client)
    assert before > 0
    assert load.failed == {}
    assert export.failed == {}


async def test_a_server_that_is_no_replica_is_not_asked(primary: Cluster, token: str) -> None:
    with running(database_url=primary.url(), read_database_url=primary.url()) as service:
        async with client_of(service, token) as client:
            customer = await new_customer(client)
            await asyncio.sleep(1)
            name, position = await rename(client, customer)
            assert await name_of(client, customer, position) == name
            assert await replica_reads(client) == 0


async def test_without_a_replica_a_write_has_no_position(primary: Cluster, token: str) -> None:
    with running(database_url=primary.url()) as service:
        async with client_of(service, token) as client:
            body = {"code": f"C-{next(_numbers)}", "name": "Esempio", "country": "IT"}
            made = await client.post("/v1/customers", json=body)
            assert made.status_code == 201
            assert _POSITION not in made.headers


def test_several_replicas_are_refused(primary: Cluster, standby: Cluster) -> None:
    several = f"postgresql://{OWNER}@{standby.server},{primary.server}/assistenza"
    done = run("serve", ASSISTENZA_READ_DATABASE_URL=several)
    assert done.returncode == 1
    assert "ASSISTENZA_READ_DATABASE_URL: names several servers" in done.stderr
