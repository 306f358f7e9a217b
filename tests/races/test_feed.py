"""The feed under load: every reader hears every event once, whatever happens at the same time.

Random writers, two processes' publishing, a long transaction that has written an event, and readers
of every kind. `ASSISTENZA_LONG_SECONDS` says for how long the long test goes on (30 by default),
`ASSISTENZA_SEED` with which chances.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg
import httpx
import pytest

from app.jobs.publishing import Publishing
from app.services.tokens import SCOPES
from tests.api.build import Customer, made, unique
from tests.api.streams import follow, watched
from tests.conftest import Service, follow_all, publish_all
from tests.feed_order import misordered
from tests.races.conftest import PATIENT

_SECONDS = 2.0
_LONG_SECONDS = float(os.environ.get("ASSISTENZA_LONG_SECONDS", "30"))
_WRITERS = 5
_TYPES = ["case.opened", "time.recorded", "tickets.purchased"]

Events = list[dict[str, Any]]


class Load:
    """Writers, readers and long transactions on one service, until they are told to end."""

    def __init__(self, service: Service, client: httpx.AsyncClient, seed: int) -> None:
        self.service = service
        self.client = client
        self.random = random.Random(seed)
        self.customers: list[Customer] = []
        self.cases: list[dict[str, Any]] = []
        self.written = 0
        self.stop = asyncio.Event()
        """Nobody writes any more."""
        self.ended = asyncio.Event()
        """Nothing is published any more."""

    async def prepare(self) -> None:
        for _ in range(3):
            customer = await Customer.new(self.client, self.service.today())
            await customer.licence()
            await customer.contract()
            self.customers.append(customer)

    async def write(self) -> None:
        while not self.stop.is_set():
            customer = self.random.choice(self.customers)
            answer = await self._one(customer)
            assert answer.status_code < 500, answer.text
            self.written += answer.is_success

    async def _one(self, customer: Customer) -> httpx.Response:
        kind = self.random.choice(["case", "refused", "pack", "name", "time", "comment", "close"])
        if kind == "name":
            body = {"name": unique("Name")}
            return await self.client.patch(f"/v1/customers/{customer.id}", json=body)
        if kind == "pack":
            pack: dict[str, Any] = {"customer_id": customer.id, "quantity": 1}
            pack["purchased_on"] = str(customer.today)
            return await self.client.post("/v1/ticket-packs", json=pack)
        if kind == "refused":
            # A case of nobody's is refused, and that is an event too.
            stranger = await Customer.new(self.client, customer.today)
            return await stranger.try_open()
        if kind == "case" or not self.cases:
            answer = await customer.try_open()
            if answer.is_success:
                self.cases.append(answer.json())
            return answer
        path = f"/v1/cases/{self.random.choice(self.cases)['id']}"
        if kind == "time":
            work = {"technician": "T", "minutes": self.random.randint(1, 5)}
            return await self.client.post(f"{path}/time-entries", json=work)
        if kind == "comment":
            text = {"body": "Seen.", "internal": self.random.random() < 0.3}
            return await self.client.post(f"{path}/comments", json=text)
        return await self.client.post(f"{path}/closure", json={"resolution": "Done."})

    async def hold(self) -> None:
        """Transactions that write an event and end late, by turns well and badly."""
        connection = await asyncpg.connect(self.service.admin_url)
        try:
            number = 0
            while not self.stop.is_set():
                customer = self.random.choice(self.customers)
                number += 1
                transaction = connection.transaction()
                await transaction.start()
                lock = "SELECT FROM customers WHERE id = $1 FOR NO KEY UPDATE"
                await connection.execute(lock, customer.id)
                await connection.execute(
                    """INSERT INTO events
                        (type, customer_id, subject_id, actor, occurred_at, data)
                    VALUES ('customer.archived', $1::uuid, $1::uuid, 'test', now(), $2::jsonb)""",
                    customer.id,
                    f'{{"code": "H-{number}", "archived": true, "reason": "Held"}}',
                )
                await asyncio.sleep(self.random.uniform(0.1, 0.6))
                await (transaction.commit() if number % 2 else transaction.rollback())
        finally:
            await connection.close()

    async def read(self, after: str, limit: int, wait: int, **which: Any) -> Events:
        """Page by page, until nothing is published any more and nothing is left."""
        heard: Events = []
        while True:
            ending = self.ended.is_set()
            query = {"after": after, "limit": limit, "wait": wait, **which}
            page = await made(await self.client.get("/v1/events", params=query), 200)
            heard += page["items"]
            after = page["next_cursor"]
            if ending and not page["has_more"] and not page["items"]:
                return heard
            if not wait and not page["has_more"]:
                await asyncio.sleep(self.random.uniform(0, 0.05))


def _seed() -> int:
    seed = int(os.environ.get("ASSISTENZA_SEED", "0")) or random.randrange(1, 2**31)
    print(f"ASSISTENZA_SEED={seed}")
    return seed


@pytest.mark.parametrize(
    "seconds",
    [_SECONDS, pytest.param(_LONG_SECONDS, marks=pytest.mark.long)],
    ids=["short", "long"],
)
async def test_every_reader_hears_every_event_once_and_in_order(
    new_service: Callable[..., Awaitable[Service]], seconds: float
) -> None:
    service = await new_service(**PATIENT, statement_timeout_ms=60_000)
    load = Load(service, await service.client_with(*SCOPES), _seed())
    await load.prepare()
    await publish_all(service)
    start = (await made(await load.client.get("/v1/events?after=now"), 200))["next_cursor"]
    customer = load.customers[0]
    streamed: Events = []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(watched(service))
        publishing = [Publishing(service.policies, 365) for _ in range(2)]
        beside = [asyncio.create_task(one.run(service.database)) for one in publishing]
        # The lease lets one of them work at a time; this one asks for none.
        beside.append(asyncio.create_task(_publish_too(service, load.stop)))
        begin = {"Last-Event-ID": start}
        stream = asyncio.create_task(follow(service, load.client, begin, streamed.append))
        writing = [asyncio.create_task(load.write()) for _ in range(_WRITERS)]
        writing += [asyncio.create_task(load.hold()) for _ in range(2)]
        readers: dict[str, tuple[dict[str, Any], Coroutine[Any, Any, Events]]] = {
            "small pages": ({}, load.read(start, 1, 0)),
            "pages": ({}, load.read(start, 7, 0)),
            "long polls": ({}, load.read(start, 3, 1)),
            "types": ({"type": _TYPES}, load.read(start, 2, 0, type=_TYPES)),
            "a customer": (
                {"customer_id": customer.id},
                load.read(start, 2, 1, customer_id=customer.id),
            ),
            "a customer's types": (
                {"customer_id": customer.id, "type": _TYPES},
                load.read(start, 2, 0, customer_id=customer.id, type=_TYPES),
            ),
        }
        reading = {
            name: (which, asyncio.create_task(heard)) for name, (which, heard) in readers.items()
        }
        await asyncio.sleep(seconds)
        async with asyncio.timeout(60):
            while load.written <= 20:  # noqa: ASYNC110 - several tasks count it
                await asyncio.sleep(0.05)
        load.stop.set()
        await asyncio.gather(*writing)
        await _end(*beside)
        await follow_all(service)
        load.ended.set()
        heard = {name: (which, await task) for name, (which, task) in reading.items()}
        for name, (which, events) in heard.items():
            whole = await load.read(start, 200, 0, **which)
            assert whole, name
            assert [one["id"] for one in events] == [one["id"] for one in whole], name
        whole = await load.read(start, 200, 0)
        async with asyncio.timeout(20):
            while len(streamed) < len(whole):  # noqa: ASYNC110 - another task fills it
                await asyncio.sleep(0.05)
        await _end(stream)
    assert [one["event"] for one in streamed] == [one["type"] for one in whole]
    assert len({one["id"] for one in streamed}) == len(streamed)
    compared, wrong = await misordered(service.admin_url)
    assert wrong == []
    assert compared > load.written
    await load.client.aclose()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _publish_too(service: Service, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await publish_all(service)
        await asyncio.sleep(0.01)
