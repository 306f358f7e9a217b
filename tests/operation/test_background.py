"""The background process: it is there as long as the service, whatever ends either of them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import httpx
import psutil
import pytest

from app.serving.beside import Background
from app.settings import Settings
from tests.eventually import eventually
from tests.operation.running import Running, command, directory, running


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with directory() as parent:
        yield parent / "data"


@pytest.fixture(scope="module")
def token(data_dir: Path) -> str:
    scopes = ("admin", "customers:write", "events:read")
    chosen = [part for scope in scopes for part in ("--scope", scope)]
    return command({"data_dir": data_dir}, "keys", "create", "--name", "a", *chosen)


def background(service: Running) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(service.process.pid).children()
        if child.cmdline()[-1:] == ["app.serving.background"]
    ]


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Api:
    def __init__(self, service: Running, token: str) -> None:
        self._address = service.address
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self._address + path, headers=self._headers).raise_for_status()

    def is_told_of_a_new_customer(self) -> bool:
        cursor = self.get("/v1/events?after=now").json()["next_cursor"]
        new = {"code": token_hex(4), "name": "New", "country": "IT"}
        httpx.post(
            f"{self._address}/v1/customers", json=new, headers=self._headers
        ).raise_for_status()
        events = self.get(f"/v1/events?after={cursor}&wait=20&type=customer.created").json()
        return len(events["items"]) == 1

    def metrics(self) -> str:
        return self.get("/metrics").text


@pytest.mark.parametrize("workers", [1, 2])
def test_it_publishes_reports_and_is_replaced_when_it_dies(
    data_dir: Path, token: str, workers: int
) -> None:
    with running(data_dir=data_dir, workers=workers) as service:
        api = Api(service, token)
        eventually(lambda: len(background(service)) == 1)
        (first,) = background(service)
        # What a terminal sends to the service's session does not reach it.
        assert os.getsid(first.pid) == first.pid
        # Processes that serve come first.
        below = min(psutil.Process(service.process.pid).nice() + 5, 19)
        eventually(lambda: first.nice() == below)
        assert api.is_told_of_a_new_customer()
        eventually(lambda: "assistenza_feed_lag_seconds 0.0" in api.metrics())
        assert 'assistenza_webhook_attempts_total{result="delivered"} 0.0' in api.metrics()
        assert 'route="/v1/events"' in api.metrics()
        first.kill()
        eventually(lambda: has_ended(first) and len(background(service)) == 1)
        assert api.is_told_of_a_new_customer()
        (second,) = background(service)
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert has_ended(second)


def test_a_package_of_the_same_name_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "metrics"
    folder.mkdir()
    # The process does not end without a database; it tries to connect again and again.
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:1/nothing")
    with Background(settings, folder) as beside:
        beside.start()
        eventually(lambda: list(folder.glob("counter_*.db")) != [])


def test_it_ends_with_a_service_that_is_killed(data_dir: Path) -> None:
    with running(data_dir=data_dir) as service:
        eventually(lambda: len(background(service)) == 1)
        (process,) = background(service)
        service.signal(signal.SIGKILL)
        eventually(lambda: has_ended(process))


def test_it_is_replaced_with_the_workers(data_dir: Path, token: str) -> None:
    with running(data_dir=data_dir, workers=2) as service:
        eventually(lambda: len(background(service)) == 1)
        (first,) = background(service)
        service.signal(signal.SIGHUP)
        eventually(lambda: has_ended(first) and len(background(service)) == 1)
        assert Api(service, token).is_told_of_a_new_customer()


@pytest.mark.parametrize("workers", [1, 2])
def test_without_it_the_serving_processes_do_its_work(
    data_dir: Path, token: str, workers: int
) -> None:
    with running(data_dir=data_dir, workers=workers, background_process=False) as service:
        api = Api(service, token)
        assert api.is_told_of_a_new_customer()
        eventually(lambda: "assistenza_feed_lag_seconds 0.0" in api.metrics())
        assert background(service) == []
