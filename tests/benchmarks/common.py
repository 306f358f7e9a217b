"""What every measurement stands on: a database, services on it, the load, and medians."""

import asyncio
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import psutil
from pydantic import BaseModel

from app import clock
from app.ids import new_id
from app.policy.civil import civil_date
from app.policy.document import load as load_policies
from app.services.tokens import hash_of, new_token
from app.store import migrations
from app.store.embedded import EmbeddedPostgres
from tests.benchmarks.fill import History, fill
from tests.benchmarks.load import HOST, Plan, Sample
from tests.conftest import Server

_START_SECONDS = 30.0
_IDLE_SECONDS = 3_600
_IDLE_SAMPLE = 3.0
_IDLE_SHARE = 0.05


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that PostgreSQL's account may pass through too, when we are root."""
    directory = Path(tempfile.mkdtemp(prefix="assistenza-benchmark-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def postgres(directory: Path) -> Iterator[Server]:
    """A server of our own, as durable as a real one, or the one that the tests are given."""
    prefix = f"assistenza_benchmark_{secrets.token_hex(4)}"
    given = os.environ.get("ASSISTENZA_TEST_DATABASE_URL")
    if given:
        yield Server(given, secrets.token_hex(16), prefix)
        return
    with EmbeddedPostgres(directory / "data").serve() as own:
        yield Server(own.admin_dsn, secrets.token_hex(16), prefix)


@dataclass(frozen=True)
class Filled:
    """A database with customers 1 to `customers` and a token that may read all."""

    owner_url: str
    app_url: str
    customers: int
    token: str

    @property
    def token_hash(self) -> bytes:
        return hash_of(self.token)


@asynccontextmanager
async def databases(
    server: Server,
    *sizes: int,
    trees: Sequence[Path] = (),
    history: History | None = None,
) -> AsyncIterator[list[Filled]]:
    """One migrated and filled database for each number of customers; dropped at the end. With
    `trees`, each is migrated by the program that lies there."""
    names = [f"{server.prefix}_{number}_{size}" for number, size in enumerate(sizes)]
    await server.run(*(f"CREATE DATABASE {name}" for name in names))
    try:
        filled = [
            await _filled(server, name, size, tree, history)
            for name, size, tree in itertools.zip_longest(names, sizes, trees)
        ]
        await server.run(
            f"CREATE ROLE {server.login} LOGIN PASSWORD '{server.password}' IN ROLE assistenza_app",
            # Takes the role of bound tokens without inheriting it, as an operator's login would.
            f"CREATE ROLE {server.login}_switch NOINHERIT IN ROLE assistenza_bound",
            f"GRANT {server.login}_switch TO {server.login}",
        )
        yield filled
    finally:
        await server.run(
            *(f"DROP DATABASE {name} WITH (FORCE)" for name in names),
            f"DROP ROLE IF EXISTS {server.login}",
            f"DROP ROLE IF EXISTS {server.login}_switch",
        )


async def _filled(
    server: Server, name: str, customers: int, tree: Path | None, history: History | None
) -> Filled:
    started = time.monotonic()
    url = server.url(name)
    if tree is None:
        await migrations.upgrade(_driver(url))
    else:
        environment = os.environ | {"ASSISTENZA_DATABASE_URL": url, "PYTHONPATH": str(tree)}
        migrate = [sys.executable, "-m", "app.cli", "migrate"]
        await asyncio.to_thread(subprocess.run, migrate, cwd=tree, env=environment, check=True)
    now = clock.now()
    await fill(url, customers, civil_date(now, load_policies().zone), history=history)
    token = await token_for(url, now, "entitlements:read")
    say(f"{customers:,} customers made in {time.monotonic() - started:.0f} s")
    return Filled(url, server.url(name, server.login), customers, token)


async def token_for(url: str, now: datetime, *scopes: str, customer_id: str | None = None) -> str:
    """A new token with these scopes, made as the database's owner."""
    token, token_hash = new_token(bound=customer_id is not None)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "INSERT INTO tokens (id, name, hash, scopes, created_at, customer_id)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            new_id(),
            f"benchmark {token_hash.hex()[:8]}",
            token_hash,
            list(scopes),
            now,
            customer_id,
        )
    finally:
        await connection.close()
    return token


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    logs: Path, ready_path: str, *arguments: str, directory: Path | None = None, **environment: str
) -> Iterator[tuple[int, int]]:
    """A server that runs as `python ARGUMENTS --port PORT` (in `directory`), once it answers
    `ready_path`: its port and process."""
    port = free_port()
    command = [sys.executable, *arguments, "--port", str(port)]
    with program(logs, port, ready_path, command, directory, environment) as pid:
        yield port, pid


@contextmanager
def program(
    logs: Path,
    port: int,
    ready_path: str,
    command: list[str],
    directory: Path | None,
    environment: dict[str, str],
) -> Iterator[int]:
    """A server's process, once it answers `ready_path` with 200. It logs to a file, as under a
    service manager."""
    with (logs / f"server-{port}.log").open("wb") as log:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env={**os.environ, **environment},
        )
    try:
        _wait_until_ready(started, f"http://{HOST}:{port}{ready_path}", Path(log.name))
        yield started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _wait_until_ready(started: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError as error:
            if started.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.1)


def service(
    directory: Path, database: Filled, **settings: Any
) -> AbstractContextManager[tuple[int, int]]:
    """The service as it is really run, with its defaults but for `settings`."""
    return process(
        directory,
        "/readyz",
        *("-m", "app.cli", "serve", "--host", HOST),
        ASSISTENZA_DATABASE_URL=database.app_url,
        **settings,
    )


def bare_and_raw(directory: Path, database: Filled) -> AbstractContextManager[tuple[int, int]]:
    """The routes that the service is compared with: a bare one, and its statement by asyncpg."""
    return process(
        directory,
        "/bare",
        *("-m", "tests.benchmarks.bare_and_raw"),
        BENCHMARK_DATABASE_URL=database.app_url,
        BENCHMARK_TOKEN_HASH=database.token_hash.hex(),
    )


def get(port: int, path: str, token: str | None = None) -> str:
    """A request, head only, as it goes over the wire; places like `{id}` are left for the load."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n{authorization}Accept: */*\r\n\r\n"


def measure(
    plan: Plan, pid: int | None = None, database_pid: int | None = None, *, status: int = 200
) -> Sample:
    """Runs the load in a process of its own. `pid` is the server's and `database_pid` PostgreSQL's,
    whose CPU time is then told.

    Raises RuntimeError if anything but `status` came back.
    """
    timeout = plan.warm_up + plan.seconds + 60
    answer, used, database_used = run_client("load", plan, timeout, pid, database_pid)
    sample = _sample(answer, status)
    # The warm-up's answers are not counted but cost the same.
    answers = sample.rate * (plan.seconds + plan.warm_up)
    sample.cpu = used * 1e6 / answers if pid else None
    sample.database_cpu = database_used * 1e6 / answers if database_pid else None
    return sample


def run_client(
    module: str, order: BaseModel, timeout: float, pid: int | None, database_pid: int | None
) -> tuple[bytes, float, float]:
    """What a client among the benchmarks printed for `order`, and the CPU seconds that the server
    and PostgreSQL used meanwhile. Raises CalledProcessError where the client fails."""
    before = cpu_seconds(pid), cpu_seconds(database_pid)
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{module}"],
        input=order.model_dump_json().encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=timeout,
    )
    return done.stdout, cpu_seconds(pid) - before[0], cpu_seconds(database_pid) - before[1]


@contextmanager
def loading() -> Iterator[Callable[[Plan], Sample]]:
    """Runs many plans, one after another, in one process: starting one for each takes longer than
    a short measurement.

    The function raises RuntimeError if anything but 200 came back.
    """
    command = [sys.executable, "-m", "tests.benchmarks.load"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        send, answers = load.stdin, load.stdout

        def run(plan: Plan) -> Sample:
            send.write(plan.model_dump_json().encode() + b"\n")
            send.flush()
            return _sample(answers.readline())

        yield run


def _sample(line: bytes, status: int = 200) -> Sample:
    if not line:
        raise RuntimeError("the load has failed")
    sample = Sample.model_validate_json(line)
    if set(sample.statuses) != {status}:
        raise RuntimeError(f"not every answer was {status}: {sample.statuses}")
    return sample


def cpu_seconds(pid: int | None) -> float:
    """The processor's time of a server and of what it has started, ended processes included."""
    if pid is None:
        return 0.0
    server = psutil.Process(pid)
    used = 0.0
    for one in (server, *server.children(recursive=True)):
        # A process that ends meanwhile is counted by its parent from then on.
        with suppress(psutil.NoSuchProcess):
            used += sum(one.cpu_times()[:4])
    return used


async def postmaster(url: str) -> int | None:
    """The process of the database server; None if it runs on another machine."""
    connection = await asyncpg.connect(url)
    try:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
        process = psutil.Process(backend) if psutil.pid_exists(backend) else None
        if process is None or not process.name().startswith("postgres"):
            return None
        return process.ppid()
    finally:
        await connection.close()


def wait_until_idle(*pids: int) -> None:
    """Wait until these processes do almost nothing. A service that finds a filled database follows
    it first: it looks at every customer's standing, and sums every day of usage."""
    deadline = time.monotonic() + _IDLE_SECONDS
    while True:
        before = [cpu_seconds(pid) for pid in pids]
        time.sleep(_IDLE_SAMPLE)
        used = [cpu_seconds(pid) - at for pid, at in zip(pids, before, strict=True)]
        if max(used) < _IDLE_SHARE * _IDLE_SAMPLE:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"not idle after {_IDLE_SECONDS} s")


def middle(samples: list[Sample]) -> Sample:
    """The median of each figure: one disturbed run among several does not count. Of CPU time,
    which other programs disturb least, the least."""
    return Sample(
        rate=median(sample.rate for sample in samples),
        p50=median(sample.p50 for sample in samples),
        p99=median(sample.p99 for sample in samples),
        # What else runs can only add to it.
        cpu=_least([sample.cpu for sample in samples]),
        database_cpu=_least([sample.database_cpu for sample in samples]),
    )


def _least(figures: list[float | None]) -> float | None:
    return min((figure for figure in figures if figure is not None), default=None)


def say(line: str = "") -> None:
    print(line, flush=True)
