"""The longest time for which one request of each kind holds the event loop.

    python -m tests.benchmarks.longest

Meanwhile no other request is answered. The service runs in this process on an embedded PostgreSQL,
for the customer of `tests/largest.py`. Each call is made three times; the shortest of the three
longest times counts, since other programs of the machine can only add to one. Aim: 50 ms.
"""

import asyncio
import secrets
import tempfile
import time
from asyncio.events import Handle
from pathlib import Path
from typing import Any

import httpx

from app.http import logs
from app.main import create_app
from app.policy.document import load
from app.services.tokens import SCOPES
from app.settings import Settings
from app.store import migrations
from app.store.database import Database
from app.store.embedded import EmbeddedPostgres
from tests.benchmarks.common import say
from tests.conftest import Server, Service
from tests.largest import fill

_TIMES = 3
_AIM = 0.050


class Held:
    """The longest run of one step of the event loop since `start`."""

    longest = 0.0

    def install(self) -> None:
        run: Any = Handle._run

        def timed(handle: Handle) -> None:
            began = time.perf_counter()
            run(handle)
            self.longest = max(self.longest, time.perf_counter() - began)

        Handle._run = timed  # type: ignore[method-assign,assignment]

    def start(self) -> None:
        self.longest = 0.0


async def _measure(admin_url: str) -> None:
    server = Server(admin_url, secrets.token_hex(16), "longest")
    await server.run("CREATE DATABASE longest")
    url = server.url("longest")
    await migrations.upgrade(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    settings = Settings(database_url=url, request_timeout=60, statement_timeout_ms=60_000)
    policies = load()
    async with Database(settings) as database:
        app = create_app(settings, policies=policies, database=database)
        service = Service(app, database, server, "longest", policies)
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://test",
            headers={"Authorization": f"Bearer {await service.token(*SCOPES)}"},
        )
        largest = await fill(service, client)
        held = Held()
        held.install()
        say(f"{'call':32}{'held, ms':>10}{'whole, ms':>11}{'status':>8}{'bytes':>12}")
        worst = 0.0
        for name in largest.calls:
            longest, whole = [], []
            for _ in range(_TIMES):
                held.start()
                began = time.perf_counter()
                answer = await largest.send(name)
                whole.append(time.perf_counter() - began)
                longest.append(held.longest)
            worst = max(worst, min(longest))
            say(
                f"{name:32}{min(longest) * 1e3:10.1f}{min(whole) * 1e3:11.1f}"
                f"{answer.status_code:8}{len(answer.content):12,}"
            )
        await largest.client.aclose()
        say(f"longest: {worst * 1e3:.1f} ms (aim: {_AIM * 1e3:.0f} ms)")


def main() -> None:
    logs.configure("error")
    with tempfile.TemporaryDirectory(prefix="assistenza-longest-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with EmbeddedPostgres(directory / "data", durable=False).serve() as server:
            asyncio.run(_measure(server.admin_dsn))


if __name__ == "__main__":
    main()
