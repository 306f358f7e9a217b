"""What the tests over HTTP share."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time
from typing import Any

import httpx
import pytest

from app import clock
from tests.api.build import Customer


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    """A new customer with nothing."""
    return await Customer.new(client, today)


@pytest.fixture
async def holder(customer: Customer) -> Customer:
    """A customer who has held an Editor for years."""
    await customer.licence(days=-1000)
    return customer


@pytest.fixture
def travel(monkeypatch: pytest.MonkeyPatch) -> Callable[[date], None]:
    """Makes it noon (UTC) of a day for every request that follows."""

    def to(day: date) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.combine(day, time(12), UTC))

    return to


@pytest.fixture
def line_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, int], None]:
    """Holds a crowd of requests before a function of a module until all of them stand there.

    Without it the first is through before the last has begun, and unlocked code passes.
    """

    def before(module: Any, name: str, crowd: int) -> None:
        barrier = asyncio.Barrier(crowd)
        real: Callable[..., Awaitable[Any]] = getattr(module, name)
        waiting = crowd

        async def wait_and_go(*arguments: Any) -> Any:
            nonlocal waiting
            waiting -= 1
            if waiting >= 0:
                async with asyncio.timeout(10):
                    await barrier.wait()
            return await real(*arguments)

        monkeypatch.setattr(module, name, wait_and_go)

    return before
