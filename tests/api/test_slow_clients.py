"""Clients that take their time, on real sockets: cut off, while all others are served."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import uvicorn

from app.http.uvicorn_protocol import Connections, Protocol
from app.services.tokens import SCOPES
from tests.conftest import Service

HEADERS, BODY, SEND = 0.4, 0.3, 0.4
MARGIN = 2.0


@asynccontextmanager
async def serving(app: Any, limit: int = 1_000, **more: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_config=None,
        access_log=False,
        http=partial(  # type: ignore[arg-type]
            Protocol,
            header_timeout=HEADERS,
            send_timeout=SEND,
            connections=Connections(limit),
            **more,
        ),
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


@pytest.fixture(scope="module")
async def port(service: Service) -> AsyncIterator[int]:
    service.app.state.settings = service.app.state.settings.model_copy(
        update={"body_timeout": BODY}
    )
    async with serving(service.app) as port:
        yield port


@pytest.fixture(scope="module")
async def others(service: Service, port: int) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {await service.token(*SCOPES)}"}
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as client:
        yield client


async def are_served(others: httpx.AsyncClient) -> None:
    began = time.monotonic()
    assert (await others.get("/v1/customers")).status_code == 200
    assert time.monotonic() - began < MARGIN


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Everything that came until the line was cut."""
    try:
        return await asyncio.wait_for(reader.read(), HEADERS + MARGIN)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def trickle(writer: asyncio.StreamWriter, drops: bytes) -> None:
    try:
        for drop in drops:
            writer.write(bytes([drop]))
            await writer.drain()
            await asyncio.sleep(0.05)
    except ConnectionError:
        return


FIRST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


REQUEST = b"GET /livez HTTP/1.1\r\nX-Slow: " + b"x" * 200


@pytest.mark.parametrize(
    ("first", "drops"),
    [(b"", b""), (b"", REQUEST), (b"", b"\r\n" * 100), (FIRST, REQUEST), (FIRST, b"\r\n" * 100)],
)
async def test_headers_that_trickle(
    port: int, others: httpx.AsyncClient, first: bytes, drops: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if first:
        writer.write(first)
        assert b'{"status":"ok"}' in await reader.readuntil(b"}")
    began = time.monotonic()
    slow = asyncio.create_task(trickle(writer, drops))
    await asyncio.sleep(HEADERS / 2)
    await are_served(others)
    assert await cut(reader, writer) == b""
    assert HEADERS - 0.1 < time.monotonic() - began < HEADERS + MARGIN
    await slow


async def test_a_body_that_trickles(port: int, others: httpx.AsyncClient, service: Service) -> None:
    token = others.headers["authorization"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\nAuthorization: " + token.encode() + b"\r\n\r\n"
    )
    slow = asyncio.create_task(trickle(writer, b"{" + b" " * 200))
    await asyncio.sleep(BODY / 2)
    # It holds no connection of the database's.
    assert service.database.pools()["writing"][0] == 0
    await are_served(others)
    answer = await cut(reader, writer)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer
    assert b'"code":"request_timeout"' in answer
    await slow


async def test_a_body_that_breaks_off(port: int, others: httpx.AsyncClient) -> None:
    name = "assistenza_problems_total"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        b"Authorization: " + others.headers["authorization"].encode() + b"\r\n\r\n{"
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    told = (await others.get("/metrics")).text
    assert f'{name}{{code="request_timeout"}}' in told
    assert f'{name}{{code="internal_error"}}' not in told


async def test_an_unwanted_body_is_not_read_for_ever(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert b" 401 " in await reader.readline()
    slow = asyncio.create_task(trickle(writer, b" " * 200))
    await cut(reader, writer)
    await slow


async def test_idle_connections_starve_nobody(port: int, others: httpx.AsyncClient) -> None:
    async with AsyncExitStack() as stack:
        for n in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            # Half say nothing, half have begun to speak.
            writer.write(b"GET /v1/customers HTTP/1.1\r\n" if n % 2 else b"")
        for _ in range(5):
            await are_served(others)


async def test_an_answer_that_nobody_reads() -> None:
    ended = asyncio.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        ended.set()

    async with serving(endless) as port:
        # With a small buffer of its own the client reads no more than that.
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(FIRST)
        began = time.monotonic()
        # What is sent to a line that was cut is thrown away: the application comes to its end.
        await asyncio.wait_for(ended.wait(), SEND + MARGIN)
        assert time.monotonic() - began >= SEND
        writer.close()


async def test_a_quick_client_is_never_cut(others: httpx.AsyncClient) -> None:
    until = time.monotonic() + 2 * HEADERS
    async with httpx.AsyncClient(base_url=others.base_url, headers=others.headers) as client:
        while time.monotonic() < until:
            answer = await client.get("/livez")
            assert answer.status_code == 200
            await asyncio.sleep(0.05)
