"""Faults under load: nothing acknowledged is lost, no 500, no endless wait, and it recovers.

The real service over loopback, with its embedded PostgreSQL, while clients read and write: the
database is stopped, frozen, its rows and tables locked, the pools used up, and at last the
service told to end. `ASSISTENZA_FAULT_SECONDS` says how long each fault lasts (3 by default).
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import psutil
import pytest

from tests.long.home import Home

pytestmark = pytest.mark.long

_SECONDS = float(os.environ.get("ASSISTENZA_FAULT_SECONDS", "3"))
_CLIENTS = 8
_REQUEST = 2.0
_SETTINGS = {
    "CONNECTIONS": "20",
    "POOL_TIMEOUT": "1",
    "CONNECT_TIMEOUT": "1",
    "LOCK_TIMEOUT_MS": "1000",
    "STATEMENT_TIMEOUT_MS": "1500",
    "REQUEST_TIMEOUT": str(_REQUEST),
}
# Two seconds to end a connection in good order, and a machine that has other things to do.
_SLOWEST = _REQUEST + 2 + 3
_RECOVERED = 20.0


class Harassed(Home):
    """With short deadlines and small pools."""

    def _command(self, *arguments: str) -> dict[str, Any]:
        command = super()._command(*arguments)
        command["env"] |= {f"ASSISTENZA_{name}": value for name, value in _SETTINGS.items()}
        return command

    @property
    def service(self) -> psutil.Process:
        assert self._service is not None
        return psutil.Process(self._service.pid)

    @property
    def postmaster(self) -> psutil.Process:
        file = self.data_dir / "cluster" / "postmaster.pid"
        return psutil.Process(int(file.read_text().split()[0]))

    def ended(self) -> int:
        assert self._service is not None
        return self._service.wait(40)


@pytest.fixture
def home() -> Iterator[Harassed]:
    # As root the database runs as another account, which must be able to pass through.
    parent = Path(tempfile.mkdtemp(prefix="assistenza-faults-"))
    parent.chmod(0o755)
    home = Harassed(parent / "data")
    try:
        yield home
    finally:
        home.end()
        shutil.rmtree(parent, ignore_errors=True)


class Answer(NamedTuple):
    status: int
    """0 where the line was cut."""
    seconds: float


class Load:
    """Clients that read and write until told to stop; a write is repeated until it is answered."""

    def __init__(self, home: Harassed, token: str) -> None:
        self.home = home
        self.headers = {"Authorization": f"Bearer {token}"}
        self.answers: list[Answer] = []
        self.alive: list[Answer] = []
        self.acknowledged: set[str] = set()
        self.repeated = self.replayed = 0
        self.target = ""
        self._stop = asyncio.Event()
        self._count = 0
        self._next_client = 0

    def client(self) -> httpx.AsyncClient:
        url, timeout = self.home.url, 2 * _SLOWEST
        return httpx.AsyncClient(base_url=url, headers=self.headers, timeout=timeout)

    async def ask(
        self, client: httpx.AsyncClient, method: str, path: str, **more: Any
    ) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = await client.request(method, path, **more)
        except httpx.TransportError:
            answer = None
        status = answer.status_code if answer else 0
        self.answers.append(Answer(status, time.monotonic() - began))
        if status == 503:
            assert answer is not None
            assert answer.headers["retry-after"]
            assert answer.json()["code"] == "service_unavailable"
        return answer

    async def write(self, client: httpx.AsyncClient) -> None:
        self._count += 1
        code = f"F-{self._count}"
        body = {"code": code, "name": "Fault", "country": "IT"}
        while True:
            answer = await self.ask(
                client, "POST", "/v1/customers", json=body, headers={"Idempotency-Key": code}
            )
            if answer is not None and answer.status_code == 201:
                self.acknowledged.add(code)
                self.replayed += "idempotent-replayed" in answer.headers
                return
            # A 409 is the first try, which is still under way.
            assert answer is None or answer.status_code in (409, 503), answer.text
            if self._stop.is_set():
                return
            self.repeated += 1
            await asyncio.sleep(0.1)

    async def _work(self) -> None:
        asked = {"customer_code": self.target}
        async with self.client() as client:
            while not self._stop.is_set():
                await self.write(client)
                answers = [
                    await self.ask(client, "GET", "/v1/entitlements", params=asked),
                    await self.ask(client, "GET", "/v1/customers"),
                    await self.ask(
                        client, "PATCH", f"/v1/customers/{self.target}", json={"name": "Again"}
                    ),
                ]
                for answer in answers:
                    assert answer is None or answer.status_code in (200, 503), answer.text
                if None in answers or any(one and one.status_code == 503 for one in answers):
                    await asyncio.sleep(0.1)

    async def _look(self) -> None:
        async with self.client() as client:
            while not self._stop.is_set():
                began = time.monotonic()
                with contextlib.suppress(httpx.TransportError):
                    status = (await client.get("/livez")).status_code
                    self.alive.append(Answer(status, time.monotonic() - began))
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._stop.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(_CLIENTS):
                group.create_task(self._work())
            group.create_task(self._look())
            try:
                yield
            finally:
                self._stop.set()

    def figures(self, name: str, recovered: float | None = None) -> str:
        """What was seen since the last time, and whether it may be so."""
        answers, self.answers = self.answers, []
        alive, self.alive = self.alive, []
        statuses = Counter(answer.status for answer in answers)
        slowest = max(answer.seconds for answer in answers)
        slowest_alive = max(answer.seconds for answer in alive)
        said = (
            f"{name}: {statuses[200] + statuses[201]} answered, {statuses[503]} refused (503),"
            f" {statuses[409]} still running (409), {statuses[0]} cut,"
            f" slowest {slowest:.2f} s, /livez {slowest_alive:.2f} s"
        )
        if recovered is not None:
            said += f", recovered {recovered:.2f} s after"
        assert set(statuses) <= {0, 200, 201, 409, 503}, said
        assert {answer.status for answer in alive} == {200}, said
        assert slowest < _SLOWEST, said
        assert slowest_alive < 2, said
        return said

    async def recovered(self) -> float:
        """How long until a write of its own is done."""
        began = time.monotonic()
        async with self.client() as client:
            await asyncio.wait_for(self.write(client), _RECOVERED)
        return time.monotonic() - began


@contextlib.asynccontextmanager
async def locking(url: str, command: str, *parameters: Any) -> AsyncIterator[None]:
    other = await asyncpg.connect(url)
    try:
        async with other.transaction():
            await other.execute(command, *parameters)
            yield
    finally:
        await other.close()


def test_faults_under_load(home: Harassed, capsys: pytest.CaptureFixture[str]) -> None:
    said = asyncio.run(_faults(home))
    with capsys.disabled():
        print("\n" + "\n".join(said))


async def _faults(home: Harassed) -> list[str]:
    home.start()
    await home.ready()
    load = Load(home, home.key())
    said = []
    async with load.client() as client:
        body = {"code": "TARGET", "name": "Fault", "country": "IT"}
        customer = (await client.post("/v1/customers", json=body)).json()["id"]
    load.target = "TARGET"
    row = "SELECT FROM customers WHERE id = $1 FOR UPDATE"
    with home.database() as url:
        async with load.running():
            await asyncio.sleep(_SECONDS)
        said.append(load.figures("no fault"))

        async with load.running():
            await asyncio.sleep(0.3)
            home.postmaster.send_signal(signal.SIGINT)
            recovered = await load.recovered()
            await asyncio.sleep(_SECONDS)
        said.append(load.figures("database stopped and started", recovered))

        async with load.running():
            await asyncio.sleep(0.3)
            with frozen(home.postmaster):
                await asyncio.sleep(max(_SECONDS, _REQUEST + 3))
            recovered = await load.recovered()
        said.append(load.figures("database frozen", recovered))
        assert " 0 refused" not in said[-1], said[-1]

        async with load.running():
            await asyncio.sleep(0.3)
            async with locking(url, row, customer):
                await asyncio.sleep(_SECONDS)
            recovered = await load.recovered()
        said.append(load.figures("a row locked", recovered))
        assert " 0 refused" not in said[-1], said[-1]

        # Whoever comes stands before the table of tokens, with a connection in the hand.
        async with load.running():
            await asyncio.sleep(0.3)
            async with locking(url, "LOCK TABLE tokens"), load.client() as client:
                asked = (load.ask(client, "GET", "/v1/customers") for _ in range(100))
                await asyncio.gather(*asked)
            recovered = await load.recovered()
        said.append(load.figures("pools used up", recovered))
        assert " 0 refused" not in said[-1], said[-1]

        postmaster = home.postmaster
        async with load.running():
            await asyncio.sleep(1)
            said.append(await told_to_end(home, load, url, row, customer))
        said.append(load.figures("SIGTERM"))
    assert not postmaster.is_running(), "the database was left behind"

    with home.database() as url:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "SELECT code, count(*) FROM customers WHERE code LIKE 'F-%' GROUP BY code"
        )
        counts: dict[str, int] = {row["code"]: row["count"] for row in rows}
        tidied = await connection.fetchval("SELECT last_used_at IS NOT NULL FROM tokens")
        await connection.close()
    lost = load.acknowledged - counts.keys()
    doubled = [code for code, count in counts.items() if count > 1]
    assert (lost, doubled) == (set(), [])
    assert tidied, "what the service had in memory was not written at the end"
    said.append(
        f"{len(load.acknowledged)} writes acknowledged, {load.repeated} repeated"
        f" ({load.replayed} had been done), {len(lost)} lost, {len(doubled)} doubled"
    )
    return said


@contextlib.contextmanager
def frozen(postmaster: psutil.Process) -> Iterator[None]:
    """The server and all that serve its connections stand still, as a machine that swaps."""
    still = [postmaster, *postmaster.children()]
    try:
        for process in still:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in still:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


async def told_to_end(home: Harassed, load: Load, url: str, row: str, customer: str) -> str:
    """SIGTERM: what is under way gets its answer, nothing new is taken, the exit code is 0."""
    async with load.client() as client, load.client() as late:
        async with locking(url, row, customer):
            change = asyncio.create_task(
                client.patch(f"/v1/customers/{customer}", json={"name": "Under way"})
            )
            await asyncio.sleep(0.2)
            began = time.monotonic()
            home.service.terminate()
            await asyncio.sleep(0.3)
            assert not change.done()
            with pytest.raises(httpx.ConnectError):
                await late.get("/livez")
        assert (await change).status_code == 200, (await change).text
    code = await asyncio.to_thread(home.ended)
    assert code == 0, home.last_words()
    return f"told to end: exit code {code} after {time.monotonic() - began:.2f} s"
