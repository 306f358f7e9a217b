"""The lock on the data directory: only its holder starts or stops the server."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from app.store.embedded.files import open_private

Role = Literal["serve", "command"]


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock."""

    pid: int
    role: Role


class DirectoryLock:
    """An exclusive lock on a file. The operating system releases it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def try_acquire(self, role: Role) -> bool:
        """Take the lock if it is free; never wait. Raises PermissionError."""
        fd = open_private(self._path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.write(fd, json.dumps({"pid": os.getpid(), "role": role}).encode())
        self._fd = fd
        return True

    def release(self) -> None:
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def holder(self) -> Holder | None:
        """The holder, or None while unknown: the lock is just being taken or released."""
        try:
            record = json.loads(self._path.read_bytes())
            holder = Holder(int(record["pid"]), "serve" if record["role"] == "serve" else "command")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # A killed holder's record stays until the next holder overwrites it.
        return holder if psutil.pid_exists(holder.pid) else None
