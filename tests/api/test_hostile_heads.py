"""Heads that are too large or not valid HTTP, and too many connections, on real sockets."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from structlog.testing import capture_logs

from app.http import logs
from app.http.uvicorn_protocol import LARGEST_HEAD, MOST_FIELDS
from app.services.tokens import new_token
from tests.api.test_slow_clients import MARGIN, cut, serving
from tests.conftest import Service

START = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
async def port(service: Service) -> AsyncIterator[int]:
    async with serving(service.app, limit=30) as port:
        yield port


async def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Everything that the service answers until it ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            return

    sending = asyncio.create_task(send())
    answer = await cut(reader, writer)
    await sending
    return answer


def problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    assert b"x-content-type-options: nosniff" in lines
    assert any(line.startswith(b"x-request-id: ") for line in lines)
    told = json.loads(body)
    assert told["status"] == int(head.split()[1])
    return told["status"], told["code"]


def fields(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % n for n in range(count))


@pytest.mark.parametrize(
    "pieces",
    [
        [START, fields(MOST_FIELDS), b"\r\n"],
        [START + b"X: " + b"y" * LARGEST_HEAD + b"\r\n\r\n"],
        [START, *[b"X-%d: %b\r\n" % (n, b"y" * 4_000) for n in range(20)], b"\r\n"],
        [START + b"X: ", *[b"y" * 65_536] * 64],
        [b"GET /" + b"y" * LARGEST_HEAD, b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [b"\r\n" * 40_000],
    ],
    ids=["fields", "one piece", "many fields", "endless field", "target", "empty lines"],
)
async def test_a_large_head_is_431(port: int, pieces: list[bytes]) -> None:
    began = time.monotonic()
    assert problem(await exchange(port, *pieces)) == (431, "headers_too_large")
    assert time.monotonic() - began < MARGIN


async def test_the_largest_head_is_served(port: int) -> None:
    head = START + fields(MOST_FIELDS - 3) + b"Connection: close\r\n"
    answer = await exchange(
        port, head + b"X: " + b"y" * (LARGEST_HEAD - len(head) - 60), b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"x-content-type-options: nosniff\r\n" in answer


async def test_endless_trailers_and_chunk_extensions_end(port: int) -> None:
    start = b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for tail in (b"0\r\nX: ", b"1;x="):
        answer = await exchange(port, start + tail, *[b"y" * 65_536] * 64)
        assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 431 "))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n",
    ],
    ids=["no Host", "two Hosts", "two tokens"],
)
async def test_an_ambiguous_head_is_400(port: int, head: bytes) -> None:
    last = head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
    assert problem(await exchange(port, last)) == (400, "malformed_request")


async def test_what_is_not_http_is_400(port: int) -> None:
    assert problem(await exchange(port, b"nonsense\r\n\r\n")) == (400, "malformed_request")
    assert problem(await exchange(port, START + b"X\x00: y\r\n\r\n")) == (400, "malformed_request")


async def test_a_page_of_a_listed_origin_can_read_a_refusal(service: Service) -> None:
    desk = b"https://desk.example"
    async with serving(service.app, origins=(desk.decode(),)) as port:
        for origin, allowed in ((desk, True), (b"https://evil.example", False)):
            for rest in (fields(MOST_FIELDS) + b"\r\n", b"Y: z\r\nX\x00: y\r\n\r\n"):
                answer = await exchange(port, START + b"Origin: " + origin + b"\r\n" + rest)
                assert problem(answer)[0] in (400, 431)
                told = answer.lower().partition(b"\r\n\r\n")[0].split(b"\r\n")
                assert (b"access-control-allow-origin: " + origin in told) == allowed
                (vary,) = (line for line in told if line.startswith(b"vary:"))
                assert vary.endswith(b", origin")
                assert any(b"x-request-id" in line for line in told if b"expose" in line) == allowed


async def test_what_strangers_do_is_logged_once_a_minute(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of uvicorn's; the others are counted in the next."""
    handler, later = logs._Forward(), time.monotonic()
    monkeypatch.setattr(logs, "monotonic", lambda: later, raising=False)
    logger = logging.getLogger("uvicorn.error")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    upgrade = START + b"Connection: Upgrade\r\nUpgrade: nothing\r\n\r\n"

    async def annoy() -> None:
        for _ in range(5):
            await exchange(port, b"nonsense\r\n\r\n")
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(upgrade)
            await writer.drain()
            writer.close()
        await asyncio.sleep(0.1)

    with capture_logs() as lines:
        await annoy()
        later += 61
        await annoy()
    warned = [line for line in lines if line.get("logger") == "uvicorn.error"]
    invalid = [line for line in warned if line["event"].startswith("Invalid HTTP")]
    assert [line.get("held_back") for line in invalid] == [None, 4]
    events = [line["event"] for line in warned]
    assert any(event.startswith("Unsupported upgrade") for event in events)
    assert len(events) == 2 * len(set(events))


async def test_http_1_0_needs_no_host(port: int) -> None:
    answer = await exchange(port, b"GET /livez HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_earlier_answer_is_not_mixed_with_a_refusal(port: int) -> None:
    one = START + b"\r\n"
    answer = await exchange(port, one * 3 + START + b"X: " + b"y" * 300_000)
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 200 ") + answer.count(b" 431 ")
    assert b" 431 " not in answer or answer.rindex(b" 431 ") > answer.rindex(b" 200 ")


async def test_idle_connections_make_room(port: int) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        assert (await client.get("/livez")).status_code == 200

    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(5):
            await ask(client)
    ended = [await asyncio.wait_for(reader.read(), MARGIN) for reader, _ in idle]
    assert ended == [b""] * 60
    for _, writer in idle:
        writer.close()


async def test_bodies_that_do_not_come_make_room(port: int) -> None:
    """An honest client is served although others keep every place for bodies that never come."""
    head = b"POST /v1/entitlements/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    token = b"Authorization: Bearer " + new_token(bound=False)[0].encode() + b"\r\n\r\n{"
    async with AsyncExitStack() as stack:
        for _ in range(60):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(head + token)
        await asyncio.sleep(0.1)
        for _ in range(10):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                assert (await client.get("/livez")).status_code == 200


async def test_a_trailer_is_not_a_header(port: int) -> None:
    start = b"POST /v1/customers HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    answer = await exchange(port, start + b"\r\n0\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_another_transfer_coding_is_refused(port: int) -> None:
    start = b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = await exchange(port, start + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    assert problem(answer) == (415, "unsupported_content_encoding")
