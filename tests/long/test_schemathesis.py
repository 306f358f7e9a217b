"""Schemathesis against the running service, full of the examples' data, with every check on.

`ASSISTENZA_LONG_SECONDS` says how long (90 by default), half of it with a token that holds every
scope and half with those of two customers, who must not see what is each other's. Real uvicorn,
real PostgreSQL; half of the ids and names sent are really there. `ASSISTENZA_SEED` chooses.

`positive_data_acceptance` lets 406, 410, 412 and 422 pass: 406 and 412 answer headers that the
hooks add, 410 an expired link or cursor, 422 also references that do not exist, which no schema can
say. 429 tells a bound token that it writes too often. Why a
422 was given is looked into by `schemathesis_checks`, which lets no refusal pass that a schema
could have told of.
`use_after_free` and `ensure_resource_availability` are on; the first has contacts alone to work
with, for nothing else is deleted.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.demo.prepare import prepare
from app.services.tokens import BOUND_SCOPES, SCOPES
from tests.conftest import Service

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
_SECONDS = float(os.environ.get("ASSISTENZA_LONG_SECONDS", "90"))
_SEED = int(os.environ.get("ASSISTENZA_SEED", "1"))
# Its statements are those of the list of events.
_ENDLESS = "stream_events"
_READY = 30.0
_POSSIBLE = (401, 403, 404, 406, 409, 410, 412, 422, 429)
"""Answers to valid data besides success."""


@contextmanager
def serving(service: Service, log: Path) -> Iterator[str]:
    """The service as its own process on a port of its own; the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if "ASSISTENZA" not in name}
    url = service.server.url(service.database_name, service.server.login)
    environment |= {"ASSISTENZA_DATABASE_URL": url, "ASSISTENZA_LOG_LEVEL": "info"}
    command = [sys.executable, "-m", "uvicorn", "app.main:from_environment", "--factory"]
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--log-level", "error"],
            cwd=ROOT,
            env=environment,
            stdout=lines,
            stderr=lines,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _READY
        while True:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            try:
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# What is really there, by the parameters and fields that name it.
_KNOWN = {
    "customer": "SELECT id::text FROM customers UNION ALL SELECT code FROM customers",
    "customer_id": "SELECT id::text FROM customers UNION ALL SELECT code FROM customers",
    "customer_code": "SELECT code FROM customers",
    "contact_id": "SELECT id::text FROM contacts",
    "phone": "SELECT unnest(phones) FROM contacts",
    "email": "SELECT email FROM contacts WHERE email IS NOT NULL",
    "external_ref": "SELECT system || ':' || ref FROM external_refs",
    "licence": "SELECT id::text FROM licences UNION ALL SELECT serial_number FROM licences",
    "serial_number": "SELECT serial_number FROM licences",
    "contract": "SELECT id::text FROM contracts UNION ALL SELECT number FROM contracts",
    "ticket_pack": "SELECT id::text FROM ticket_packs UNION ALL SELECT number FROM ticket_packs",
    "case": "SELECT id::text FROM cases UNION ALL SELECT number FROM cases",
    "entry_id": "SELECT id::text FROM time_entries",
}
_NAMED_BY = {
    "path.code": "customer_code",
    "body.requester.contact_id": "contact_id",
    "body.customer_id": "customer_id",
    "body.serial_number": "serial_number",
}


async def configuration(service: Service, auth: dict[str, Any]) -> dict[str, Any]:
    dictionaries = {}
    for name, query in _KNOWN.items():
        rows = await service.server.run_in(service.database_name, query)
        # Not what an earlier run has left, which may be anything.
        values = [row[0] for row in rows if row[0].isascii() and row[0].isprintable()]
        dictionaries[name] = {"values": values[:200]}
    places = {f"{where}.{name}": name for where in ("path", "query") for name in _KNOWN}
    return {
        "dictionaries": dictionaries,
        "parameters": {
            place: {"dictionary": name, "probability": 0.5}
            for place, name in (places | _NAMED_BY).items()
        },
        "auth": auth,
        "checks": {
            "positive_data_acceptance": {"expected-statuses": ["2xx", "304", *map(str, _POSSIBLE)]},
        },
        "generation": {"allow-x00": True, "max-examples": 100, "database": "none"},
        "continue-on-failure": True,
        "request-timeout": 20,
    }


def toml(value: Any) -> str:
    """A value in TOML, whose inline forms differ from JSON's in the tables alone."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def run(address: str, config: dict[str, Any], seconds: float, home: Path) -> dict[str, Any]:
    """Schemathesis' own report."""
    lines = [f"{json.dumps(name)} = {toml(value)}" for name, value in config.items()]
    file, report = home / "schemathesis.toml", home / "report.json"
    file.write_text("\n".join(lines))
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.long.schemathesis_checks"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(file)),
            *("run", f"{address}/openapi.json", "--checks", "all", "--mode", "all"),
            *("--exclude-operation-id", _ENDLESS),
            *("--max-time", str(int(seconds)), "--seed", str(_SEED), "--no-color"),
            *("--report-json-path", str(report), "--report-dir", str(home)),
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    assert report.exists(), done.stdout
    found: dict[str, Any] = json.loads(report.read_text())
    assert not found["failures"], done.stdout
    assert not found["errors"], done.stdout
    assert done.returncode == 0, done.stdout
    return found


@pytest.fixture(scope="module")
async def full(new_service: Callable[..., Awaitable[Service]]) -> Service:
    service = await new_service()
    await prepare(service.app.state.settings)
    return service


async def every_scope(service: Service, home: Path) -> dict[str, Any]:
    """What is to be sent by one who may do everything."""
    return {"openapi": {"token": {"bearer": await service.token(*SCOPES)}}}


async def two_customers(service: Service, home: Path) -> dict[str, Any]:
    """By two in their reserved areas, neither of whom may see what is the other's."""
    query = "SELECT id FROM customers ORDER BY id LIMIT 2"
    users: list[dict[str, Any]] = []
    for row in await service.server.run_in(service.database_name, query):
        token = await service.token(*BOUND_SCOPES, customer_id=row["id"])
        header = {"name": "Authorization", "value": f"Bearer {token}"}
        users.append({"name": f"customer {len(users)}", "fixedHeaders": [header]})
    file = home / "users.json"
    file.write_text(json.dumps({"auth": users}))
    return {"wfc": {"path": str(file), "peers": [user["name"] for user in users]}}


@pytest.mark.parametrize("who", [every_scope, two_customers], ids=lambda one: one.__name__)
async def test_no_input_breaks_it(
    full: Service,
    tmp_path: Path,
    who: Callable[[Service, Path], Awaitable[dict[str, Any]]],
    record_property: Callable[[str, object], None],
) -> None:
    config = await configuration(full, await who(full, tmp_path))
    log = tmp_path / "service.log"
    with serving(full, log) as address:
        report = run(address, config, _SECONDS / 2, tmp_path)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    answers = Counter(line["status"] for line in lines if line["event"] == "request")
    record_property("cases", report["test_cases"]["generated"])
    print(report["test_cases"], answers)
    assert not [line for line in lines if line["event"] == "unhandled"]
    assert max(answers) < 500
    assert answers[200] > 0
    # All but the endless one.
    assert report["operations"]["tested"] == report["operations"]["total"] - 1
