"""Behind Debian's PgBouncer in transaction mode, set up as the README says: no request fails.

Two workers, ordinary and bound tokens, reads in autocommit mode, transactions, exports. More
requests are under way than PgBouncer has connections to the server, so that each statement may
reach another one. Run by `bash .ci/run --full`; needs the package `pgbouncer`.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from app.services.tokens import SCOPES
from app.store import migrations
from app.store.embedded import EmbeddedPostgres
from app.store.roles import DATABASE

pytestmark = pytest.mark.pooler

ROOT = Path(__file__).parents[2]
_REQUESTS = 20_000
_CLIENTS = 32
_WORKERS = 2
_STARTED = "Application startup complete"
_CUSTOMERS = 20
_SERVER_CONNECTIONS = 6
"""For each of the two roles: fewer than requests under way."""
_EXPORT = "entitlements/export"
_EXPORT_EVERY = 400
# Method, path, and whether a bound token asks. As many as have no divisor in common with the
# customers, so that each customer meets each kind.
_KINDS = [
    ("PATCH", "customers/{code}", False),
    ("POST", "customers", False),
    ("POST", "cases", False),
    ("POST", "entitlements/batch", False),
    ("POST", "entitlements/simulation", True),
    *(
        ("GET", path, bound)
        for bound in (False, True)
        for path in (
            "entitlements?customer_code={code}",
            "entitlements/check?service=email_support&customer_id={id}",
            "entitlements?customer_code={code}&at=2030-01-01T00:00:00Z",
            "customers",
            "customers/{code}",
            "customers/{code}/usage",
            "licences?customer_id={id}",
            "cases?customer_id={id}",
            "entitlements?customer_id={id}&explain=true",
        )
    ),
]
_CASE = {
    "requester": {"name": "Plant engineer"},
    "subject": "Screen stays blank",
    "description": "After the start the screen stays blank.",
}
_BOUND_SCOPES = [
    "entitlements:read",
    "customers:read",
    "licences:read",
    "cases:read",
    "usage:read",
]
_WEB = "assistenza_web"
_WEB_PASSWORD = "third-password"


@pytest.fixture
def directory() -> Iterator[Path]:
    # As root the database runs as another account, which must be able to pass through.
    parent = Path(tempfile.mkdtemp(prefix="assistenza-pooler-"))
    parent.chmod(0o755)
    try:
        yield parent
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def pgbouncer(directory: Path, server: EmbeddedPostgres) -> Iterator[int]:
    """PgBouncer before the server; its port. It runs as the server's account."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "PgBouncer is not installed: apt-get install pgbouncer"
    app = make_url(server.app_dsn)
    port = free_port()
    owner = (server.data_dir / "cluster").stat()
    folder = directory / "pgbouncer"
    folder.mkdir()
    users = {app.username: app.password, _WEB: _WEB_PASSWORD}
    (folder / "users.txt").write_text(
        "".join(f'"{user}" "{password}"\n' for user, password in users.items())
    )
    (folder / "pgbouncer.ini").write_text(
        f"""\
[databases]
{DATABASE} = host={app.query["host"]} port={app.query["port"]} dbname={DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder / "users.txt"}
pool_mode = transaction
ignore_startup_parameters = jit,statement_timeout,lock_timeout,idle_in_transaction_session_timeout
default_pool_size = {_SERVER_CONNECTIONS}
max_client_conn = 200
"""
    )
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
        account = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    with (directory / "pgbouncer.log").open("wb") as said:
        running = subprocess.Popen(
            [program, str(folder / "pgbouncer.ini")],
            stdout=said,
            stderr=said,
            cwd=folder,
            **account,
        )
    try:
        yield port
    finally:
        running.terminate()
        running.wait(30)


@contextlib.contextmanager
def serving(environment: dict[str, str], log: Path) -> Iterator[str]:
    """The service with two workers; its address."""
    port = free_port()
    command = [sys.executable, "-B", "-m", "app.cli", "serve", "--port", str(port)]
    with log.open("wb") as said:
        running = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=said, stderr=said)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(60)


def key(environment: dict[str, str]) -> str:
    scopes = [word for scope in sorted(SCOPES) for word in ("--scope", scope)]
    create = [sys.executable, "-B", "-m", "app.cli", "keys", "create", "--name", "load", *scopes]
    done = subprocess.run(
        create, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


async def ready(client: httpx.AsyncClient, log: Path) -> None:
    """Wait until every worker serves."""
    deadline = time.monotonic() + 120
    while (said := await asyncio.to_thread(log.read_text)).count(_STARTED) < _WORKERS:
        assert time.monotonic() < deadline, said[-3000:]
        await asyncio.sleep(0.2)
    assert (await client.get("/readyz")).status_code == 200


class Pooled(NamedTuple):
    """A customer with an Editor, and the headers of a token bound to it."""

    id: str
    code: str
    serial: str
    bound: dict[str, str]


class Load:
    """Requests of every kind, from `_CLIENTS` clients at once."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self.staff = {"Authorization": f"Bearer {token}"}
        self.customers: list[Pooled] = []
        self.answers: Counter[int] = Counter()
        self.unexpected: list[str] = []

    async def prepare(self, client: httpx.AsyncClient) -> None:
        """Customers with an Editor each, and a token bound to each of them."""

        async def make(path: str, body: dict[str, Any]) -> Any:
            answer = await client.post(f"/v1/{path}", json=body, headers=self.staff)
            assert answer.status_code == 201, answer.text
            return answer.json()

        for number in range(_CUSTOMERS):
            code, serial = f"P-{number}", f"ED-{number}"
            customer = await make("customers", {"code": code, "name": "Pooled", "country": "IT"})
            licence = {
                "customer_id": customer["id"],
                "serial_number": serial,
                "kind": "editor",
                "product": "Editor",
                "version": "4.2",
                "purchased_on": str(datetime.now(UTC).date() - timedelta(days=1)),
            }
            await make("licences", licence)
            scopes = {"scopes": _BOUND_SCOPES, "expires_in_seconds": 3600}
            token = await make(f"customers/{code}/tokens", scopes)
            bound = {"Authorization": f"Bearer {token['token']}"}
            self.customers.append(Pooled(customer["id"], code, serial, bound))

    async def run(self) -> float:
        """Send all requests; the seconds that it took."""
        numbers = iter(range(_REQUESTS))
        began = time.monotonic()

        async def work() -> None:
            async with httpx.AsyncClient(base_url=self.address, timeout=60) as client:
                for number in numbers:
                    await self._ask(client, number)

        await asyncio.gather(*(work() for _ in range(_CLIENTS)))
        return time.monotonic() - began

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        customer = self.customers[number % _CUSTOMERS]
        method, path, bound = _KINDS[number % len(_KINDS)]
        if number % _EXPORT_EVERY == 0:
            method, path, bound = "GET", _EXPORT, False
        body: dict[str, Any] | None = None
        headers = customer.bound if bound else self.staff
        match method, path:
            case "PATCH", _:
                body = {"name": f"Pooled {number}"}
            case "POST", "customers":
                body = {"code": f"N-{number}", "name": "New", "country": "IT"}
                headers = headers | {"Idempotency-Key": f"customer-{number}"}
            case "POST", "cases":
                body = _CASE | {"customer_id": customer.id, "serial_number": customer.serial}
            case "POST", "entitlements/simulation":
                body = {"customer_id": customer.id, "assume": [{"kind": "contract"}]}
            case "POST", "entitlements/batch":
                body = {"lookups": [{"customer_code": one.code} for one in self.customers]}
        path = path.format(code=customer.code, id=customer.id)
        answer = await client.request(method, f"/v1/{path}", json=body, headers=headers)
        self.answers[answer.status_code] += 1
        # One export too many is told to come again.
        if answer.status_code not in (200, 201) and (answer.status_code, path) != (429, _EXPORT):
            self.unexpected.append(f"{method} {path}: {answer.status_code} {answer.text}")


def test_nothing_fails_behind_pgbouncer(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = asyncio.run(_ask_through_pgbouncer(directory))
    with capsys.disabled():
        print("\n" + figures)


async def _ask_through_pgbouncer(directory: Path) -> str:
    log = directory / "service.log"
    with EmbeddedPostgres(directory / "data", durable=False).serve() as server:
        owner = server.owner_dsn.replace("postgresql://", "postgresql+asyncpg://", 1)
        await migrations.upgrade(owner)
        admin = await asyncpg.connect(server.admin_dsn)
        await admin.execute(
            f"CREATE ROLE {_WEB} LOGIN PASSWORD '{_WEB_PASSWORD}' IN ROLE assistenza_bound"
        )
        with pgbouncer(directory, server) as port:
            app = make_url(server.app_dsn)
            pooler = f"@127.0.0.1:{port}/{DATABASE}"
            environment = {
                name: value for name, value in os.environ.items() if "ASSISTENZA" not in name
            } | {
                "ASSISTENZA_DATABASE_URL": f"postgresql://{app.username}:{app.password}{pooler}",
                "ASSISTENZA_BOUND_DATABASE_URL": f"postgresql://{_WEB}:{_WEB_PASSWORD}{pooler}",
                "ASSISTENZA_PREPARED_STATEMENTS": "false",
                "ASSISTENZA_WORKERS": str(_WORKERS),
                # A machine that has other things to do is slow; that is not what is tested.
                "ASSISTENZA_POOL_TIMEOUT": "30",
                "ASSISTENZA_CONNECT_TIMEOUT": "30",
            }
            token = await asyncio.to_thread(key, environment)
            with serving(environment, log) as address:
                load = Load(address, token)
                async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                    await ready(client, log)
                    await load.prepare(client)
                took = await load.run()
                servers = await admin.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = ANY($1)",
                    [app.username, _WEB],
                )
        await admin.close()
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(load.answers.items()))
    figures = (
        f"{load.answers.total()} requests in {took:.0f} s through {servers} server connections"
        f" ({answers}), {len(load.unexpected)} unexpected"
    )
    assert load.unexpected == [], f"{figures}\n" + "\n".join(load.unexpected[:5])
    assert load.answers.total() == _REQUESTS
    assert servers <= 2 * _SERVER_CONNECTIONS
    said = log.read_text()
    assert '"unhandled"' not in said
    assert '"unavailable"' not in said
    assert said.count(_STARTED) == _WORKERS
    return figures
