"""What a process does before it serves."""

import gc
import multiprocessing
from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace

import pytest
import uvicorn

from app.main import create_app
from app.serving import server
from app.settings import Settings

_SETTINGS = Settings(database_url="postgresql://nobody@localhost/none")


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


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


def test_the_garbage_collector_leaves_the_application_of_a_worker_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor = SimpleNamespace(join=Event().wait)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: supervisor)
    monkeypatch.setattr(server, "from_environment", lambda: create_app(_SETTINGS))
    assert is_left_alone(server.worker())
