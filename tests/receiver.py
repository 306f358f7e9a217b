"""A receiver of webhooks in the test's own process, which does what a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from standardwebhooks import Webhook

ALLOWED = ("127.0.0.1/32",)
"""The setting `webhook_allow` of a service that may call it."""


@dataclass(frozen=True)
class Call:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = orjson.loads(self.body)
        return event

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verify(self, secret: str) -> None:
        """Raises WebhookVerificationError unless it was signed with the secret."""
        Webhook(secret).verify(self.body, self.headers)


@dataclass
class Reply:
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: float = 0.0
    """Seconds before the answer."""
    close: bool = False
    """Closes the connection instead."""
    raw: bytes | None = None
    """Sent as it is, in place of an answer."""


Answering = Callable[[Call], Awaitable[Reply]]


async def _accept(_: Call) -> Reply:
    return Reply()


class Receiver:
    """Notes every call, and answers it as `answering` says: with 204 at first."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answering: Answering = _accept
        self.at_once = 0
        self.most_at_once = 0
        self.connections = 0
        self.port = 0
        self._serving: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, **reply: Any) -> None:
        """Answer every call the same."""

        async def same(_: Call) -> Reply:
            return Reply(**reply)

        self.answering = same

    @property
    def heard(self) -> list[str]:
        return [call.id for call in self.calls]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while await self._once(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            # The test ends. A task that is cancelled would be logged as an error.
            pass
        finally:
            self._serving.discard(task)
            writer.close()

    async def end(self) -> None:
        """Close all connections."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        # Transports close with the next turn of the loop.
        await asyncio.sleep(0.01)

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        call = Call(request.split(" ")[1], headers, body)
        self.calls.append(call)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            reply = await self.answering(call)
            if reply.hang:
                await asyncio.sleep(reply.hang)
        finally:
            self.at_once -= 1
        if reply.close:
            return False
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
            return True
        sent = {"Content-Length": str(len(reply.body)), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} Said", *(f"{n}: {v}" for n, v in sent.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
        await writer.drain()
        return True


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own, with TLS if there is a context."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await receiver.end()


def misordered(calls: list[Call]) -> list[str]:
    """Where a customer's event came first after a later one of the same customer."""
    last: dict[tuple[str, str | None], str] = {}
    seen: set[tuple[str, str]] = set()
    wrong = []
    for call in calls:
        lane = (call.path, call.event.get("partitionkey"))
        if (call.path, call.id) in seen:
            continue
        seen.add((call.path, call.id))
        if call.event["sequence"] < last.get(lane, ""):
            wrong.append(f"{lane} {call.id}")
        last[lane] = call.event["sequence"]
    return wrong
