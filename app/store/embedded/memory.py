"""How much memory PostgreSQL may use for its buffers."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

_MIB = 2**20
_LEAST, _MOST = 128 * _MIB, 1024 * _MIB
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def shared_buffers(memory: int) -> str:
    """PostgreSQL's setting on a machine with `memory` bytes: a quarter of them, within bounds.

    PostgreSQL takes a page of it when it is first used, so a small database never has all of it.
    """
    return f"{min(max(memory // 4, _LEAST), _MOST) // _MIB}MB"


def usable_memory(groups: Path = _CONTROL_GROUPS, own: Path = _OWN_GROUP) -> int:
    """The machine's memory in bytes, or the limit of this process's control group if it is lower.

    A group is limited by those above it too. A container may see its own group as the topmost one.
    """
    sizes = [psutil.virtual_memory().total]
    for file in _limits(groups, own):
        # A group without a limit has "max" in this file; the topmost group has no such file.
        with suppress(OSError, ValueError):
            sizes.append(int(file.read_text()))
    return min(sizes)


def _limits(groups: Path, own: Path) -> Iterator[Path]:
    """The files with the limits of this process's groups, of both versions of control groups."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        yield from (top / one / name for one in (group, *group.parents))
