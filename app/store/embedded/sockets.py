"""The private directory of the server's Unix socket.

Whoever can put a socket where the service connects is given the passwords. So nobody but the
server's account and root may enter the directory, also while the server is down.
"""

import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from app.store.embedded.account import Account
from app.store.embedded.errors import DataDirectoryUnusable

PORT = 5432
"""A part of the socket's name. The server listens on no TCP port."""
_NAME = f".s.PGSQL.{PORT}"
# macOS allows 103 bytes for the path of a socket, Linux 107.
_LONGEST = 103
# Other characters separate directories in the server's setting, or hosts in an address.
_PLAIN = re.compile(r"[\w/.-]+", re.ASCII)
_SHORT = "/tmp/assistenza-"  # noqa: S108 - what is made there is private


class SocketDirectory:
    """`socket` in the data directory: a directory, or a link to one whose path is short enough."""

    def __init__(self, data_dir: Path) -> None:
        self._entry = data_dir / "socket"
        self._prepared = False

    @property
    def path(self) -> Path:
        return Path(os.readlink(self._entry)) if self._entry.is_symlink() else self._entry

    def prepare(self, account: Account | None) -> Path:
        """Make the directory: its path, which stays the same when it is called again.

        No process may be using the cluster. The directory belongs to `account`, else to the current
        account. Raises DataDirectoryUnusable if it belongs to another.
        """
        uid, gid = (os.geteuid(), os.getegid()) if account is None else (account.uid, account.gid)
        if not self._prepared:
            self.remove()
            if not self._entry.is_dir():
                self._make(uid, gid)
            self._prepared = True
        directory = self.path
        if not directory.exists():  # whatever cleans /tmp may have deleted it
            _make_private(directory, uid, gid)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid:
            raise DataDirectoryUnusable(
                f"{directory}, the directory of the database's socket, belongs to another account:"
                f" delete {self._entry}, then start again"
            )
        directory.chmod(0o700)
        # Left by a killed server. PostgreSQL would take the process that has its pid now, or its
        # zombie, for a server that uses the socket.
        for name in (_NAME, f"{_NAME}.lock"):
            (directory / name).unlink(missing_ok=True)
        return directory

    def _make(self, uid: int, gid: int) -> None:
        if _usable(self._entry):
            _make_private(self._entry, uid, gid)
            return
        parent, _, prefix = _SHORT.rpartition("/")
        directory = tempfile.mkdtemp(prefix=prefix, dir=parent)
        os.chown(directory, uid, gid)
        self._entry.symlink_to(directory)

    def remove(self) -> None:
        """Delete a directory elsewhere, if it is empty, and the link to it.

        Also one in the data directory whose path is no longer usable, because that was moved.
        """
        self._prepared = False
        directory = self.path
        if directory != self._entry:
            self._entry.unlink()
            # The owner of the data may have changed the link: root deletes nothing else for it.
            if not str(directory).startswith(_SHORT):
                return
        elif _usable(directory):
            return
        with suppress(OSError):
            directory.rmdir()


def _usable(directory: Path) -> bool:
    name = str(directory / _NAME)
    return len(os.fsencode(name)) <= _LONGEST and _PLAIN.fullmatch(name) is not None


def _make_private(directory: Path, uid: int, gid: int) -> None:
    directory.mkdir(mode=0o700)
    os.chown(directory, uid, gid, follow_symlinks=False)
