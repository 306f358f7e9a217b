"""Services as processes of their own, and clients that count what they are answered."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[2]
_START_SECONDS = 120
_STOP_SECONDS = 60


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that the account of the embedded PostgreSQL can enter too."""
    parent = Path(tempfile.mkdtemp(prefix="assistenza-operation-"))
    parent.chmod(0o755)
    try:
        yield parent
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def environment(settings: dict[str, Any]) -> dict[str, str]:
    """The variables of a process that has these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if "ASSISTENZA" not in name}
    return kept | {f"ASSISTENZA_{name.upper()}": str(value) for name, value in settings.items()}


def command(settings: dict[str, Any], *arguments: str) -> str:
    """What `assistenza ARGUMENTS` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=environment(settings),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_START_SECONDS,
        check=True,
    )
    return done.stdout.strip()


class Running:
    """`assistenza serve` with these settings, on a port of its own, until it is stopped."""

    # Takes the place of systemd: the socket becomes descriptor 3 of the program that runs next.
    _PASS = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3);"
        "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())};"
        "os.execv(sys.executable, [sys.executable, '-m', 'app.cli', 'serve'])"
    )

    def __init__(
        self,
        passed: socket.socket | None = None,
        *,
        before: Sequence[str | Path] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
        **settings: Any,
    ) -> None:
        """`before` is a program that starts it, with these `variables` besides its settings."""
        own = settings.pop("port", None) or free_port()
        self.port: int = passed.getsockname()[1] if passed else own
        self.address = f"http://127.0.0.1:{self.port}"
        self.settings = {"port": self.port, "log_format": "json", **settings}
        start = ["-m", "app.cli", "serve"]
        descriptors: tuple[int, ...] = ()
        if passed:
            start = ["-c", self._PASS, str(passed.fileno())]
            descriptors = (passed.fileno(),)
        self.process = subprocess.Popen(
            [*map(str, before), sys.executable, *start],
            env=environment(self.settings) | dict(variables),
            cwd=ROOT,
            pass_fds=descriptors,
        )

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_ready():
            assert self.process.poll() is None, "the service has ended"
            assert time.monotonic() < deadline, "the service is not ready"
            time.sleep(0.05)

    def workers(self) -> set[int]:
        """The process ids of the workers that run."""
        found = set()
        for child in psutil.Process(self.process.pid).children():
            # One that has just ended has no command line any more.
            with suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()):
                    found.add(child.pid)
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def running(passed: socket.socket | None = None, **how: Any) -> Iterator[Running]:
    """A service that is ready, started as `Running` says."""
    service = Running(passed, **how)
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.stop()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.05)


async def more(load: "Load", answers: int = 50) -> None:
    """Wait for so many more answers."""
    wanted = load.answers.total() + answers
    await until(lambda: load.answers.total() >= wanted)


class Load:
    """Clients that ask as long as the load lasts, and what became of every request."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self._ends = False

    @property
    def failed(self) -> dict[str, int]:
        """Everything but answers of 2xx."""
        return {kind: count for kind, count in self.answers.items() if not kind.startswith("2")}

    @asynccontextmanager
    async def of(self, url: str, token: str, *, clients: int = 4) -> AsyncIterator[None]:
        """Half of the clients keep their connection, half open a new one for each request."""
        tasks = [
            asyncio.create_task(self._ask(url, token, keep=bool(number % 2)))
            for number in range(clients)
        ]
        try:
            yield
        finally:
            self._ends = True
            await asyncio.gather(*tasks)

    async def _ask(self, url: str, token: str, *, keep: bool) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        limits = httpx.Limits() if keep else httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=30) as client:
            while not self._ends:
                try:
                    kind = str((await client.get(url)).status_code)
                except httpx.TransportError as error:
                    kind = type(error).__name__
                self.answers[kind] += 1
                await asyncio.sleep(0.005)
