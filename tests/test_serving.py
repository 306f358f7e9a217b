"""A service that is killed leaves no process behind that would keep its port or its data."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil

from tests.eventually import eventually

ROOT = Path(__file__).parents[1]


def ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_workers_and_database_end_with_a_service_that_is_killed() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As root the database runs as another account, which must be able to pass through.
    parent = Path(tempfile.mkdtemp(prefix="assistenza-serving-"))
    parent.chmod(0o755)
    settings = {"DATA_DIR": str(parent / "data"), "WORKERS": "2", "PORT": str(port)}
    environment = os.environ | {f"ASSISTENZA_{name}": value for name, value in settings.items()}
    family: list[psutil.Process] = []
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"], cwd=ROOT, env=environment
    ) as serve:
        try:
            eventually(lambda: ready(f"http://127.0.0.1:{port}"), 60)
            family = psutil.Process(serve.pid).children(recursive=True)
            workers = [one for one in family if "multiprocessing.spawn" in " ".join(one.cmdline())]
            assert len(workers) == 2
            assert any(one.name() == "postgres" for one in family)
            serve.send_signal(signal.SIGKILL)
            eventually(lambda: all(map(ended, family)), 30)
        finally:
            serve.kill()
            for one in family:
                if not ended(one):
                    one.kill()
            shutil.rmtree(parent, ignore_errors=True)
