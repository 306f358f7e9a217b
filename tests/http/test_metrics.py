"""What Prometheus is told: counted right, told to whom it may be, and bounded whatever is sent."""

import asyncio
import os
import socket
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from app.http.metrics import Metrics, Together, served
from app.store.shares import shares
from tests.conftest import Service

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.client_with("customers:read", "customers:write", "admin") as client:
        yield client


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


async def asked(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


async def test_what_is_counted(client: httpx.AsyncClient) -> None:
    before = await asked(client)
    await client.get("/v1/customers/C-secret")
    await client.get("/v1/customers", params={"q": "secret"})
    await client.get("/v1/customers", params={"q": "secret"})
    after = await asked(client)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    total, one, many = "assistenza_requests_total", "/v1/customers/{customer}", "/v1/customers"
    assert more(total, method="GET", route=one, status="404") == 1
    assert more(total, method="GET", route=many, status="200") == 2
    assert more("assistenza_problems_total", code="not_found") == 1
    # The token, the words among the first rows of the list, and those in the index of words.
    statements = "assistenza_database_statements_total"
    assert more(statements, method="GET", route=many) == 6
    duration = "assistenza_request_duration_seconds"
    assert more(f"{duration}_count", method="GET", route=many) == 2
    assert more(f"{duration}_bucket", method="GET", route=many, le="+Inf") == 2
    assert 0 < more(f"{duration}_sum", method="GET", route=many) < 10
    assert "secret" not in str(after)


async def test_what_is_so_now(service: Service) -> None:
    metrics = service.app.state.metrics
    beside = asyncio.create_task(metrics.watch(service.database))
    await asyncio.sleep(0)
    try:
        async with (
            service.database.writing.connect(),
            await service.client_with("admin") as client,
        ):
            now = await asked(client)
    finally:
        beside.cancel()
    # The one that asks holds a connection for its token, and is a request itself.
    assert value(now, "assistenza_pool_in_use", pool="writing") == 1
    assert value(now, "assistenza_pool_in_use", pool="reading") == 1
    assert value(now, "assistenza_pool_in_use", pool="bound") == 0
    settings = service.app.state.settings
    sizes = [value(now, "assistenza_pool_size", pool=pool) for pool in shares(settings)._fields]
    assert value(now, "assistenza_connections_budget") == sum(sizes) == settings.connections
    # The token was made on a connection that is kept.
    assert value(now, "assistenza_pool_idle", pool="writing") == 1
    assert value(now, "assistenza_requests_in_progress") == 1
    (info,) = [dict(labels) for name, labels in now if name == "assistenza_build_info"]
    assert info["python"] == sys.version.split()[0]
    assert info["version"] == __version__


async def test_admins_only(service: Service) -> None:
    async with service.client(None) as nobody:
        assert (await nobody.get("/metrics")).status_code == 401
    async with await service.client_with("customers:read") as other:
        assert (await other.get("/metrics")).status_code == 403
    async with await service.client_with("admin") as admin:
        assert (await admin.get("/metrics", params={"x": "1"})).status_code == 422


async def test_labels_are_bounded(client: httpx.AsyncClient) -> None:
    async def strangers(turn: int) -> Samples:
        for n in range(5):
            name = f"x{turn}-{n}"
            await client.get(f"/{name}", headers={"X-Request-Id": name, "User-Agent": name})
            await client.get(f"/v1/customers/{name}", params={name: name})
            await client.request(name, "/v1/customers")
            await client.get(f"/docs/assets/{name}")
            await client.get(f"/problems/{name}")
        return await asked(client)

    first, second = await strangers(1), await strangers(2)
    assert first.keys() == second.keys()
    assert "x1-" not in str(second)
    assert value(second, "assistenza_requests_total", method="GET", route="none", status="404") >= 5


async def test_a_request_costs_little() -> None:
    metrics = Metrics()

    def one() -> None:
        metrics.in_progress += 1
        metrics.in_progress -= 1
        metrics.done("GET", "/v1/entitlements", 200, 0.002, 1, None)

    rounds = 5_000
    # The processor's time: other processes are none of its business. 3 µs where it was written.
    best = min(timeit.repeat(one, timer=time.process_time, number=rounds, repeat=5))
    assert best / rounds < 20e-6


def test_a_port_of_its_own(free_port: int) -> None:
    metrics = Metrics()
    metrics.done("GET", "/v1/customers", 200, 0.1, 2, None)
    with served(metrics, "127.0.0.1", free_port):
        answer = httpx.get(f"http://127.0.0.1:{free_port}/metrics")
        with pytest.raises(OSError), served(metrics, "127.0.0.1", free_port):
            pass
    assert answer.status_code == 200
    labels = {"method": "GET", "route": "/v1/customers"}
    assert value(samples(answer.text), "assistenza_database_statements_total", **labels) == 2
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{free_port}/metrics")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_processes_that_start_and_end_do_not_disturb_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process that starts has created its file and not yet filled it.
    (tmp_path / f"counter_{os.getpid()}.db").touch()
    # Two processes find the gauges of one that has ended; the other one removes them first.
    ended = tmp_path / "gauge_livesum_1.db"
    ended.touch()

    def removed(pid: int) -> bool:
        ended.unlink()
        return False

    monkeypatch.setattr("app.http.metrics.psutil.pid_exists", removed)
    assert list(Together(tmp_path).collect()) == []


def test_several_processes_tell_their_sum(tmp_path: Path) -> None:
    worker = """
from app.http.metrics import Metrics
metrics = Metrics()
metrics.in_progress += 1
metrics.done("GET", "/v1/customers", 200, 0.1, 2, "not_found")
print(metrics.render("")[0].decode())
"""

    def run(program: str) -> Samples:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return samples(done.stdout)

    run(worker)
    found = run(worker)
    labels = {"method": "GET", "route": "/v1/customers"}
    assert value(found, "assistenza_requests_total", status="200", **labels) == 2
    assert value(found, "assistenza_request_duration_seconds_count", **labels) == 2
    assert value(found, "assistenza_problems_total", code="not_found") == 2
    # The first has ended, and with it whatever it was at.
    assert value(found, "assistenza_requests_in_progress") == 1
