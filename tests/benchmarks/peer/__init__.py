"""Programs of others that do a comparable job, as the benchmark runs them: one module for each."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.benchmarks.load import HOST
from tests.benchmarks.working import Calls


class Unavailable(Exception):
    """This peer is not installed here, or cannot be set up; says why in a line."""


@dataclass(frozen=True)
class Tracker:
    """A running system that keeps cases."""

    name: str
    port: int
    pid: int
    credentials: str
    """A line of a request's head."""
    requests: Calls
    reading: str
    """The path of a case, with `{value}` for its id."""

    def read(self) -> str:
        return (
            f"GET {self.reading} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\n{self.credentials}\r\n"
            "Accept: application/json\r\n\r\n"
        )


def libpq_environment(url: str) -> dict[str, str]:
    """The variables by which PostgreSQL's own client library, and what is built on it, finds a
    database."""
    parts = make_url(url)
    values = {
        "PGHOST": parts.host or parts.query.get("host"),
        "PGPORT": parts.port or parts.query.get("port"),
        "PGUSER": parts.username,
        "PGPASSWORD": parts.password,
        "PGDATABASE": parts.database,
    }
    return {name: str(value) for name, value in values.items() if value}


def prepare(command: list[str | Path], directory: Path, environment: dict[str, str]) -> None:
    """Runs a step of a peer's set-up. Raises Unavailable with the last line of what it printed."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise Unavailable(f"`{' '.join(map(str, command))[:100]}` failed: {last}")
