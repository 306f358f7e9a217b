"""How one process divides its connections among its pools."""

from typing import NamedTuple

from app.settings import BACKGROUND_CONNECTIONS, Settings

_OPERATIONS = 2
# An export keeps the processor busy: more of them at once make each slower, and everybody else.
_MOST_EXPORTS = 4


class Shares(NamedTuple):
    """The most connections that each pool of one process opens."""

    asking: int
    """Questions about one customer's entitlements."""
    reading: int
    writing: int
    bound_asking: int
    bound: int
    exports: int
    operations: int
    """Readiness and housekeeping, which must work while requests have used up their own."""


BACKGROUND = Shares(
    asking=1, reading=1, writing=1, bound_asking=1, bound=1, exports=1, operations=3
)
"""The pools of the background process, which opens connections of two of them alone: each of its
jobs may have one of `operations`."""


def shares(settings: Settings) -> Shares:
    """The shares of one worker, which add up to its part of the budget.

    The background process has the connections that it opens from the budget first.

    Writes get most: a transaction holds its connection for several statements and a commit.
    """
    beside = BACKGROUND_CONNECTIONS if settings.background_process else 0
    part = (settings.connections - beside) // settings.workers
    exports = min(max(part // 10, 1), _MOST_EXPORTS)
    rest = part - exports - _OPERATIONS
    asking = reading = max(rest * 2 // 9, 1)
    bound_asking = bound = max(rest // 6, 1)
    writing = rest - asking - reading - bound_asking - bound
    return Shares(asking, reading, writing, bound_asking, bound, exports, _OPERATIONS)
