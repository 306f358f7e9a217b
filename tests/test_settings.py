"""A misspelt setting is told, never silently another's default."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import BACKGROUND_CONNECTIONS, Settings, least_connections, unknown_settings
from app.store.shares import BACKGROUND, shares


def test_what_is_no_setting_is_named() -> None:
    environment = {
        "ASSISTENZA_PORT": "1",
        "ASSISTENZA_PROT": "1",
        "assistenza_hots": "x",
        "ASSISTENZA_TEST_DATABASE_URL": "x",
        "PATH": "x",
    }
    assert unknown_settings(environment) == ["ASSISTENZA_HOTS", "ASSISTENZA_PROT"]
    every = {f"ASSISTENZA_{name.upper()}": "" for name in Settings.model_fields}
    assert unknown_settings(every) == []


@pytest.mark.parametrize("origins", ["", "https://a.example.com,https://b.example.com"])
def test_workers_read_the_same_settings_from_their_environment(
    monkeypatch: pytest.MonkeyPatch, origins: str
) -> None:
    monkeypatch.setenv("ASSISTENZA_CORS_ORIGINS", origins)
    settings = Settings(
        database_url="postgresql://user:p%40ss@host/database",
        prepared_statements=False,
        policy_dir=Path("policies"),
        workers=3,
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_the_pools_of_all_workers_add_up_to_no_more_than_the_budget() -> None:
    for workers, background in product((1, 2, 3, 8), (True, False)):
        beside = BACKGROUND.asking + BACKGROUND.operations if background else 0
        for connections in range(least_connections(workers, background), 400):
            settings = Settings(
                workers=workers, connections=connections, background_process=background
            )
            each = shares(settings)
            assert min(each) >= 1, settings
            assert 0 <= connections - beside - workers * sum(each) < workers, settings


def test_what_a_stock_postgresql_takes_is_enough_for_the_service_and_an_operator() -> None:
    # 100 connections, 3 of them the superuser's.
    assert sum(shares(Settings())) + BACKGROUND_CONNECTIONS <= 100 - 3 - 10


@pytest.mark.parametrize("workers", [2, 64])
def test_a_budget_too_small_for_the_workers_is_one_line(workers: int) -> None:
    least = least_connections(workers, background_process=True)
    Settings(workers=workers, connections=least)
    with pytest.raises(ValidationError):
        Settings(workers=workers, connections=least - 1)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    settings = {"WORKERS": str(workers), "CONNECTIONS": str(least - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve"],
        env=kept | {f"ASSISTENZA_{name}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"ASSISTENZA_CONNECTIONS: {least - 1} are too few" in line
    assert f"set {least} or more" in line
