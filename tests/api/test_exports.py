"""Exports and their readers take nothing from others: few at once, each with a deadline."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import httpx
import pytest
import uvicorn

from app.http.uvicorn_protocol import Connections, Protocol
from app.services.tokens import SCOPES
from tests.api.build import unique
from tests.conftest import Service

SEND, WHOLE = 1.0, 2.0
MARGIN = 4.0
EXPORTS, WRITERS, WRITES = 12, 4, 44
CUSTOMERS = 2_000
"""As many that what a connection buffers on its way is a small part of an export."""

Reader = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
async def service(new_service: Callable[..., Awaitable[Service]]) -> Service:
    service = await new_service(export_timeout=WHOLE, send_timeout=SEND)
    await service.server.run_in(
        service.database_name,
        "INSERT INTO customers (id, code, name, country, language, created_at, updated_at)"
        " SELECT gen_random_uuid(), 'X-' || n, 'Export', 'IT', 'it', now(), now()"
        f" FROM generate_series(1, {CUSTOMERS}) n",
    )
    return service


@asynccontextmanager
async def serving(service: Service, *, send_timeout: float = SEND) -> AsyncIterator[int]:
    protocol = partial(
        Protocol, header_timeout=10.0, send_timeout=send_timeout, connections=Connections(1_000)
    )
    config = uvicorn.Config(
        service.app,
        port=0,
        lifespan="off",
        log_config=None,
        access_log=False,
        http=protocol,  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def export(service: Service) -> AsyncIterator[Callable[[int], Awaitable[Reader]]]:
    """Ask for an export, and read no more of it than its status."""
    token = await service.token("entitlements:read")
    async with AsyncExitStack() as stack:

        async def ask(port: int) -> Reader:
            # With a small buffer of its own the client takes no more than that.
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            stack.callback(writer.close)
            writer.write(
                b"GET /v1/entitlements/export HTTP/1.1\r\nHost: x\r\n"
                b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
            )
            return reader, writer

        yield ask


async def status(reader: asyncio.StreamReader) -> int:
    return int((await asyncio.wait_for(reader.readline(), 30)).split()[1])


async def until_free(service: Service) -> float:
    """How long until no export holds a connection."""
    began = time.monotonic()
    while service.database.pools()["exports"].in_use:
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 30
    return time.monotonic() - began


async def test_writers_are_served_beside_exports_that_nobody_reads(
    service: Service, export: Callable[[int], Awaitable[Reader]]
) -> None:
    headers = {"Authorization": f"Bearer {await service.token(*SCOPES)}"}
    async with serving(service) as port:
        url = f"http://127.0.0.1:{port}"
        readers = [await export(port) for _ in range(EXPORTS)]
        statuses = sorted([await status(reader) for reader, _ in readers])
        at_once = service.database.pools()["exports"].size
        assert statuses == [200] * at_once + [429] * (EXPORTS - at_once)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:

            async def write() -> list[int]:
                statuses = []
                for _ in range(WRITES // WRITERS):
                    body = {"code": unique("W"), "name": "Beside", "country": "IT"}
                    statuses.append((await client.post("/v1/customers", json=body)).status_code)
                return statuses

            done = await asyncio.gather(*(write() for _ in range(WRITERS)))
            assert [status for statuses in done for status in statuses] == [201] * WRITES
            refused = await client.get("/v1/entitlements/export")
            if refused.status_code == 429:
                assert int(refused.headers["retry-after"]) > 0
                assert refused.json()["code"] == "too_many_requests"
            # What a reader left unread was cut, and others can have their export.
            await until_free(service)
            whole = await client.get("/v1/entitlements/export")
            assert json.loads(whole.text.splitlines()[-1])["end"] is True


async def test_a_reader_that_stops_frees_its_connection(
    service: Service, export: Callable[[int], Awaitable[Reader]]
) -> None:
    service.app.state.settings = service.app.state.settings.model_copy(
        update={"export_timeout": 60.0}
    )
    try:
        async with serving(service) as port:
            reader, _ = await export(port)
            assert await status(reader) == 200
            assert service.database.pools()["exports"].in_use == 1
            assert await until_free(service) < SEND + MARGIN
    finally:
        service.app.state.settings = service.app.state.settings.model_copy(
            update={"export_timeout": WHOLE}
        )


async def test_a_reader_that_takes_too_long_is_cut(
    service: Service, export: Callable[[int], Awaitable[Reader]]
) -> None:
    # It goes on reading, so that the time for each piece never ends.
    async with serving(service, send_timeout=60.0) as port:
        reader, _ = await export(port)
        began = time.monotonic()
        assert await status(reader) == 200
        free = asyncio.create_task(until_free(service))
        received = b""
        while not free.done():
            received += await asyncio.wait_for(reader.read(1024), 30)
            await asyncio.sleep(0.01)
        assert WHOLE - 0.1 < time.monotonic() - began < WHOLE + MARGIN
        received += await asyncio.wait_for(reader.read(), 30)
    assert b'"end":true' not in received


async def test_a_bound_token_needs_no_place_among_exports(service: Service) -> None:
    (row,) = await service.server.run_in(
        service.database_name, "SELECT id FROM customers WHERE code = 'X-1'"
    )
    exporting = service.database.exporting
    async with await service.client_with("entitlements:read", customer_id=row["id"]) as bound:
        places = 0
        while not exporting.locked():
            await exporting.acquire()
            places += 1
        try:
            answer = await bound.get("/v1/entitlements/export")
        finally:
            for _ in range(places):
                exporting.release()
    first, last = map(json.loads, answer.text.splitlines())
    assert first["customer"]["code"] == "X-1"
    assert last == {"end": True, "count": 1}


async def test_a_database_that_is_away_before_the_first_line_is_a_problem(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        def connect(self) -> None:
            raise ConnectionRefusedError

    async with await service.client_with("entitlements:read") as client:
        with monkeypatch.context() as patched:
            patched.setattr(service.database, "exports", Away())
            answer = await client.get("/v1/entitlements/export")
        assert answer.status_code == 503
        assert answer.json()["code"] == "service_unavailable"
        assert (await client.get("/v1/entitlements/export")).status_code == 200
