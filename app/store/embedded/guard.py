"""End the server when the process that owns it dies, however it dies."""

import os
import subprocess
from typing import Any

# The server's fast shutdown, if the pipe ends before a line came.
_SCRIPT = 'read -r _ || kill -INT "$1"'


class Guard:
    """A shell that waits at the end of a pipe; the system closes our end when we die.

    PR_SET_PDEATHSIG would need no process, but it follows the thread that started the server, and
    restarts run in a thread that ends soon. macOS does not have it.
    """

    def __init__(self, pid: int, **isolation: Any) -> None:
        """Watch over the server with this process id; `isolation` are arguments for Popen."""
        reading, self._writing = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", _SCRIPT, "sh", str(pid)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **isolation,
            )
        except BaseException:
            os.close(self._writing)
            raise
        finally:
            os.close(reading)

    def dismiss(self) -> None:
        """End the guard without a signal to the server, whose process id may be another's soon."""
        try:
            os.write(self._writing, b"\n")
        except BrokenPipeError:
            pass  # somebody has ended the guard
        finally:
            os.close(self._writing)
        self._process.wait()
