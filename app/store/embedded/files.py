"""Small files in the data directory that only their owner can read."""

import os
from pathlib import Path


def open_private(path: Path, flags: int) -> int:
    """Open or create a file with mode 0600 and return its descriptor.

    Root gives the file to the owner of the directory: otherwise that account could no longer start
    its own server. Symbolic links are not followed, so that nobody can redirect root's write.
    """
    fd = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically and durably: after a power cut it is the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(open_private(fresh, os.O_WRONLY), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename in the directory durable, so that it survives a power cut."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
