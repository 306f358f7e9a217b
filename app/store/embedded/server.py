"""`EmbeddedPostgres`: start, adopt, restart and stop the server, and share it with commands."""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import structlog

from app.store.embedded.access import Access
from app.store.embedded.account import check_reachable, programs, server_account
from app.store.embedded.cluster import SUPERUSER, Cluster, alive
from app.store.embedded.errors import DataDirectoryUnusable, ServerFailed, ServerInUse
from app.store.embedded.guard import Guard
from app.store.embedded.lock import DirectoryLock, Role
from app.store.embedded.signals import termination_unwinds
from app.store.embedded.sockets import SocketDirectory
from app.store.roles import DATABASE, LOGIN, OWNER

# PostgreSQL stops altogether if it cannot write its log (WAL), so writes end while there is room.
_RESERVE = 256 * 2**20
_PAUSE = 0.05
_PRUNING_SECONDS = 60.0
_RETRY_SECONDS = 2.0

log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """A PostgreSQL server on one data directory, reached by a private Unix socket with passwords.

    `start_timeout` and `stop_timeout` are in seconds; starting includes recovery after a crash.
    While the disk has fewer than `reserve` bytes left, the owner makes the server read-only.
    `durable=False` trades crash safety for speed, for tests that delete the data afterwards.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool = True,
        max_connections: int = 100,
        start_timeout: float = 300.0,
        stop_timeout: float = 60.0,
        reserve: int = _RESERVE,
    ) -> None:
        try:
            self.data_dir = data_dir.expanduser().resolve()
        except RuntimeError as error:
            raise DataDirectoryUnusable(f"ASSISTENZA_DATA_DIR: {data_dir}: {error}") from error
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._reserve = reserve
        self._writes_forbidden: bool | None = None
        self._cluster = Cluster(
            self.data_dir / "cluster", durable=durable, max_connections=max_connections
        )
        self._lock = DirectoryLock(self.data_dir / "lock")
        self._access = Access(self.data_dir / "credentials.json")
        self._socket_directory = SocketDirectory(self.data_dir)
        self._sockets: Path | None = None
        self._process: psutil.Process | None = None
        self._guard: Guard | None = None
        self._changing = threading.Lock()
        self._closing = threading.Event()

    # --- addresses --------------------------------------------------------------------------

    @property
    def app_dsn(self) -> str:
        """Address for serving requests."""
        return self._dsn(LOGIN, DATABASE)

    @property
    def owner_dsn(self) -> str:
        """Address for migrations: the role that owns the schema."""
        return self._dsn(OWNER, DATABASE)

    @property
    def admin_dsn(self) -> str:
        """Address of the superuser on its own database, for administration and for tests."""
        return self._dsn(SUPERUSER, SUPERUSER)

    @property
    def pid(self) -> int:
        """The server's process id. Raises ServerFailed if no server runs."""
        if self._process is None:
            raise ServerFailed("the database server is not running")
        return int(self._process.pid)

    def _dsn(self, user: str, database: str) -> str:
        if self._sockets is None:
            raise ServerFailed("the database server has not been started")
        return self._access.dsn(user, database, self._sockets)

    # --- owning and sharing -----------------------------------------------------------------

    @contextmanager
    def serve(self, *, wait: float = 10.0) -> Iterator[Self]:
        """Own the server: start it and stop it at the end. It ends too if this process is killed.

        Wait up to `wait` seconds for a short command that is using it. SIGTERM and SIGHUP raise
        SystemExit unless they have another handler, so that the server is stopped then too.
        Raises ServerInUse, DataDirectoryUnusable, VersionMismatch, ServerFailed.
        """
        self._acquire("serve", wait)
        with self._owned():
            yield self

    @contextmanager
    def share(self, *, wait: float = 60.0) -> Iterator[Self]:
        """Use the server for a short command: the running service's, or start one for the command.

        Wait up to `wait` seconds for another short command, or for a service that is starting.
        Signals and errors are those of `serve`.
        """
        if self._acquire("command", wait):
            with self._owned():
                yield self
            return
        try:
            yield self
        finally:
            self._process = None

    async def watch(self, *, every: float = 0.5) -> None:
        """Restart the server with the same address whenever it has died. For the owner.

        Check every `every` seconds until cancelled. Cancelling also aborts a restart in progress;
        do not call this again afterwards.
        """
        delay, next_pruning = every, 0.0
        try:
            while True:
                await asyncio.sleep(delay)
                delay = every
                if time.monotonic() > next_pruning:
                    next_pruning = time.monotonic() + _PRUNING_SECONDS
                    await asyncio.to_thread(self._cluster.prune_logs)
                if self._closing.is_set():
                    return
                if self._process is not None and alive(self._process):
                    try:
                        await asyncio.to_thread(self._keep_reserve)
                    except ServerFailed:
                        log.exception("database_reserve_not_kept")
                        delay = max(every, _RETRY_SECONDS)
                    continue
                log.error("database_server_died")
                try:
                    await asyncio.to_thread(self._restart)
                except Exception:  # the next attempt may succeed, whatever the reason
                    log.exception("database_server_restart_failed")
                    delay = max(every, _RETRY_SECONDS)
        finally:
            # A thread cannot be cancelled; a restart in progress checks this flag.
            self._closing.set()

    def _acquire(self, role: Role, wait: float) -> bool:
        """Take the lock; False if a command joins the server of a running service instead."""
        deadline = time.monotonic() + wait
        with self._usable_directory():
            self._make_directory()
            while not self._lock.try_acquire(role):
                holder = self._lock.holder()
                served = holder is not None and holder.role == "serve"
                if served and role == "command" and self._join():
                    return False
                if time.monotonic() > deadline or (served and role == "serve"):
                    raise self._in_use()
                time.sleep(_PAUSE)
        return True

    @contextmanager
    def _owned(self) -> Iterator[None]:
        try:
            with termination_unwinds():
                self._closing.clear()
                try:
                    self._bring_up()
                    yield
                finally:
                    self._bring_down()
        finally:
            self._lock.release()

    def _join(self) -> bool:
        """Use the server of the service that holds the lock, if it already answers."""
        process = self._cluster.postmaster() if self._cluster.exists() else None
        if process is None:
            return False
        self._access.load(may_create=False)
        if not self._answers(process):
            return False
        self._process = process
        return True

    def _in_use(self) -> ServerInUse:
        holder = self._lock.holder()
        who = "another process"
        if holder is not None:
            kind = "'assistenza serve'" if holder.role == "serve" else "'assistenza' command"
            who = f"another {kind} (process {holder.pid})"
        return ServerInUse(
            f"{who} uses the data directory {self.data_dir}: stop it first, or choose another"
            " directory with ASSISTENZA_DATA_DIR"
        )

    @contextmanager
    def _usable_directory(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise DataDirectoryUnusable(
                f"cannot use the data directory {self.data_dir} ({error}): run the command as the"
                " account that runs the service, or choose another ASSISTENZA_DATA_DIR"
            ) from error
        except OSError as error:
            raise DataDirectoryUnusable(
                f"cannot use the data directory {self.data_dir} ({error}): choose another"
                " ASSISTENZA_DATA_DIR"
            ) from error

    def _make_directory(self) -> None:
        if self.data_dir.is_dir():
            return
        self.data_dir.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            # The server's account must pass through to the cluster; it cannot list the directory.
            self.data_dir.chmod(0o711)

    # --- starting and stopping --------------------------------------------------------------

    def _bring_up(self) -> None:
        """Start a server that answers, once no process of an earlier one is left."""
        deadline = time.monotonic() + self._start_timeout
        with self._usable_directory():
            if not self._runs_by_hand(deadline):
                self._launch(deadline)
            self._access.set_up_roles(self._socket_directory.path)
            self._writes_forbidden = None  # an earlier owner may have forbidden them
            self._keep_reserve()
        log.info("database_server_up", pid=self.pid)

    def _runs_by_hand(self, deadline: float) -> bool:
        """Use a server that somebody started by hand; False once no process uses the cluster.

        A server that a killed service left is stopped: its guard may be stopping it already.
        """
        cluster = self._cluster
        self._access.load(may_create=not cluster.exists())
        if not cluster.exists():
            return False
        cluster.check_version()
        while True:
            self._process = cluster.postmaster()
            if self._process is not None:
                if cluster.is_tagged(self._process):
                    cluster.stop(self._process, self._stop_timeout)
                elif self._answers(self._process):
                    return True
                self._pause(deadline, f"process {self._process.pid} does not answer")
            elif pids := cluster.leftovers():
                self._pause(deadline, f"processes {pids} of the last server have not ended")
            else:
                return False

    def _launch(self, deadline: float) -> None:
        cluster = self._cluster
        account = server_account(self.data_dir, cluster.directory)
        if account is not None:
            check_reachable(account, cluster.directory)
        installed = programs(account, self.data_dir / "binaries")
        if not cluster.exists():
            cluster.create(installed, account, self._access.superuser_password)
        self._dismiss_guard()
        sockets = self._socket_directory.prepare(account)
        self._process = cluster.launch(installed, account, sockets)
        self._guard = cluster.guard(self._process, account)
        while not self._answers(self._process):
            if not alive(self._process):
                raise ServerFailed(f"the database did not start:\n{cluster.last_log_lines()}")
            self._pause(deadline, "it is still starting, or recovering from a crash")

    def _answers(self, process: psutil.Process) -> bool:
        sockets = self._cluster.sockets_of(process)
        # A password goes nowhere but into our own directory.
        if sockets is None or sockets != self._socket_directory.path:
            return False
        if not self._access.answers(sockets, self._cluster.directory):
            return False
        self._sockets = sockets
        return True

    def _keep_reserve(self) -> None:
        free = shutil.disk_usage(self._cluster.directory).free
        # A little more room before writes are allowed again: it must not change back and forth.
        forbidden = free < self._reserve * (1.25 if self._writes_forbidden else 1)
        if forbidden == self._writes_forbidden:
            return
        self._access.forbid_writes(self._socket_directory.path, forbidden)
        if forbidden:
            log.error("database_disk_almost_full", free_bytes=free, reserve_bytes=self._reserve)
        elif self._writes_forbidden:
            log.info("database_disk_has_room", free_bytes=free)
        self._writes_forbidden = forbidden

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.dismiss()

    def _pause(self, deadline: float, why: str) -> None:
        if self._closing.wait(_PAUSE):
            raise ServerFailed(
                "the start of the database was aborted because the service is stopping"
            )
        if time.monotonic() > deadline:
            raise ServerFailed(f"the database is not ready after {self._start_timeout:g} s: {why}")

    def _restart(self) -> None:
        with self._changing:
            if not self._closing.is_set():
                self._bring_up()

    def _bring_down(self) -> None:
        self._closing.set()
        with self._changing:
            process, self._process = self._process, None
            if process is not None:
                self._cluster.stop(process, self._stop_timeout)
                log.info("database_server_down", pid=process.pid)
            self._dismiss_guard()
            self._socket_directory.remove()
