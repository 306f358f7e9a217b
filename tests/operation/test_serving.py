"""What a process does before it serves."""

import gc
import multiprocessing
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
import uvicorn

from app.http import logs
from app.main import from_environment
from app.serving import beside, server
from app.settings import Settings

_SETTINGS = Settings(database_url="postgresql://nobody@localhost/none")


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def is_left_alone(app: object) -> bool:
    """Whether the garbage collector does not visit an object any more."""
    return not any(each is app for each in gc.get_objects())


def test_the_garbage_collector_leaves_the_application_of_a_single_process_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left_alone: list[bool] = []

    def run(server: uvicorn.Server, _sockets: object = None) -> None:
        left_alone.append(is_left_alone(server.config.app))

    monkeypatch.setattr(uvicorn.Server, "run", run)
    assert not server.serve(_SETTINGS)
    assert left_alone == [True]
    assert gc.isenabled()


def test_the_garbage_collector_leaves_the_application_of_a_worker_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor = SimpleNamespace(join=Event().wait)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: supervisor)
    monkeypatch.setattr(server, "Settings", lambda: _SETTINGS)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    app = server.worker()
    assert is_left_alone(app)
    assert gc.isenabled()
    assert app.state.jobs is None


def test_under_another_server_the_application_runs_the_jobs_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASSISTENZA_DATABASE_URL", "postgresql://nobody@localhost/none")
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    assert from_environment().state.jobs is not None


class Pauses(Event):
    """Ends the eighth pause, and waits in none."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.taken.append(timeout)
        if len(self.taken) == 8:
            self.set()
        return self.is_set()


def test_a_background_process_that_keeps_dying_is_started_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pauses = Pauses()
    monkeypatch.setattr(beside, "Event", lambda: pauses)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with beside.Background(_SETTINGS, tmp_path) as background:
        background.start()
        assert Event.wait(pauses, 60)
    assert pauses.taken == [1, 2, 4, 8, 16, 32, 60, 60]
