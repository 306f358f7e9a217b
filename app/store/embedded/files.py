"""Small files of the data directory, readable by their owner alone."""

import os
from pathlib import Path


def open_private(path: Path, flags: int) -> int:
    """Open or create a file with mode 0600 and give back its descriptor.

    Root working in an ordinary account's directory leaves its files to that account, which
    could not start its own server any more otherwise, and follows no link laid there.
    """
    fd = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, and durably: a power cut leaves the old or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(open_private(fresh, os.O_WRONLY), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename in the directory survive a power cut."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
