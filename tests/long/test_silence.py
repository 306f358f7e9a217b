"""PostgreSQL stands still and another takes its address: everything answers again within 6 s.

Real processes and the default settings: clients that read and write, a relay as the address, one
server whose processes are stopped (SIGSTOP), and another one that answers new connections.
"""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import make_url

from app.services.tokens import SCOPES
from app.store import migrations
from app.store.embedded import EmbeddedPostgres
from tests.line import line_to, through, where
from tests.long.home import ROOT
from tests.long.test_faults import frozen

pytestmark = pytest.mark.long

_CLIENTS = 8
_ANSWERS_AGAIN = 6.0
# A machine that has other things to do.
_MARGIN = 4.0
_CALM = 3.0


@pytest.fixture
def directory() -> Iterator[Path]:
    # As root the database runs as another account, which must be able to pass through.
    parent = Path(tempfile.mkdtemp(prefix="assistenza-silence-"))
    parent.chmod(0o755)
    try:
        yield parent
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def command(url: str, *arguments: str) -> list[str]:
    environment = [f"ASSISTENZA_DATABASE_URL={url}", f"PYTHONPATH={ROOT}"]
    return ["env", *environment, sys.executable, "-B", "-m", "app.cli", *arguments]


def key(url: str, *options: str) -> str:
    create = command(url, "keys", "create", "--name", f"load{len(options)}", *options)
    done = subprocess.run(create, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def serving(url: str, log: Path) -> Iterator[str]:
    """The service on a database; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as said:
        serve = command(url, "serve", "--port", str(port))
        service = subprocess.Popen(serve, stdout=said, stderr=said)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        service.kill()
        service.wait()


async def ready(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):
            if (await client.get("/readyz")).status_code == 200:
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def said(log: Path) -> str:
    return log.read_text()[-1_000_000:]


class Load:
    """Clients that ask for everything in turn; the moment at which anything last failed."""

    def __init__(self, address: str, token: str, bound: str) -> None:
        self.address = address
        self.staff = {"Authorization": f"Bearer {token}"}
        self.bound = {"Authorization": f"Bearer {bound}"}
        self.answered = self.failed = 0
        self.last_failure = 0.0
        self.asked_at: dict[int, float] = {}

    def _requests(self) -> list[tuple[str, str, dict[str, str]]]:
        asked = "/v1/entitlements?customer_code=TARGET"
        return [
            ("GET", "/v1/customers", self.staff),
            ("GET", asked, self.staff),
            ("PATCH", "/v1/customers/TARGET", self.staff),
            ("GET", "/v1/entitlements/export", self.staff),
            ("GET", "/readyz", {}),
            ("GET", "/v1/customers", self.bound),
            ("GET", asked, self.bound),
        ]

    async def run(self, number: int) -> None:
        turn, requests = number, self._requests()
        async with httpx.AsyncClient(base_url=self.address, timeout=30) as client:
            while True:
                method, path, headers = requests[turn % len(requests)]
                turn += 1
                json = {"name": "Again"} if method == "PATCH" else None
                self.asked_at[number] = time.monotonic()
                try:
                    answer = await client.request(method, path, headers=headers, json=json)
                    status = answer.status_code
                except httpx.RemoteProtocolError:
                    # An export that was under way is cut.
                    status = 503
                # Too many exports at once are refused, which is right.
                assert status in (200, 429, 503), answer.text
                if status == 503:
                    self.failed += 1
                    self.last_failure = time.monotonic()
                else:
                    self.answered += 1
                await asyncio.sleep(0.02)

    def is_calm(self) -> bool:
        """Nothing has failed for a while, and nobody waits for an answer."""
        since = time.monotonic() - _CALM
        return self.last_failure < since and min(self.asked_at.values()) > since


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


def test_a_server_that_stands_still(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = asyncio.run(_stand_still(directory))
    with capsys.disabled():
        print("\n" + figures)


async def _stand_still(directory: Path) -> str:
    old = EmbeddedPostgres(directory / "old", durable=False)
    with old.serve() as server:
        await migrations.upgrade(_with_driver(server.owner_dsn))
        url = server.app_dsn
        every = [word for scope in sorted(SCOPES) for word in ("--scope", scope)]
        token = await asyncio.to_thread(key, url, *every)
        with serving(url, directory / "first.log") as address:
            async with httpx.AsyncClient(base_url=address) as client:
                await ready(client)
                body = {"code": "TARGET", "name": "Silence", "country": "IT"}
                headers = {"Authorization": f"Bearer {token}"}
                made = await client.post("/v1/customers", json=body, headers=headers)
                assert made.status_code == 201, made.text
        some = ("--scope", "customers:read", "--scope", "entitlements:read")
        bound = await asyncio.to_thread(key, url, *some, "--customer", "TARGET")
    copy = ["cp", "-a", str(directory / "old"), str(directory / "new")]
    await asyncio.to_thread(subprocess.run, copy, check=True, timeout=60)
    new = EmbeddedPostgres(directory / "new", durable=False)
    with old.serve(), new.serve():
        async with line_to(make_url(old.app_dsn)) as (line, port):
            address = through(make_url(old.app_dsn), port).render_as_string(hide_password=False)
            log = directory / "service.log"
            with serving(address, log) as service:
                async with httpx.AsyncClient(base_url=service) as client:
                    await ready(client)
                load = Load(service, token, bound)
                work = [asyncio.create_task(load.run(turn)) for turn in range(_CLIENTS)]
                await asyncio.sleep(_CALM)
                assert load.failed == 0, said(log)
                with frozen(psutil.Process(old.pid)):
                    line.host, line.port = where(make_url(new.app_dsn))
                    began = time.monotonic()
                    load.answered = 0
                    await asyncio.sleep(_ANSWERS_AGAIN)
                    while not load.is_calm():
                        assert time.monotonic() - began < 60, said(log)
                        await asyncio.sleep(0.1)
                    for task in work:
                        task.cancel()
                    ended = await asyncio.gather(*work, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
    assert "unhandled" not in said(log)
    assert load.failed > 0, "no request met the server that stands still"
    took = load.last_failure - began
    figures = (
        f"all answered again {took:.1f} s after; {load.failed} refused, {load.answered} answered"
    )
    assert took < _ANSWERS_AGAIN + _MARGIN, figures
    return figures
