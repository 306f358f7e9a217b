"""Two services behind HAProxy and behind nginx, set up as the README says, restarted in turn.

Clients write and read meanwhile: no request fails, and every write that was acknowledged is there,
once. Then one service is killed: what was acknowledged is there too. Run by `bash .ci/run --full`;
needs the packages `haproxy` and `nginx`.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.command import run
from tests.operation.clusters import Cluster, prepare, primary_in
from tests.operation.running import ROOT, Running, directory, free_port

pytestmark = pytest.mark.pooler

_CLIENTS = 8
_DRAIN_SECONDS = 4
_NOTICE_SECONDS = 3
_README = (ROOT / "README.md").read_text("utf-8")


def block(language: str) -> str:
    """The README's configuration in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", _README, re.MULTILINE | re.DOTALL)
    return str(found)


def addressed(configuration: str, ports: tuple[int, int]) -> str:
    """The configuration with the two services where they listen here."""
    for host, port in zip(("10.0.0.11", "10.0.0.12"), ports, strict=True):
        assert f"{host}:8000" in configuration
        configuration = configuration.replace(f"{host}:8000", f"127.0.0.1:{port}")
    return configuration


def haproxy(folder: Path, ports: tuple[int, int], port: int) -> list[str]:
    given = addressed(block("haproxy"), ports)
    listens = "bind :443 ssl crt /etc/haproxy/assistenza.pem"
    assert listens in given
    (folder / "haproxy.cfg").write_text(given.replace(listens, f"bind 127.0.0.1:{port}"))
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def nginx(folder: Path, ports: tuple[int, int], port: int) -> list[str]:
    given = addressed(block("nginx"), ports)
    listens = "listen 443 ssl;"
    assert listens in given
    given = given.replace(listens, f"listen 127.0.0.1:{port};")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths}{given} }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


_PROXIES = {"haproxy": haproxy, "nginx": nginx}


@contextmanager
def proxy(name: str, ports: tuple[int, int]) -> Iterator[str]:
    """The address of a proxy before two services."""
    with directory() as folder:
        port = free_port()
        program, *arguments = _PROXIES[name](folder, ports, port)
        found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert found, f"{name} is not installed: apt-get install {name}"
        with (folder / "said").open("wb") as said:
            running = subprocess.Popen([found, *arguments], stdout=said, stderr=said)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.wait(30)


class Writers:
    """Clients that make customers and read lists, each request once, until the load ends."""

    def __init__(self, address: str, token: str, name: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"}
        self._name = name
        self.answers: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self.longest_without = 0.0
        self.ends = False

    async def run(self) -> None:
        await asyncio.gather(*(self._work(number) for number in range(_CLIENTS)))

    async def _work(self, number: int) -> None:
        # Half of them open a connection for each request.
        kept = None if number % 2 else 0
        limits = httpx.Limits(max_keepalive_connections=kept)
        answered_at = time.monotonic()
        count = 0
        async with httpx.AsyncClient(
            base_url=self._address, headers=self._headers, limits=limits, timeout=30
        ) as client:
            while not self.ends:
                count += 1
                code = f"{self._name}-{number}-{count}"
                body = {"code": code, "name": "Esempio", "country": "IT"}
                kinds = [
                    await self._ask(client, "POST", "/v1/customers", code, body),
                    await self._ask(client, "GET", "/v1/customers?limit=1", None, None),
                ]
                if kinds == ["201", "200"]:
                    gap = time.monotonic() - answered_at
                    self.longest_without = max(self.longest_without, gap)
                    answered_at = time.monotonic()
                await asyncio.sleep(0.02)

    async def _ask(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        code: str | None,
        body: dict[str, str] | None,
    ) -> str:
        try:
            kind = str((await client.request(method, path, json=body)).status_code)
        except httpx.TransportError as error:
            kind = type(error).__name__
        self.answers[kind] += 1
        if kind == "201" and code is not None:
            self.acknowledged.add(code)
        return kind

    @property
    def failed(self) -> dict[str, int]:
        return {kind: count for kind, count in self.answers.items() if kind not in ("200", "201")}


class Pair:
    """Two services on one database, each of which can be restarted on its port."""

    def __init__(self, primary: Cluster) -> None:
        self._settings: dict[str, Any] = {
            "database_url": primary.url(),
            "drain_seconds": _DRAIN_SECONDS,
        }
        self.services = [Running(**self._settings), Running(**self._settings)]

    @property
    def ports(self) -> tuple[int, int]:
        return self.services[0].port, self.services[1].port

    def stop(self) -> None:
        for service in self.services:
            service.stop()

    def restart(self, index: int, number: int) -> int:
        """End one by a signal and start it again; the exit code."""
        service = self.services[index]
        service.signal(number)
        ended = service.wait()
        self.services[index] = Running(**{**self._settings, "port": service.port})
        self.services[index].wait_until_ready()
        return ended


@pytest.fixture(scope="module")
def primary() -> Iterator[Cluster]:
    with directory() as parent, primary_in(parent) as primary:
        asyncio.run(prepare(primary))
        yield primary


@pytest.fixture(scope="module")
def token(primary: Cluster) -> str:
    scopes = ("--scope", "customers:write", "--scope", "customers:read")
    done = run("keys", "create", "--name", "a", *scopes, env={
        "ASSISTENZA_DATABASE_URL": primary.url(),
    })  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def pair(primary: Cluster) -> Iterator[Pair]:
    pair = Pair(primary)
    try:
        for service in pair.services:
            service.wait_until_ready()
        yield pair
    finally:
        pair.stop()


async def stored(primary: Cluster, name: str) -> Counter[str]:
    connection = await asyncpg.connect(primary.url("postgres"))
    rows = await connection.fetch("SELECT code FROM customers WHERE code LIKE $1", f"{name}-%")
    await connection.close()
    return Counter(row["code"] for row in rows)


@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_one_after_another(
    kind: str,
    number: signal.Signals,
    pair: Pair,
    primary: Cluster,
    token: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"{kind}-{number.name}"
    with proxy(kind, pair.ports) as address:
        await until_it_answers(address)
        writers = Writers(address, token, name)
        load = asyncio.create_task(writers.run())
        began = time.monotonic()
        try:
            await asyncio.sleep(_NOTICE_SECONDS)
            for index in (0, 1):
                ended = await asyncio.to_thread(pair.restart, index, number)
                assert ended == (0 if number == signal.SIGTERM else -number)
                await asyncio.sleep(_NOTICE_SECONDS)
        finally:
            writers.ends = True
            await load
        took = time.monotonic() - began
    found = await stored(primary, name)
    lost = writers.acknowledged - found.keys()
    doubled = [code for code, count in found.items() if count > 1]
    with capsys.disabled():
        print(
            f"\n{kind}, {number.name}: {writers.answers.total()} requests in {took:.0f} s,"
            f" errors {writers.failed}, longest time without an answer"
            f" {writers.longest_without:.1f} s, {len(writers.acknowledged)} writes acknowledged,"
            f" {len(lost)} lost, {len(doubled)} doubled"
        )
    assert (lost, doubled) == (set(), [])
    assert len(writers.acknowledged) > 100
    if number == signal.SIGTERM:
        assert writers.failed == {}
    else:
        # Only what the killed service had under way: two requests of a client at most.
        assert sum(writers.failed.values()) <= 2 * 2 * _CLIENTS


async def until_it_answers(address: str) -> None:
    deadline = time.monotonic() + 30
    async with httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(f"{address}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "the proxy does not answer"
            await asyncio.sleep(0.1)
