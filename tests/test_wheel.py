"""The wheel is enough: migrations, policy and texts are in it, and no checkout is needed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import __version__
from app.store import migrations
from tests.conftest import Server

ROOT = Path(__file__).parents[1]
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
_OFFLINE = ("--no-deps", "--no-index")
# For a busy machine: a quiet one needs a tenth.
_SECONDS = 300


@dataclass(frozen=True)
class Installation:
    """The wheel, and a virtual environment that it is installed in."""

    wheel: Path
    folder: Path

    def popen(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`assistenza ARGUMENTS` from the root directory, with no other variable than PATH."""
        return subprocess.Popen(
            [str(self.folder / "bin" / "assistenza"), *arguments],
            cwd="/",
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Unlike pytest's own folders, open to the account that PostgreSQL runs as for root."""
    folder = Path(tempfile.mkdtemp(prefix="assistenza-wheel-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def installation(folder: Path) -> Installation:
    wheels, environment = folder / "wheels", folder / "environment"
    _run(*_PIP, "wheel", *_OFFLINE, "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT))
    (wheel,) = wheels.iterdir()
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = str(environment / "bin" / "python")
    _run(*_PIP, "--python", python, "install", *_OFFLINE, str(wheel))
    # The dependencies are this interpreter's own packages. A .pth file among those, such as that
    # of an editable installation, is not read from there: the checkout stays out of reach.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Installation(wheel, environment)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_every_file_of_the_program(installation: Installation) -> None:
    def of(directory: Path, place: str) -> set[str]:
        files = (path for path in directory.rglob("*") if path.is_file())
        return {
            f"{place}/{path.relative_to(directory).as_posix()}"
            for path in files
            if "__pycache__" not in path.parts
        }

    with zipfile.ZipFile(installation.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == of(ROOT / "app", "app") | of(ROOT / "alembic", "app/migrations")
    assert installation.wheel.name == f"assistenza-{__version__}-py3-none-any.whl"


async def test_it_migrates_an_empty_database(installation: Installation, server: Server) -> None:
    name = f"{server.prefix}_wheel"
    await server.run(f"CREATE DATABASE {name}")
    try:
        url = server.url(name)
        with installation.popen("migrate", ASSISTENZA_MIGRATION_DATABASE_URL=url) as migrate:
            _, said = migrate.communicate(timeout=_SECONDS)
        assert (migrate.returncode, said) == (0, f"The schema is at version {migrations.head()}.\n")
        (row,) = await server.run_in(name, "SELECT version_num FROM alembic_version")
        assert row["version_num"] == migrations.head()
    finally:
        await server.run(f"DROP DATABASE {name} WITH (FORCE)")


def test_it_serves_the_demo(installation: Installation, folder: Path) -> None:
    serve = ("serve", "--demo", "--port", "0")
    with (
        installation.popen(*serve, ASSISTENZA_DATA_DIR=str(folder / "data")) as service,
        _killed_after(service, _SECONDS),
    ):
        try:
            greeting = _read_until(service, "/docs")
            ready = re.search(r"http://\S+(?=/docs)", greeting)
            call = re.search(r'"Authorization: (.+?)" "(.+?/v1/entitlements/check.+?)"', greeting)
            assert ready, greeting
            assert call, greeting
            assert _get(f"{ready[0]}/readyz") == {"status": "ok"}
            token, address = call.groups()
            answer = _get(address, Authorization=token)
            assert (answer["allowed"], answer["reasons"]) == (True, [])
            assert answer["say"].startswith("Può utilizzare il servizio")
        finally:
            service.send_signal(signal.SIGTERM)
            _, log = service.communicate(timeout=_SECONDS)
    assert service.returncode == 0, log


@contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read_until(process: subprocess.Popen[str], word: str) -> str:
    """What the process prints, up to the line with this word or to its end."""
    assert process.stdout is not None
    text = ""
    while word not in text and (line := process.stdout.readline()):
        text += line
    return text


def _get(address: str, **headers: str) -> Any:
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return orjson.loads(answer.read())
