"""Over a real pg_dump and pg_restore: `assistenza after-restore`, and the feed's epochs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import clock
from app.services.tokens import SCOPES
from app.store import feed, sequences
from app.store.embedded import EmbeddedPostgres
from app.store.reconcile import snapshot
from app.store.sequences import UnknownSequence
from tests.api.build import Customer, made, refused
from tests.command import run
from tests.conftest import Server, Service, publish_all
from tests.restoring import dump, other_server, restore, service_on, superuser

_NewService = Callable[..., Awaitable[Service]]


@pytest.fixture
async def origin(new_service: _NewService) -> Service:
    return await new_service()


@pytest.fixture
async def caller(origin: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with await origin.client_with(*SCOPES) as client:
        yield client


@pytest.fixture(scope="module")
def second() -> Iterator[EmbeddedPostgres]:
    """Another server; each restore replaces what it holds."""
    with other_server() as server:
        yield server


async def restored(origin: Service, second: EmbeddedPostgres, file: Path) -> None:
    await dump(origin.admin_url, file)
    await restore(second.owner_dsn, file)


async def everything(customer: Customer) -> None:
    """One of each thing that has a number."""
    await customer.licence()
    await customer.contract()
    await customer.pack(3)
    case = await customer.open()
    await customer.work(case, 30)
    erased = f"/v1/customers/{customer.id}/personal-data/erasure"
    person = {"name": "Plant engineer"}
    await made(await customer.client.post(erased, json=person), 200)


async def behind(service: Service) -> dict[str, tuple[int, int]]:
    async with service.database.reading.connect() as connection:
        _, found = await sequences.behind(connection)
    return {one.sequence: (one.last, one.stored) for one in found}


async def differences(service: Service) -> list[Any]:
    async with snapshot(service.database) as now:
        return [one async for one in now.differences()]


# --- the command --------------------------------------------------------------------------------


async def test_the_numbers_of_every_sequence_are_known(origin: Service) -> None:
    """One that is new in the catalogue is named, so that none is forgotten."""
    assert await behind(origin) == {}
    await origin.server.run_in(origin.database_name, "CREATE SEQUENCE visits")
    async with origin.database.reading.connect() as connection:
        with pytest.raises(UnknownSequence, match="visits"):
            await sequences.behind(connection)
    url = origin.admin_url.replace("postgresql://", "postgresql+asyncpg://")
    done = await asyncio.to_thread(run, "after-restore", ASSISTENZA_DATABASE_URL=url)
    assert done.returncode == 1
    assert "visits" in done.stderr


async def test_the_command_after_a_restore_into_another_server(
    origin: Service, caller: httpx.AsyncClient, second: EmbeddedPostgres, tmp_path: Path
) -> None:
    customer = await Customer.new(caller, origin.today())
    await everything(customer)
    await publish_all(origin)
    await restored(origin, second, tmp_path / "dump")
    async with (
        service_on(second.app_dsn, superuser(second)) as copy,
        copy.client(caller.headers["Authorization"].removeprefix("Bearer ")) as there,
    ):
        rows = await _catalogue(copy)
        for row in rows:
            await copy.server.run_in(copy.database_name, f"SELECT setval('{row}', 1, false)")
        stored = {name: last for name, (_, last) in (await behind(copy)).items()}
        assert stored.keys() == set(rows)
        ahead = stored["ledger_id_seq"] + 1_000
        await copy.server.run_in(copy.database_name, f"SELECT setval('ledger_id_seq', {ahead})")
        del stored["ledger_id_seq"]

        done = await asyncio.to_thread(
            run, "after-restore", ASSISTENZA_DATA_DIR=str(second.data_dir)
        )
        assert (done.returncode, done.stderr) == (0, "")
        first, *moved, last = done.stdout.splitlines()
        assert first.startswith("Began epoch ")
        assert moved == [f"Moved {name} from 0 to {stored[name]}." for name in sorted(stored)]
        assert last == (
            f"Checked the epoch and {len(rows)} sequences: none is behind what is stored."
        )
        at = await copy.server.run_in(copy.database_name, "SELECT last_value FROM ledger_id_seq")
        assert at[0][0] == ahead
        assert await behind(copy) == {}
        await everything(await Customer.new(there, origin.today()))
        assert await differences(copy) == []

        # Once more begins another epoch and moves nothing.
        again = await asyncio.to_thread(
            run, "after-restore", ASSISTENZA_DATA_DIR=str(second.data_dir)
        )
        assert again.returncode == 0
        assert [line.split()[0] for line in again.stdout.splitlines()] == ["Began", "Checked"]
        async with copy.database.reading.connect() as connection:
            assert len((await feed.extent(connection)).epochs) == 3


async def _catalogue(service: Service) -> list[str]:
    rows = await service.server.run_in(
        service.database_name,
        "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1",
    )
    return [row[0] for row in rows]


async def test_the_command_needs_the_owner_of_the_schema(origin: Service, server: Server) -> None:
    url = server.url(origin.database_name, server.login)
    done = await asyncio.to_thread(run, "after-restore", ASSISTENZA_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "ASSISTENZA_MIGRATION_DATABASE_URL" in line
    async with origin.database.reading.connect() as connection:
        assert len((await feed.extent(connection)).epochs) == 1


async def test_a_number_that_a_caller_has_chosen_moves_no_sequence_far(
    origin: Service, caller: httpx.AsyncClient
) -> None:
    customer = await Customer.new(caller, origin.today())
    year = origin.today().year
    for running in (1, 2, 90, 500_000):
        await customer.pack(number=f"TP-{year}-{running:06d}")
    assert await behind(origin) == {"ticket_pack_numbers": (0, 90)}


# --- epochs -------------------------------------------------------------------------------------


async def page(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    return await made(await client.get("/v1/events", params={"limit": 200, **query}), 200)


async def expired(client: httpx.AsyncClient, after: str) -> dict[str, Any]:
    answer = await client.get("/v1/events", params={"after": after})
    return refused(answer, "cursor_expired", 410)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


async def test_reading_on_after_a_restore(
    origin: Service, caller: httpx.AsyncClient, second: EmbeddedPostgres, tmp_path: Path
) -> None:
    token = caller.headers["Authorization"].removeprefix("Bearer ")
    customer = await Customer.new(caller, origin.today())
    await customer.licence()
    await publish_all(origin)
    early = await page(caller)
    # Committed before the dump, published after it.
    await customer.contract()
    await dump(origin.admin_url, tmp_path / "dump")
    await customer.pack()
    await publish_all(origin)
    late = await page(caller, after=early["next_cursor"])
    assert [event["type"] for event in late["items"]] == ["contract.signed", "tickets.purchased"]
    await restore(second.owner_dsn, tmp_path / "dump")
    async with (
        service_on(second.app_dsn, superuser(second)) as copy,
        copy.client(token) as there,
    ):
        # As long as nothing is published there, its feed simply ends earlier.
        problem = await expired(there, late["next_cursor"])
        assert not problem["missed"]
        assert (await page(there, after=problem["begin_after"]))["items"] == []
        assert (await page(there, after=early["next_cursor"]))["items"] == []

        await publish_all(copy)
        await customer_there(there, customer).pack()
        await publish_all(copy)
        problem = await expired(there, late["next_cursor"])
        assert not problem["missed"]
        new = await page(there, after=problem["begin_after"])
        whole = await page(there)
        assert [event["type"] for event in new["items"]] == [
            "contract.signed",
            "tickets.purchased",
        ]
        # What both databases have is there once, with the same id; the rest has others.
        assert ids(early["items"]) + ids(new["items"]) == ids(whole["items"])
        assert not set(ids(new["items"])) & set(ids(late["items"]))
        # A cursor at the end of what both have is good in either.
        assert (await page(there, after=early["next_cursor"]))["items"] == new["items"]
        assert (await page(there, after=problem["begin_after"]))["items"] == new["items"]


def customer_there(client: httpx.AsyncClient, customer: Customer) -> Customer:
    return Customer(client, {"id": customer.id, "code": customer.code}, customer.today)


async def test_a_cursor_of_an_epoch_that_the_restored_database_never_knew(
    origin: Service, caller: httpx.AsyncClient, second: EmbeddedPostgres, tmp_path: Path
) -> None:
    token = caller.headers["Authorization"].removeprefix("Bearer ")
    customer = await Customer.new(caller, origin.today())
    await publish_all(origin)
    await restored(origin, second, tmp_path / "dump")
    async with origin.database.writing.begin() as connection:
        assert len((await feed.begin_epoch(connection)).epochs) == 2
    await customer.licence()
    await publish_all(origin)
    later = await page(caller)
    async with (
        service_on(second.app_dsn, superuser(second)) as copy,
        copy.client(token) as there,
    ):
        for _ in range(2):
            problem = await expired(there, later["next_cursor"])
            assert problem["missed"]
            page_ = await page(there, after=problem["begin_after"])
            assert [event["type"] for event in page_["items"]] == ["customer.created"]
            await publish_all(copy)


async def test_a_cursor_of_before_a_restore_that_was_pruned_meanwhile(
    origin: Service, caller: httpx.AsyncClient
) -> None:
    customer = await Customer.new(caller, origin.today())
    await customer.licence()
    await publish_all(origin)
    first = await page(caller, limit=1)
    end = await page(caller)
    async with origin.database.writing.begin() as connection:
        await feed.begin_epoch(connection)
    assert (await page(caller, after=end["next_cursor"]))["items"] == []
    await customer.contract()
    await publish_all(origin)
    async with origin.database.operations.begin() as connection:
        assert await feed.prune(connection, clock.now() + timedelta(seconds=5), 2) is False
    problem = await expired(caller, first["next_cursor"])
    assert problem["missed"]
    rest = await page(caller, after=problem["begin_after"])
    assert [event["type"] for event in rest["items"]] == ["contract.signed"]
    assert (await page(caller, after=end["next_cursor"]))["items"] == rest["items"]


async def test_a_restore_into_the_same_database(
    origin: Service, caller: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Nothing in the database tells; the command does."""
    customer = await Customer.new(caller, origin.today())
    await customer.licence()
    await publish_all(origin)
    early = await page(caller)
    await dump(origin.admin_url, tmp_path / "dump")
    await customer.pack()
    await publish_all(origin)
    late = await page(caller)
    await origin.database.close()
    await restore(origin.admin_url, tmp_path / "dump")
    done = await asyncio.to_thread(
        run,
        "after-restore",
        ASSISTENZA_DATABASE_URL=origin.server.url(origin.database_name, origin.server.login),
        ASSISTENZA_MIGRATION_DATABASE_URL=origin.admin_url,
    )
    assert done.returncode == 0, done.stderr
    await customer.contract()
    await publish_all(origin)
    problem = await expired(caller, late["next_cursor"])
    assert not problem["missed"]
    rest = await page(caller, after=problem["begin_after"])
    assert [event["type"] for event in rest["items"]] == ["contract.signed"]
    assert ids((await page(caller))["items"]) == ids(early["items"]) + ids(rest["items"])


async def test_a_database_copied_by_its_template_is_another_one(
    origin: Service, caller: httpx.AsyncClient, server: Server
) -> None:
    token = caller.headers["Authorization"].removeprefix("Bearer ")
    customer = await Customer.new(caller, origin.today())
    await customer.licence()
    await publish_all(origin)
    early = await page(caller)
    await origin.database.close()
    name = f"{origin.database_name}_copy"
    await server.run(f"CREATE DATABASE {name} TEMPLATE {origin.database_name}")
    await customer.pack()
    await publish_all(origin)
    late = await page(caller)
    async with (
        service_on(server.url(name, server.login), server.url(name)) as copy,
        copy.client(token) as there,
    ):
        await customer_there(there, customer).contract()
        await publish_all(copy)
        problem = await expired(there, late["next_cursor"])
        assert not problem["missed"]
        rest = await page(there, after=problem["begin_after"])
        assert [event["type"] for event in rest["items"]] == ["contract.signed"]
        assert ids((await page(there))["items"]) == ids(early["items"]) + ids(rest["items"])
        # And the original goes on as before.
        await customer.pack()
        await publish_all(origin)
        more = await page(caller, after=late["next_cursor"])
        assert [event["type"] for event in more["items"]] == ["tickets.purchased"]
    await server.run(f"DROP DATABASE {name} WITH (FORCE)")
