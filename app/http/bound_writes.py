"""What one process keeps of the writes of bound tokens, so that a flood of one customer holds few
connections of the pool that the bound tokens of all customers share (R33)."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar
from uuid import UUID

from app.errors import TooManyWrites, Unauthorized
from app.services.tokens import hash_of

AT_ONCE = 2
"""The writes of one customer that hold connections at the same time."""
_REFUSED_SECONDS = 1.0
"""No longer than the least Retry-After."""
_MOST_TOKENS = 10_000

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Places:
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    taken: int = 0
    """By writes that run or wait."""


class BoundWrites:
    """The customers of tokens that were admitted here, and which writes are refused or wait.

    At most `quota` writes of one customer wait: more of them would be refused when they are
    counted.
    """

    def __init__(self, quota: int) -> None:
        self._quota = quota
        self._customers: OrderedDict[bytes, UUID] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        self._places: dict[UUID, _Places] = {}

    def customer_of(self, token: str) -> UUID | None:
        """Whose token it is, which never changes; None if it was not admitted here."""
        return self._customers.get(hash_of(token))

    def admit(self, token: str, customer: UUID) -> None:
        """Keep whose token it is, once the database has admitted it."""
        _keep(self._customers, hash_of(token), customer)

    def refuse_again(self, token: str) -> None:
        """Raises TooManyWrites if a write of the token was refused within the last second.

        Without the database: a replay is refused too, and so is a token revoked in that second.
        """
        until, retry_after = self._refused.get(hash_of(token), (0.0, 0))
        if monotonic() < until:
            raise TooManyWrites(retry_after, self._quota)

    def forget_refusals(self) -> None:
        """Ask the database again."""
        self._refused.clear()

    @asynccontextmanager
    async def place(self, token: str, customer: UUID) -> AsyncIterator[None]:
        """Where a write of a token that was admitted may take connections: it waits for its turn.

        Raises TooManyWrites at once if too many wait, and if a write of the token was refused
        meanwhile. Keeps the TooManyWrites that is raised inside.
        """
        key = hash_of(token)
        places = self._places.setdefault(customer, _Places())
        if places.taken >= AT_ONCE + self._quota:
            raise TooManyWrites(1, self._quota)
        places.taken += 1
        try:
            async with places.free:
                self.refuse_again(token)
                try:
                    yield
                except TooManyWrites as refusal:
                    seconds = int(str(refusal.params["seconds"]))
                    _keep(self._refused, key, (monotonic() + _REFUSED_SECONDS, seconds))
                    raise
                except Unauthorized:
                    # Its next write is checked before it takes a place.
                    self._customers.pop(key, None)
                    raise
        finally:
            places.taken -= 1
            if not places.taken:
                del self._places[customer]


def _keep(of: OrderedDict[bytes, _Value], key: bytes, value: _Value) -> None:
    """Keep a value of a token; beyond the most, forget the oldest."""
    of[key] = value
    of.move_to_end(key)
    if len(of) > _MOST_TOKENS:
        of.popitem(last=False)
