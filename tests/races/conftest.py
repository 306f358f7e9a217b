"""A service with a connection for every request of a crowd, and the line they start from."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import select

from app.http import idempotency
from app.services.tokens import SCOPES
from app.store import lock
from app.store.tables import customers
from tests.conftest import Service

CROWD = 50
# A crowd waits in one queue, on a machine that may be busy: that is not what is tested here.
PATIENT = {
    # In each pool more connections than the crowd has requests.
    "connections": 7 * CROWD,
    "pool_timeout": 60,
    "connect_timeout": 60,
    "request_timeout": 300,
    "lock_timeout_ms": 60_000,
}


@pytest.fixture(scope="module")
async def service(new_service: Callable[..., Awaitable[Service]]) -> Service:
    return await new_service(**PATIENT, statement_timeout_ms=60_000)


@pytest.fixture(scope="module")
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.client_with(*SCOPES) as client:
        yield client


class Line:
    """Requests wait here, each in a transaction of its own connection, until all have come.

    Without it the first is through before the last has begun, and unlocked code passes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def before_the_lock(self, crowd: int, *, locking: bool = True) -> None:
        """All stand before the customer's lock; `locking=False` takes the lock away."""
        self._patch(lock, "customer", crowd, lock.customer if locking else _found)

    def before_the_key(self, crowd: int) -> None:
        """All stand before the idempotency key is looked at."""
        self._patch(idempotency, "once", crowd, idempotency.once)

    def gone(self) -> None:
        self._monkeypatch.undo()

    def _patch(
        self, module: Any, name: str, crowd: int, real: Callable[..., Awaitable[Any]]
    ) -> None:
        barrier = asyncio.Barrier(crowd)
        calls = itertools.count()

        async def wait_and_go(*arguments: Any) -> Any:
            # A refusal comes by the lock a second time, to be recorded.
            if next(calls) < crowd:
                async with asyncio.timeout(30):
                    await barrier.wait()
            return await real(*arguments)

        self._monkeypatch.setattr(module, name, wait_and_go)


async def _found(connection: Any, customer_id: Any, parameters: Any = None) -> Any:
    """What the lock would be without FOR NO KEY UPDATE."""
    query = select(customers.c.id).where(customers.c.id == customer_id)
    return await connection.scalar(query, parameters)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


async def waiting(holder: asyncpg.Connection, count: int) -> None:
    """Until so many connections wait for a lock."""
    for _ in range(500):
        waiting = await holder.fetchval(
            "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        )
        if waiting >= count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{waiting} wait, not {count}")
