"""Debian's Patroni with etcd, set up as `app/store/REPLICATION.md` says: switchovers and kills.

Clients write meanwhile, each request with an `Idempotency-Key` and again with the same one until it
is answered: with synchronous replication no acknowledged write is lost and none is made twice. The
service names both servers in its address, or reaches the primary through PgBouncer and HAProxy. Run
by `bash .ci/run --full`; needs the packages `patroni`, `etcd-server`, `haproxy` and `pgbouncer`.
"""

import asyncio
import os
import re
import shutil
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
import yaml

from app.store.roles import DATABASE, LOGIN, OWNER
from tests.command import ROOT, run
from tests.operation.clusters import prepare_on
from tests.operation.running import Running, directory, free_port

pytestmark = pytest.mark.pooler

_PAGE = (ROOT / "app" / "store" / "REPLICATION.md").read_text("utf-8")
_SUPERUSER, _PASSWORD = "postgres", "CHANGE-ME-4"
_WEB = "assistenza_web"
_CLIENTS = 6
_SECONDS = 120
"""For whatever is waited for."""


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def until(condition: Callable[[], bool], what: str, log: Path | None = None) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            said = [] if log is None else log.read_text("utf-8").splitlines()[-20:]
            pytest.fail("\n".join([what, *said]))
        time.sleep(0.1)


def as_server() -> dict[str, Any]:
    """The account of PostgreSQL, which does not run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


@contextmanager
def program(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of Debian's, as PostgreSQL's account, until the end."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is not installed"
    with (folder / f"{name}.log").open("ab") as said:
        running = subprocess.Popen(
            [found, *arguments], stdout=said, stderr=said, cwd=folder, **as_server()
        )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)


class Node:
    """A machine: Patroni and its PostgreSQL."""

    def __init__(self, folder: Path, name: str, etcd: int) -> None:
        self.name = name
        self.folder = folder
        self.port, self.api = free_port(), free_port()
        self._data = folder / name
        settings = yaml.safe_load(block("yaml").replace("10.0.0.0/24", "127.0.0.1/32"))
        programs = sorted(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2])
        )
        settings["name"] = name
        settings["etcd3"]["hosts"] = [f"127.0.0.1:{etcd}"]
        for key in ("listen", "connect_address"):
            settings["restapi"][key] = f"127.0.0.1:{self.api}"
            settings["postgresql"][key] = f"127.0.0.1:{self.port}"
        settings["postgresql"] |= {
            "data_dir": str(self._data),
            "bin_dir": str(programs[-1]),
            "pgpass": str(folder / f"{name}.pgpass"),
            "parameters": {"unix_socket_directories": str(folder)},
        }
        (folder / f"{name}.yml").write_text(yaml.safe_dump(settings))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        with self.log.open("ab") as said:
            self._process = subprocess.Popen(
                ["/usr/bin/patroni", str(self.folder / f"{self.name}.yml")],
                stdout=said,
                stderr=said,
                cwd=self.folder,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)},
                **as_server(),
            )

    def is_(self, role: str) -> bool:
        """Whether Patroni says so: `primary`, `replica`, `sync`."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.api}/{role}").status_code == 200
        except httpx.TransportError:
            return False

    def server_processes(self) -> list[psutil.Process]:
        try:
            main = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
            return [main, *main.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    def kill(self) -> None:
        """The machine fails: every process of it at once."""
        assert self._process is not None
        family = [psutil.Process(self._process.pid), *self.server_processes()]
        for process in family:
            if process.is_running():
                process.kill()
        self._process.wait(60)
        self._process = None

    def end(self) -> None:
        if self._process is not None:
            self.kill()


class Pair:
    """Two machines with one etcd."""

    def __init__(self, folder: Path, etcd: int) -> None:
        self.folder = folder
        self.nodes = [Node(folder, name, etcd) for name in ("db1", "db2")]

    def by(self, role: str) -> Node | None:
        return next((node for node in self.nodes if node.is_(role)), None)

    @property
    def primary(self) -> Node:
        node = self.by("primary")
        assert node is not None
        return node

    def wait_until_whole(self, *, synchronous: bool = True) -> None:
        role = "sync" if synchronous else "replica"
        until(lambda: bool(self.by("primary") and self.by(role)), "there are not two servers")

    def url(self, user: str) -> str:
        return f"postgresql://{user}@{','.join(node.server for node in self.nodes)}/{DATABASE}"

    def set(self, **settings: Any) -> None:
        """Change the settings that all have."""
        address = f"http://127.0.0.1:{self.primary.api}/config"
        assert httpx.patch(address, json=settings).status_code == 200

    async def ask(self, statement: str, *values: object) -> list[Any]:
        """Of the primary, as the superuser."""
        address = f"postgresql://{_SUPERUSER}:{_PASSWORD}@{self.primary.server}/{DATABASE}"
        connection = await asyncpg.connect(address)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with directory() as folder:
        if as_server():
            shutil.chown(folder, "postgres", "postgres")
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        etcd = (
            *("--data-dir", str(folder / "etcd"), "--initial-cluster", f"default={peer}"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        )
        with program(folder, "etcd", *etcd):
            pair = Pair(folder, int(client.rpartition(":")[2]))
            try:
                pair.nodes[0].start()
                until(
                    lambda: pair.nodes[0].is_("primary"), "the first server has not become primary"
                )
                pair.nodes[1].start()
                pair.wait_until_whole()
                asyncio.run(prepare_on(pair.primary.server, f"{_SUPERUSER}:{_PASSWORD}"))
                yield pair
            finally:
                for node in pair.nodes:
                    node.end()


@pytest.fixture(scope="module")
def token(pair: Pair) -> str:
    scopes = ("--scope", "customers:write", "--scope", "tickets:write")
    address = pair.url(f"{LOGIN}:one")
    done = run("keys", "create", "--name", "a", *scopes, ASSISTENZA_DATABASE_URL=address)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pooled(stack: ExitStack, pair: Pair) -> dict[str, Any]:
    """The settings of a service behind PgBouncer, before HAProxy, before the primary."""
    folder, front, pooler = pair.folder, free_port(), free_port()
    given = block("haproxy")
    for node, host in zip(pair.nodes, ("10.0.0.21", "10.0.0.22"), strict=True):
        written = f"{host}:5432 port 8008"
        assert written in given
        given = given.replace(written, f"{node.server} port {node.api}")
    (folder / "haproxy.cfg").write_text(given.replace("127.0.0.1:5000", f"127.0.0.1:{front}"))
    (folder / "users.txt").write_text(f'"{LOGIN}" "one"\n"{_WEB}" "three"\n')
    (folder / "pgbouncer.ini").write_text(
        f"""\
[databases]
{DATABASE} = host=127.0.0.1 port={front} dbname={DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {pooler}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder / "users.txt"}
pool_mode = transaction
ignore_startup_parameters = jit,statement_timeout,lock_timeout,idle_in_transaction_session_timeout
default_pool_size = 20
max_client_conn = 200
server_connect_timeout = 3
server_login_retry = 1
"""
    )
    stack.enter_context(program(folder, "haproxy", "-db", "-f", str(folder / "haproxy.cfg")))
    stack.enter_context(program(folder, "pgbouncer", str(folder / "pgbouncer.ini")))
    address = f"127.0.0.1:{pooler}/{DATABASE}"
    return {
        "database_url": f"postgresql://{LOGIN}:one@{address}",
        "bound_database_url": f"postgresql://{_WEB}:three@{address}",
        "prepared_statements": False,
    }


class Writers:
    """Clients that add a contact and sell a ticket by turns, each again until it is answered."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"}
        self.answers: Counter[str] = Counter()
        self.contacts: set[str] = set()
        """Acknowledged, by their names, each of which was sent with one key."""
        self.packs: list[str] = []
        """Acknowledged, by the numbers that were given out."""
        self.answered = [time.monotonic()]
        self._ends = asyncio.Event()

    @property
    def failed(self) -> dict[str, int]:
        return {kind: count for kind, count in self.answers.items() if kind != "201"}

    @property
    def recovery(self) -> float:
        """The longest time in which nothing was acknowledged, s."""
        return max(b - a for a, b in zip(self.answered, self.answered[1:], strict=False))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._work()) for _ in range(_CLIENTS)]
        try:
            yield
        finally:
            self._ends.set()
            await asyncio.gather(*tasks)

    async def _work(self) -> None:
        code = f"P-{uuid.uuid4()}"
        customer = {"code": code, "name": "Esempio", "country": "IT"}
        bought = str(datetime.now(UTC).date())
        sale = {"customer_id": code, "quantity": 1, "purchased_on": bought}
        async with httpx.AsyncClient(
            base_url=self._address, headers=self._headers, timeout=30
        ) as client:
            await self._send(client, "/v1/customers", customer)
            while not self._ends.is_set():
                name = str(uuid.uuid4())
                await self._send(client, f"/v1/customers/{code}/contacts", {"name": name})
                self.contacts.add(name)
                self.packs.append((await self._send(client, "/v1/ticket-packs", sale))["number"])
                await asyncio.sleep(0.02)

    async def _send(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                answer = await client.post(path, json=body, headers=headers)
                kind = str(answer.status_code)
            except httpx.TransportError as error:
                kind = type(error).__name__
            self.answers[kind] += 1
            if kind == "201":
                self.answered.append(time.monotonic())
                return answer.json()
            assert time.monotonic() < deadline, self.answers
            await asyncio.sleep(0.2)


def switchover(pair: Pair) -> None:
    """Planned: the primary steps down, and the other takes its place."""
    old = pair.primary
    (new,) = (node for node in pair.nodes if node is not old)
    address = f"http://127.0.0.1:{old.api}/switchover"
    answer = httpx.post(address, json={"leader": old.name, "candidate": new.name}, timeout=_SECONDS)
    assert answer.status_code == 200, answer.text
    until(lambda: new.is_("primary"), "the other did not take its place", new.log)


def loss(pair: Pair) -> None:
    """The primary fails without a word."""
    old = pair.primary
    (new,) = (node for node in pair.nodes if node is not old)
    old.kill()
    until(lambda: new.is_("primary"), "the other did not take its place", new.log)


def loss_with_the_other_behind(pair: Pair) -> None:
    """The same, when the standby has received nothing for three seconds."""
    old = pair.primary
    (new,) = (node for node in pair.nodes if node is not old)
    (receiver,) = (one for one in new.server_processes() if "walreceiver" in one.cmdline()[0])
    # By itself Patroni promotes none that lacks more than 1 MB.
    pair.set(maximum_lag_on_failover=2**26)
    receiver.suspend()
    time.sleep(3)
    old.kill()
    # If it went on, it would still find in its socket what the primary has sent.
    receiver.kill()
    until(lambda: new.is_("primary"), "the other did not take its place", new.log)


@pytest.mark.parametrize(
    ("through", "event", "synchronous"),
    [
        ("both addresses", switchover, True),
        ("both addresses", loss, True),
        ("PgBouncer and HAProxy", switchover, True),
        ("PgBouncer and HAProxy", loss, True),
        ("both addresses", loss, False),
        ("both addresses", loss_with_the_other_behind, False),
    ],
)
def test_a_failover(
    through: str,
    event: Callable[[Pair], None],
    synchronous: bool,
    pair: Pair,
    token: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pair.set(synchronous_mode=synchronous)
    pair.wait_until_whole(synchronous=synchronous)
    with ExitStack() as stack:
        settings: dict[str, Any] = {"database_url": pair.url(f"{LOGIN}:one")}
        if through != "both addresses":
            asyncio.run(make_web(pair))
            settings = pooled(stack, pair)
        service = Running(**settings)
        stack.callback(service.stop)
        service.wait_until_ready()
        writers, took = asyncio.run(write_during(pair, service, token, event))
    for node in pair.nodes:
        if not node.is_("primary"):
            node.end()
            node.start()
    owner = pair.url(f"{OWNER}:two")
    for command in ("after-restore", "reconcile"):
        variables = {"ASSISTENZA_MIGRATION_DATABASE_URL": owner, "ASSISTENZA_DATABASE_URL": owner}
        done = run(command, env=variables)
        assert done.returncode == 0, done.stdout + done.stderr
    contacts = Counter(row["name"] for row in asyncio.run(pair.ask("SELECT name FROM contacts")))
    rows = asyncio.run(pair.ask("SELECT number FROM ticket_packs"))
    lost = len(writers.contacts - contacts.keys())
    lost += len(set(writers.packs) - {row["number"] for row in rows})
    doubled = sum(count > 1 for count in contacts.values())
    twice = len(writers.packs) - len(set(writers.packs))
    acknowledged = len(writers.contacts) + len(writers.packs)
    kind = "synchronous" if synchronous else "asynchronous"
    with capsys.disabled():
        print(
            f"\n{event.__name__.replace('_', ' ')}, {kind}, through {through}:"
            f" {writers.answers.total()} requests, errors {writers.failed},"
            f" {took:.0f} s to another primary, longest time without an acknowledged write"
            f" {writers.recovery:.1f} s, {acknowledged} acknowledged, {lost} lost, {doubled}"
            f" doubled, {twice} numbers given twice"
        )
    assert acknowledged > 100
    assert doubled == 0
    if synchronous:
        assert (lost, twice) == (0, 0)
    if event is loss_with_the_other_behind:
        assert lost > 0


async def write_during(
    pair: Pair, service: Running, token: str, event: Callable[[Pair], None]
) -> tuple[Writers, float]:
    """Clients at work before, during and after an event; the seconds that it took."""
    writers = Writers(service.address, token)
    async with writers.at_work():
        await asyncio.sleep(4)
        began = time.monotonic()
        await asyncio.to_thread(event, pair)
        took = time.monotonic() - began
        # Until every client writes again.
        seen = len(writers.answered)
        await asyncio.to_thread(
            until, lambda: len(writers.answered) > seen + 20 * _CLIENTS, "nothing is written"
        )
    return writers, took


async def make_web(pair: Pair) -> None:
    """The role for bound tokens behind a pooler."""
    await pair.ask(f"DROP ROLE IF EXISTS {_WEB}")
    await pair.ask(f"CREATE ROLE {_WEB} LOGIN PASSWORD 'three' IN ROLE assistenza_bound")
