"""PostgreSQL servers on loopback ports: a primary and the standbys that stream from it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from app.store import migrations
from app.store.embedded.account import Account, Programs, programs, server_account
from app.store.roles import DATABASE, LOGIN, OWNER, roles_sql
from tests.operation.running import free_port

_SECONDS = 120
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 120
fsync = off
wal_level = replica
max_wal_senders = 4
wal_keep_size = '256MB'
hot_standby = on
wal_receiver_status_interval = '1s'
"""


class Cluster:
    """A server of its own; `directory` is deleted by whoever made it. Everybody is trusted."""

    def __init__(self, directory: Path, *, settings: str = "") -> None:
        self.directory = directory
        self.port = free_port()
        self._settings = f"{_SETTINGS}port = {self.port}\n{settings}\n"
        directory.mkdir()
        self._account: Account | None = server_account(directory, directory / "data")
        self._programs: Programs = programs(self._account, directory / "binaries")
        if self._account is not None:
            os.chown(directory, self._account.uid, self._account.gid)
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, user: str = LOGIN, database: str = DATABASE) -> str:
        return f"postgresql://{user}@{self.server}/{database}"

    def _isolated(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {"cwd": self.directory, "env": {"PATH": os.environ["PATH"]}}
        if self._account is not None:
            arguments |= {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        return arguments

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs[program], *arguments],
            stdout=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
            **self._isolated(),
        )

    def create(self) -> None:
        self.run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust")
        self._configure()

    def copy(self, primary: "Cluster") -> None:
        """Become a standby of a server that runs."""
        source = f"postgresql://postgres@{primary.server}/postgres"
        self.run("pg_basebackup", "-D", str(self._data), "-R", "-c", "fast", "-d", source)
        self._configure()

    def _configure(self) -> None:
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(self._settings)

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs["postgres"], "-D", str(self._data)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._isolated(),
            )
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            assert self._process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            self.run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
        except subprocess.CalledProcessError:
            return False
        return True

    def promote(self) -> None:
        self.run("pg_ctl", "-D", str(self._data), "-w", "promote")

    def freeze(self) -> None:
        """Stop every process of the server without ending it."""
        for process in self._family():
            process.suspend()

    def thaw(self) -> None:
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop fast (SIGINT) or in the middle of the work (SIGQUIT)."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_SECONDS)


async def prepare(primary: Cluster) -> None:
    """The roles and the migrated database of the service."""
    await prepare_on(primary.server)


async def prepare_on(server: str, superuser: str = "postgres") -> None:
    """The same on any server; its owner has the password `two`, the role that serves `one`.

    `superuser` may have its password with it: `postgres:secret`.
    """
    await create_on(server, superuser)
    await migrations.upgrade(f"postgresql+asyncpg://{OWNER}:two@{server}/{DATABASE}")


async def create_on(server: str, superuser: str = "postgres") -> None:
    """The roles and an empty database of the service."""
    admin = await asyncpg.connect(f"postgresql://{superuser}@{server}/postgres")
    try:
        for statement in roles_sql("one", "two"):
            await admin.execute(statement)
        await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    finally:
        await admin.close()


@contextmanager
def primary_in(parent: Path) -> Iterator[Cluster]:
    """A server without a database of the service yet."""
    primary = Cluster(parent / "primary")
    primary.create()
    primary.start()
    try:
        yield primary
    finally:
        primary.stop(signal.SIGQUIT)


@contextmanager
def standby_in(parent: Path, primary: Cluster, settings: str = "") -> Iterator[Cluster]:
    standby = Cluster(parent / f"standby-{len(list(parent.iterdir()))}", settings=settings)
    standby.copy(primary)
    standby.start()
    try:
        yield standby
    finally:
        standby.stop(signal.SIGQUIT)
        shutil.rmtree(standby.directory, ignore_errors=True)
