"""Units of systemd and the Compose file that `assistenza deploy` prints, as systemd reads the
former.

Of the Compose file only the form is tested, and what it says of this program.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.settings import Settings
from tests.command import ROOT
from tests.operation.running import directory, environment, free_port

_SETTINGS = {f"ASSISTENZA_{name.upper()}" for name in Settings.model_fields}
_PROGRAM = "/opt/assistenza/bin/assistenza"


def printed(name: str) -> str:
    """What `assistenza deploy NAME` prints; test_alerts runs the command."""
    return (ROOT / "app" / "deploy" / name).read_text("utf-8")


@pytest.fixture(scope="module")
def units() -> dict[str, str]:
    return {name: printed(name) for name in ("assistenza.service", "assistenza.socket")}


@pytest.fixture(scope="module")
def compose() -> str:
    return printed("compose.yaml")


def analyze(*arguments: str, cwd: Path) -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not here")
    done = subprocess.run([found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_takes_the_units_and_finds_them_hardened(
    units: dict[str, str], tmp_path: Path
) -> None:
    for name, text in units.items():
        # The program has to be there.
        (tmp_path / name).write_text(text.replace(_PROGRAM, sys.executable))
    # It looks at the units of the machine that these need as well.
    assert "assistenza" not in analyze("verify", *(f"./{name}" for name in units), cwd=tmp_path)
    # 2.0 of 10: above that the command fails.
    analyze("security", "--offline=yes", "--threshold=20", "./assistenza.service", cwd=tmp_path)


def test_the_units_stop_the_service_later_than_it_drains(units: dict[str, str]) -> None:
    service = dict(re.findall(r"^(\w+)=(.*)$", units["assistenza.service"], re.MULTILINE))
    assert int(service["TimeoutStopSec"]) >= 20 + 30
    assert service["KillMode"] == "mixed"
    assert service["ExecStart"] == f"{_PROGRAM} serve"
    named = set(re.findall(r"ASSISTENZA_\w+", "".join(units.values())))
    assert named <= _SETTINGS


def test_the_compose_file_names_what_there_is(compose: str) -> None:
    assert compose.startswith("# Not tested with Docker Compose.")
    assert set(re.findall(r"ASSISTENZA_[A-Z_]+", compose)) <= _SETTINGS
    file: Any = yaml.safe_load(compose)
    services, configs = file["services"], file["configs"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys(), name
        assert {one["source"] for one in service.get("configs", ())} <= configs.keys()
        if name != "postgres":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    assert services["assistenza"]["ports"] == ["127.0.0.1:8000:8000"]
    drain = float(services["assistenza"]["environment"]["ASSISTENZA_DRAIN_SECONDS"])
    assert int(services["assistenza"]["stop_grace_period"].removesuffix("s")) > drain + 20
    # PgBouncer drops the same settings as in the README, and the roles have them instead.
    pooler = configs["pgbouncer"]["content"]
    (dropped,) = re.findall(r"^ignore_startup_parameters = (.*)$", pooler, re.MULTILINE)
    assert f"ignore_startup_parameters = {dropped}" in (ROOT / "README.md").read_text("utf-8")
    given = configs["web-role"]["content"]
    for role in ("assistenza", "assistenza_web"):
        set_here = re.findall(rf"^ALTER ROLE {role} SET (\w+)", given, re.MULTILINE)
        assert sorted(set_here) == sorted(dropped.split(","))


@pytest.fixture
def data() -> Iterator[Path]:
    with directory() as parent:
        yield parent / "data"


@pytest.mark.pooler
def test_systemd_passes_its_socket_to_the_service(units: dict[str, str], data: Path) -> None:
    program = shutil.which("systemd-socket-activate")
    assert program, "systemd is not installed: apt-get install systemd"
    assert "ListenStream=127.0.0.1:8000" in units["assistenza.socket"]
    port = free_port()
    # Those of the process have to be passed on by name.
    own = {"data_dir": data, "log_format": "json"}
    passed = [f"--setenv={name}" for name in environment(own)]
    serve = [sys.executable, "-m", "app.cli", *units_command(units)]
    service = subprocess.Popen(
        [program, f"--listen=127.0.0.1:{port}", *passed, *serve], cwd=ROOT, env=environment(own)
    )
    try:
        deadline = time.monotonic() + 120
        # Whoever connects first starts the service, and waits for its answer.
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=120)
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline, "nobody listens"
                time.sleep(0.05)
        assert answer.status_code == 200
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    finally:
        if service.poll() is None:
            service.kill()
            service.wait()


def units_command(units: dict[str, str]) -> list[str]:
    """What the service's unit lets the program do."""
    (command,) = re.findall(rf"^ExecStart={_PROGRAM} (.*)$", units["assistenza.service"], re.M)
    return str(command).split()
