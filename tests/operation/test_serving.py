"""What a process does before it serves."""

import gc
import multiprocessing
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from app.http import logs
from app.main import from_environment
from app.serving import beside, server
from app.serving.freezing import pause_collection
from app.serving.processes import Supervisor
from app.settings import Settings
from tests.eventually import eventually

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
    pause_collection()
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


def test_the_process_that_supervises_workers_collects_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collects: list[bool] = []

    def run(_supervisor: Supervisor) -> bool:
        collects.append(gc.isenabled())
        return True

    monkeypatch.setattr(Supervisor, "run", run)
    settings = Settings(database_url=_SETTINGS.database_url, workers=2)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    pause_collection()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert server.serve(settings, sockets=[listening])
    assert collects == [True]


def test_under_another_server_the_application_runs_the_jobs_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASSISTENZA_DATABASE_URL", "postgresql://nobody@localhost/none")
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    assert from_environment().state.jobs is not None


class Pauses(Event):
    """Notes how long somebody would wait, and ends the background process at the eighth time."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[float | None] = []
        self.wakes: set[int] = set()
        """Which of them somebody ends before its time."""
        self.end: Callable[[], None]

    def wait(self, timeout: float | None = None) -> bool:
        self.taken.append(timeout)
        if len(self.taken) == 8:
            self.end()
        return len(self.taken) in self.wakes


def pauses_of(background: beside.Background, monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()
    pauses.end = background.end
    monkeypatch.setattr(background, "_wake", pauses)
    return pauses


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[beside.Background]:
    """Its process ends at once, with an error."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with beside.Background(_SETTINGS, tmp_path) as background:
        yield background


def test_a_background_process_that_keeps_dying_is_started_less_and_less_often(
    background: beside.Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = pauses_of(background, monkeypatch)
    background._keep()
    assert pauses.taken == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_replacement_does_not_wait(
    background: beside.Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = pauses_of(background, monkeypatch)
    pauses.wakes = {4}
    background._keep()
    assert pauses.taken == [1, 2, 4, 8, 1, 2, 4, 8]


def test_a_background_process_that_ran_for_long_is_started_again_soon(
    background: beside.Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four times a process that ends at once, and then one that ran for an hour.
    read = chain([0, 0] * 4, [0, 3_600], repeat(3_600))
    monkeypatch.setattr(beside, "time", SimpleNamespace(monotonic=lambda: next(read)))
    pauses = pauses_of(background, monkeypatch)
    background._keep()
    assert pauses.taken == [1, 2, 4, 8, 1, 2, 4, 8]


def test_a_pause_ends_with_the_service_and_by_a_replacement(
    background: beside.Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "_SHORTEST_PAUSE", 600.0)
    starts: list[float] = []
    run = background._run

    def counted() -> Any:
        starts.append(0)
        return run()

    monkeypatch.setattr(background, "_run", counted)
    background.start()
    eventually(lambda: len(starts) == 1)
    background.replace()
    eventually(lambda: len(starts) == 2)
    background.end()
    background._watch.join(5)
    assert not background._watch.is_alive()
