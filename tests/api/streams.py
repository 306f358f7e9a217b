"""Event streams without a server: what a client of one gets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.http.following import Watch
from tests.conftest import Service, publish_all


@asynccontextmanager
async def watched(service: Service) -> AsyncIterator[None]:
    """A watch runs, as it does beside a server."""
    closed, service.app.state.watch = service.app.state.watch, Watch()
    task = asyncio.create_task(service.app.state.watch.run(service.database))
    try:
        yield
    finally:
        task.cancel()
        service.app.state.watch = closed


def parsed(part: str) -> dict[str, str]:
    """The fields of a server-sent event."""
    return dict(line.split(": ", 1) for line in part.splitlines())


async def listened(
    service: Service,
    client: httpx.AsyncClient,
    most: int,
    headers: dict[str, str],
    then: Callable[[], Awaitable[Any]] | None = None,
) -> list[dict[str, str]]:
    """So many events of a stream; `then` is done once it has begun."""
    found: list[dict[str, str]] = []
    begun, enough = asyncio.Event(), asyncio.Event()

    def hear(event: dict[str, str]) -> None:
        found.append(event)
        if len(found) >= most:
            enough.set()

    stream = asyncio.create_task(follow(service, client, headers, hear, begun))
    async with asyncio.timeout(30):
        await begun.wait()
        if then is not None:
            await then()
            await publish_all(service)
        await enough.wait()
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    return found


async def follow(
    service: Service,
    client: httpx.AsyncClient,
    headers: dict[str, str],
    hear: Callable[[dict[str, str]], None],
    begun: asyncio.Event | None = None,
) -> None:
    """Hear the events of a stream until it ends or this is cancelled."""
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    pending = b""

    async def send(message: Any) -> None:
        nonlocal pending
        if message["type"] == "http.response.start":
            assert message["status"] == 200
            assert (b"content-type", b"text/event-stream; charset=utf-8") in message["headers"]
            return
        if begun is not None:
            begun.set()
        pending += message.get("body", b"")
        *whole, pending = pending.split(b"\n\n")
        for part in whole:
            if b"data: " in part:
                hear(parsed(part.decode()))

    authorization = client.headers["Authorization"]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/events/stream",
        "raw_path": b"/v1/events/stream",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "query_string": b"",
        "headers": [
            (b"host", b"test"),
            (b"authorization", authorization.encode()),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    await service.app(scope, receive, send)
