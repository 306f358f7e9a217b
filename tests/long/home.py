"""A service of its own: `assistenza serve` with its embedded PostgreSQL, in a fresh directory."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import make_url

from app.services.tokens import SCOPES
from app.store.embedded import EmbeddedPostgres
from app.store.roles import DATABASE

ROOT = Path(__file__).parents[2]
READY = 60.0
"""How many seconds a start may take."""


class Home:
    """A data directory with the service on it, which may die at any moment."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.variables: dict[str, str] = {}
        """Settings besides those that a home needs."""
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (data_dir.parent / "service.log").open("ab")
        self._service: subprocess.Popen[bytes] | None = None

    def _command(self, *arguments: str) -> dict[str, Any]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ASSISTENZA_")}
        environment |= {"ASSISTENZA_DATA_DIR": str(self.data_dir), "PYTHONPATH": str(ROOT)}
        environment |= self.variables
        command = [sys.executable, "-B", "-m", "app.cli", *arguments]
        return {"args": command, "env": environment, "cwd": self.data_dir.parent}

    def start(self) -> None:
        serve = self._command("serve", "--port", str(self.port))
        self._service = subprocess.Popen(**serve, stdout=self._log, stderr=self._log)

    async def ready(self) -> None:
        """Wait until the service answers from a database that is up."""
        deadline = time.monotonic() + READY
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/readyz")).status_code == 200:
                        return
                assert self._service is not None
                assert self._service.poll() is None, self.last_words()
                assert time.monotonic() < deadline, self.last_words()
                await asyncio.sleep(0.05)

    def key(self, *options: str) -> str:
        """A new token with every scope, or with what the options of `keys create` say."""
        every = [word for scope in sorted(SCOPES) for word in ("--scope", scope)]
        create = self._command("keys", "create", "--name", "load", *(options or every))
        done = subprocess.run(**create, capture_output=True, text=True, timeout=60, check=True)
        return str(done.stdout).strip()

    def load(self, name: str, rows: str) -> None:
        """Import a file of that name."""
        file = self.data_dir.parent / name
        file.write_text(rows)
        done = subprocess.run(
            **self._command("import", str(file)), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def reconcile(self) -> subprocess.CompletedProcess[str]:
        compare = self._command("reconcile")
        return subprocess.run(**compare, capture_output=True, text=True, timeout=60, check=False)

    def kill_service(self) -> None:
        assert self._service is not None
        self._service.send_signal(signal.SIGKILL)
        self._service.wait()
        self.start()

    def kill_database(self) -> None:
        pid = int((self.data_dir / "cluster" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def last_words(self) -> str:
        return (self.data_dir.parent / "service.log").read_text()[-3000:]

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        if self._service is not None and self._service.poll() is None:
            self._service.terminate()
            try:
                self._service.wait(30)
            except subprocess.TimeoutExpired:
                self._service.kill()
                self._service.wait()
        self._log.close()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = Path(process.cwd()).is_relative_to(self.data_dir)
                if process.name() == "postgres" and ours:
                    process.kill()

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The superuser's address, while the service runs."""
        with EmbeddedPostgres(self.data_dir).share() as server:
            url = make_url(server.admin_dsn).set(database=DATABASE)
            yield url.render_as_string(hide_password=False)
