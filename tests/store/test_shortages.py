"""The database runs out of something: of numbers, or of room on its disk."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.services.tokens import SCOPES
from app.store.embedded.account import server_account
from app.store.numbers import TRIES
from app.store.reconcile import snapshot
from tests.api.build import Customer, unique
from tests.conftest import Service

Write = Callable[[Customer], Awaitable[httpx.Response]]


@pytest.fixture
async def service(new_service: Callable[..., Awaitable[Service]]) -> AsyncIterator[Service]:
    """On a database of its own: its sequences and triggers are changed."""
    service = await new_service(connections=10)
    yield service
    await service.database.close()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.client_with(*SCOPES) as client:
        yield client


@pytest.fixture
async def customer(service: Service, client: httpx.AsyncClient) -> Customer:
    customer = await Customer.new(client, service.today())
    await customer.licence(days=-40)
    return customer


async def sql(service: Service, command: str, *values: Any) -> Any:
    """As the superuser; the first value."""
    rows = await service.server.run_in(service.database_name, command, *values)
    return rows[0][0] if rows else None


async def shortages(client: httpx.AsyncClient, of: str) -> float:
    text = (await client.get("/metrics")).text
    name = f'assistenza_database_shortages_total{{of="{of}"}} '
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    return float(line.removeprefix(name))


async def unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "service_unavailable"
    assert int(answer.headers["retry-after"]) > 0


async def open_case(customer: Customer) -> httpx.Response:
    body = {
        "customer_id": customer.id,
        "requester": {"name": "Plant engineer"},
        "subject": "Alarm list empty",
        "description": "The alarm list stays empty.",
        "serial_number": customer.serials[0],
    }
    return await customer.client.post("/v1/cases", json=body)


async def sign(customer: Customer) -> httpx.Response:
    body = {"customer_id": customer.id, "starts_on": customer.today.isoformat()}
    return await customer.client.post("/v1/contracts", json=body)


async def buy(customer: Customer) -> httpx.Response:
    bought = {"quantity": 1, "purchased_on": customer.today.isoformat()}
    return await customer.client.post(
        "/v1/ticket-packs", json={"customer_id": customer.id, **bought}
    )


async def hold(customer: Customer) -> httpx.Response:
    """A case that a ticket pays for is the shortest way to an entry in the ledger."""
    await customer.pack()
    body = {
        "customer_id": customer.id,
        "requester": {"name": "Plant engineer"},
        "subject": "Alarm list empty",
        "description": "The alarm list stays empty.",
        "serial_number": customer.serials[0],
        "pay_with": "ticket",
    }
    return await customer.client.post("/v1/cases", json=body)


_DRAWING: dict[str, Write] = {
    "case_numbers": open_case,
    "contract_numbers": sign,
    "ticket_pack_numbers": buy,
    "events_id_seq": open_case,
    "ledger_id_seq": hold,
}


@pytest.mark.parametrize("sequence", _DRAWING)
async def test_a_sequence_without_numbers_left(
    service: Service, client: httpx.AsyncClient, customer: Customer, sequence: str
) -> None:
    for _ in range(2):  # a sequence has at least two numbers
        await sql(service, f"SELECT nextval('{sequence}')")
    last = await sql(service, f"SELECT last_value FROM {sequence}")
    await sql(service, f"ALTER SEQUENCE {sequence} MAXVALUE {last}")
    before = await shortages(client, "sequence")
    await unavailable(await _DRAWING[sequence](customer))
    assert await shortages(client, "sequence") == before + 1
    assert (await client.get("/readyz")).status_code == 200
    assert (await client.get(f"/v1/customers/{customer.id}")).status_code == 200
    await sql(service, f"ALTER SEQUENCE {sequence} NO MAXVALUE")
    assert (await _DRAWING[sequence](customer)).status_code == 201


@pytest.mark.parametrize("sequence", ["case_numbers", "events_id_seq", "ledger_id_seq"])
async def test_a_sequence_behind_the_data(
    service: Service, client: httpx.AsyncClient, customer: Customer, sequence: str
) -> None:
    """As after a restore or a promotion."""
    assert (await hold(customer)).status_code == 201
    await sql(service, f"SELECT setval('{sequence}', 1, false)")
    before = await shortages(client, "sequence")
    await unavailable(await _DRAWING[sequence](customer))
    assert await shortages(client, "sequence") == before + 1


@pytest.mark.parametrize(
    ("sequence", "table", "prefix"),
    [("contract_numbers", "contracts", "SA"), ("ticket_pack_numbers", "ticket_packs", "TP")],
)
async def test_a_sequence_far_behind_numbers_that_can_be_skipped(
    service: Service,
    client: httpx.AsyncClient,
    customer: Customer,
    sequence: str,
    table: str,
    prefix: str,
) -> None:
    write = _DRAWING[sequence]
    assert (await write(customer)).status_code == 201
    other = await Customer.new(client, customer.today)
    await other.licence(days=-40)
    columns = await sql(
        service,
        """SELECT string_agg(column_name, ', ') FROM information_schema.columns
        WHERE table_name = $1 AND column_name NOT IN ('id', 'number', 'customer_id', 'renews')""",
        table,
    )
    await sql(
        service,
        f"""INSERT INTO {table} (id, number, customer_id, {columns})
        SELECT gen_random_uuid(), '{prefix}-{customer.today.year}-' || lpad(n::text, 6, '0'),
            customer_id, {columns} FROM {table}, generate_series(2, {TRIES + 2}) n""",
    )
    await sql(service, f"SELECT setval('{sequence}', 1)")
    await unavailable(await write(other))
    again = await write(other)
    assert again.status_code == 201
    assert again.json()["number"] == f"{prefix}-{customer.today.year}-{TRIES + 3:06d}"


# --- reconcile ----------------------------------------------------------------------------------


async def found(service: Service, *checks: str) -> set[tuple[str, str | None, str | None]]:
    async with snapshot(service.database) as now:
        rows = [one async for one in now.differences()]
    return {(one.subject, one.kept, one.ledger) for one in rows if one.check in checks}


async def test_reconcile_finds_sequences_behind_the_data(
    service: Service, customer: Customer
) -> None:
    for _ in range(2):
        assert (await hold(customer)).status_code == 201
    assert (await sign(customer)).status_code == 201
    assert await found(service, "sequences") == set()
    names = {"case_numbers": "case_numbers", "events.id": "events_id_seq"}
    last = {name: await sql(service, f"SELECT last_value FROM {of}") for name, of in names.items()}
    for of in names.values():
        await sql(service, f"SELECT setval('{of}', 1)")
    assert await found(service, "sequences") == {
        (name, "1", str(value)) for name, value in last.items()
    }


async def test_reconcile_calls_a_sequence_behind_only_if_it_cannot_skip(
    service: Service, client: httpx.AsyncClient, customer: Customer
) -> None:
    """A caller may give numbers of the generated form."""
    year = customer.today.year
    for number in (1, 500):
        await customer.pack(number=f"TP-{year}-{number:06d}")
    assert await found(service, "sequences") == set()
    for number in range(2, TRIES + 1):
        await customer.pack(number=f"tp-{year}-{number:06d}")
    assert await found(service, "sequences") == {("ticket_pack_numbers", "0", str(TRIES))}


async def test_reconcile_finds_doubled_numbers(service: Service, customer: Customer) -> None:
    packs = [await customer.pack(number=unique("P")) for _ in range(2)]
    assert await found(service, "numbers") == set()
    await sql(service, "DROP INDEX uq_ticket_packs_number")
    await sql(service, "UPDATE ticket_packs SET number = lower($1)", packs[0]["number"])
    assert await found(service, "numbers") == {(packs[0]["number"].lower(), "1", "2")}


# --- the disk -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sqlstate", ["53100", "58030"])
async def test_a_disk_that_is_full_or_fails_stops_writes_alone(
    service: Service, client: httpx.AsyncClient, customer: Customer, sqlstate: str
) -> None:
    await sql(
        service,
        f"""CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{sqlstate}'; END $$""",
    )
    await sql(
        service,
        "CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()",
    )
    before = await shortages(client, "disk")
    await unavailable(await open_case(customer))
    assert await shortages(client, "disk") == before + 1
    assert (await client.get("/readyz")).status_code == 200
    assert (await client.get(f"/v1/customers/{customer.id}")).status_code == 200
    assert (await customer.entitlements())["columns"] == ["DEV"]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 2 MB that the server's account may write."""
    directory = Path(tempfile.mkdtemp(prefix="assistenza-small-"))
    account = server_account(directory / "nothing", directory / "nothing")
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
    allowed = sys.platform == "linux" and account is not None
    if not allowed or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        directory.rmdir()
        pytest.skip("no file system can be mounted here")
    assert account is not None
    try:
        inner = directory / "space"
        inner.mkdir()
        os.chown(inner, account.uid, account.gid)
        directory.chmod(0o755)
        yield inner
    finally:
        subprocess.run(["umount", str(directory)], check=True)
        shutil.rmtree(directory, ignore_errors=True)


async def test_a_disk_that_is_really_full(
    service: Service, client: httpx.AsyncClient, customer: Customer, small_disk: Path
) -> None:
    if not service.server.is_ours:
        pytest.skip("no file system can be mounted here")
    await sql(service, f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    try:
        await sql(service, "ALTER TABLE events SET TABLESPACE small")
        statuses = set()
        for _ in range(400):
            answer = await client.post(
                f"/v1/customers/{customer.id}/contacts",
                json={"name": "x" * 200, "email": f"{unique('c')}@example.com"},
            )
            statuses.add(answer.status_code)
            if answer.status_code != 201:
                await unavailable(answer)
                break
            if len(statuses) == 1 and not (small_disk / "ballast").exists():
                _fill(small_disk)
        assert statuses == {201, 503}
        assert await shortages(client, "disk") >= 1
        assert (await client.get("/readyz")).status_code == 200
        assert (await customer.entitlements())["columns"] == ["DEV"]
        (small_disk / "ballast").unlink()
        assert (await open_case(customer)).status_code == 201
    finally:
        await sql(service, "ALTER TABLE events SET TABLESPACE pg_default")
        await sql(service, "DROP TABLESPACE small")


def _fill(directory: Path) -> None:
    with (directory / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
