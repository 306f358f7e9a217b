"""Every known abuse at once, in a process of its own: `python -m tests.long.siege`.

Reads `{"port", "token", "bound", "seconds"}` as JSON from standard input, and prints how often each
abuse was answered by which status.
"""

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx

_IDLE = 400
_EXPORTS = 12
_HEAD = b"POST /v1/customers HTTP/1.1\r\nHost: x\r\n"


class Siege:
    """The abuse. Whatever it is answered is counted by its kind and status."""

    def __init__(self, port: int, token: str, bound: str, seconds: float) -> None:
        self.port = port
        self.token = token
        self.bound = bound
        self.until = time.monotonic() + seconds
        self.answers: Counter[str] = Counter()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for attack, count in (
                (self._head, 4),
                (self._body, 20),
                (self._export, _EXPORTS),
                (self._flood, 4),
                (self._idle, _IDLE),
            ):
                for _ in range(count):
                    group.create_task(self._again(attack))

    async def _again(self, attack: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self.until:
            with contextlib.suppress(OSError, httpx.TransportError, EOFError):
                await attack()
            await asyncio.sleep(0.05)

    async def _speak(self, kind: str, *pieces: bytes, pause: float = 0.0) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def send() -> None:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)

        sending = asyncio.create_task(send())
        try:
            line = await asyncio.wait_for(reader.readline(), 20)
            self.answers[f"{kind} {line[9:12].decode() or 'closed'}"] += 1
        finally:
            sending.cancel()
            writer.transport.abort()

    async def _head(self) -> None:
        await self._speak("head", _HEAD + b"X: ", *[b"y" * 262_144] * 64)

    async def _body(self) -> None:
        head = _HEAD + b"Content-Type: application/json\r\nContent-Length: 9000\r\n"
        token = f"Authorization: Bearer {self.token}\r\n\r\n".encode()
        await self._speak("body", head + token, *[b" "] * 40, pause=0.5)

    async def _export(self) -> None:
        head = b"GET /v1/entitlements/export HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        token = f"Authorization: Bearer {self.token}\r\n\r\n".encode()
        # With a small buffer of its own the client really keeps the service waiting.
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=small, limit=4096)
        try:
            writer.write(head + token)
            line = await reader.readline()
            self.answers[f"export {line[9:12].decode()}"] += 1
            for _ in range(20):
                if not await reader.read(512):
                    return
                await asyncio.sleep(0.5)
        finally:
            writer.transport.abort()

    async def _flood(self) -> None:
        body = {
            "requester": {"name": "Plant engineer"},
            "serial_number": "S-0",
            "subject": "Flood",
            "description": "The same again.",
        }
        headers = {"Authorization": f"Bearer {self.bound}"}
        url = f"http://127.0.0.1:{self.port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            while time.monotonic() < self.until:
                answer = await client.post("/v1/cases", json=body)
                self.answers[f"flood {answer.status_code}"] += 1

    async def _idle(self) -> None:
        await self._speak("idle", b"")


if __name__ == "__main__":
    siege = Siege(**json.load(sys.stdin))
    asyncio.run(siege.run())
    print(json.dumps(siege.answers))
