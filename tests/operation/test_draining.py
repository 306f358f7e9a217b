"""How a service stops, restarts and takes over sockets: nobody's request is lost."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from app.serving import listening
from app.serving.listening import CannotListen
from tests.operation.running import Load, Running, command, directory, more, running, until


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with directory() as parent:
        yield parent / "data"


@pytest.fixture(scope="module")
def token(data_dir: Path) -> str:
    """A token of the database that the services of these tests use one after another."""
    return command({"data_dir": data_dir}, "keys", "create", "--name", "a", "--scope", "admin")


def metrics(service: Running, token: str) -> httpx.Response:
    """A call that asks the database about its token."""
    return httpx.get(f"{service.address}/metrics", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_that_drains_is_not_ready_and_serves_on(
    data_dir: Path, token: str, workers: int
) -> None:
    with running(data_dir=data_dir, drain_seconds=3, workers=workers) as service:
        before = metrics(service, token)
        service.signal(signal.SIGTERM)
        asked_at = time.monotonic()
        while service.is_ready():
            assert time.monotonic() - asked_at < 1.5, "it is ready although it drains"
        assert httpx.get(f"{service.address}/readyz").status_code == 503
        assert httpx.get(f"{service.address}/livez").status_code == 200
        drained = metrics(service, token)
        assert service.wait() == 0
        took = time.monotonic() - asked_at
    assert before.status_code == drained.status_code == 200
    assert "connection" not in before.headers
    assert drained.headers["connection"] == "close"
    assert 3 <= took < 20


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_service_at_once(
    data_dir: Path, token: str, workers: int, second: signal.Signals
) -> None:
    with running(data_dir=data_dir, drain_seconds=600, workers=workers) as service:
        service.signal(signal.SIGTERM)
        time.sleep(0.5)
        assert metrics(service, token).status_code == 200
        service.signal(second)
        assert service.wait(15) == 0


def test_without_a_time_to_drain_sigterm_ends_the_service_soon(data_dir: Path) -> None:
    with running(data_dir=data_dir) as service:
        began = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
    assert time.monotonic() - began < 10


def test_a_connection_that_was_just_opened_gets_its_answer(data_dir: Path) -> None:
    with running(data_dir=data_dir) as service:
        with socket.create_connection(("127.0.0.1", service.port)) as line:
            time.sleep(0.1)
            service.signal(signal.SIGTERM)
            time.sleep(0.4)
            line.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = line.recv(65_536)
        assert service.wait() == 0
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer


async def test_sighup_replaces_the_workers_and_no_request_fails(data_dir: Path, token: str) -> None:
    load = Load()
    with running(data_dir=data_dir, workers=2) as service:
        first = service.workers()
        async with load.of(f"{service.address}/metrics", token):
            await more(load)
            service.signal(signal.SIGHUP)
            await until(lambda: not service.workers() & first and len(service.workers()) == 2)
            await more(load)
        assert len(first) == 2
    assert load.failed == {}


async def test_the_socket_of_systemd_outlives_a_restart(data_dir: Path, token: str) -> None:
    load = Load()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as passed,
        running(passed, data_dir=data_dir) as service,
        ExitStack() as later,
    ):
        async with load.of(f"{service.address}/metrics", token, clients=2):
            await more(load)
            service.signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.wait) == 0
            # Whoever connects now waits for the next process, which answers. That one stops after
            # the load: it would wait for a second, not longer, for those that have just connected.
            following = running(passed, data_dir=data_dir, workers=2)
            await asyncio.to_thread(later.enter_context, following)
            await more(load)
    assert load.failed == {}


def test_sockets_for_another_process_are_left_alone() -> None:
    variables = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
    assert listening.passed(variables) == []
    assert variables == {}


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_does_not_listen_is_refused(
    kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setattr(listening, "_FIRST_PASSED", os.dup(silent.fileno()))
        with pytest.raises(CannotListen, match="does not accept connections"):
            listening.passed({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
