"""What happens between two steps of whoever reads or writes events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from app import clock
from app.errors import RecordedRefusal
from app.jobs.publishing import Publishing
from app.services import case_opening
from app.services.tokens import SCOPES
from app.store import feed
from tests.api.build import Customer, made, refused
from tests.api.streams import watched
from tests.conftest import Service, publish_all


@pytest.fixture
async def service(new_service: Callable[..., Awaitable[Service]]) -> Service:
    return await new_service()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with await service.client_with(*SCOPES) as client:
        yield client


async def page(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    return await made(await client.get("/v1/events", params=query), 200)


@contextmanager
def meanwhile(do: Callable[[], Awaitable[Any]]) -> Iterator[None]:
    """Does something before the second statement on the feed of a request, if there is one."""
    real = AsyncConnection.execute
    seen = 0

    async def execute(self: AsyncConnection, statement: Any, *rest: Any, **more: Any) -> Any:
        nonlocal seen
        if "feed" in str(statement):
            seen += 1
            if seen == 2:
                await do()
        return await real(self, statement, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsyncConnection, "execute", execute)
        yield


async def test_events_that_are_pruned_while_a_page_is_read_are_not_passed_over(
    service: Service, client: httpx.AsyncClient
) -> None:
    customer = await Customer.new(client, service.today())
    await publish_all(service)
    cursor = (await page(client))["next_cursor"]
    await customer.licence()
    await publish_all(service)
    await customer.pack()
    await publish_all(service)
    due = (await page(client, after=cursor))["items"]
    assert [one["type"] for one in due] == ["licence.registered", "tickets.purchased"]

    async def prune() -> None:
        async with service.database.operations.begin() as connection:
            await feed.prune(connection, clock.now() + timedelta(seconds=5), 2)

    with meanwhile(prune):
        answer = await client.get("/v1/events", params={"after": cursor})
    if answer.status_code == 410:
        assert answer.json()["missed"]
    else:
        assert (await made(answer, 200))["items"] == due


async def test_an_event_has_one_id_although_an_epoch_begins_while_it_is_read(
    service: Service, client: httpx.AsyncClient
) -> None:
    customer = await Customer.new(client, service.today())
    await publish_all(service)
    cursor = (await page(client))["next_cursor"]
    await customer.licence()

    async def restored() -> None:
        async with service.database.operations.begin() as connection:
            await feed.begin_epoch(connection)
        await publish_all(service)

    with meanwhile(restored):
        first = await page(client, after=cursor)
    async with service.database.operations.begin() as connection:
        if len((await feed.extent(connection)).epochs) == 1:
            await feed.begin_epoch(connection)
    await publish_all(service)
    rest = await page(client, after=first["next_cursor"])
    heard = [one["id"] for one in first["items"] + rest["items"]]
    assert heard == [one["id"] for one in (await page(client, after=cursor))["items"]]
    assert len(heard) == 1


async def test_a_long_poll_waits_on_when_something_else_happens(
    service: Service, client: httpx.AsyncClient
) -> None:
    """A reader of one customer would otherwise be answered by everybody's events, with nothing."""
    customer, other = [await Customer.new(client, service.today()) for _ in range(2)]
    await publish_all(service)
    async with watched(service):
        asked = asyncio.create_task(page(client, after="now", wait=20, customer_id=customer.id))
        for _ in range(2):
            await asyncio.sleep(0.3)
            await other.licence()
            await publish_all(service)
        await asyncio.sleep(0.5)
        assert not asked.done()
        await customer.licence()
        await publish_all(service)
        async with asyncio.timeout(5):
            found = await asked
    assert [one["type"] for one in found["items"]] == ["licence.registered"]


async def test_a_long_poll_ends_in_time_whatever_else_happens(
    service: Service, client: httpx.AsyncClient
) -> None:
    customer, other = [await Customer.new(client, service.today()) for _ in range(2)]
    await publish_all(service)
    async with watched(service):
        asked = asyncio.create_task(page(client, after="now", wait=1, customer_id=customer.id))
        async with asyncio.timeout(10):
            while not asked.done():
                await other.licence()
                await publish_all(service)
                await asyncio.sleep(0.05)
        found = await asked
    assert found["items"] == []


async def test_a_refusal_is_recorded_in_the_order_of_the_commits(
    service: Service, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction begins after the one that refused, so that others may come between."""
    customer = await Customer.new(client, service.today())
    other = await asyncpg.connect(service.admin_url)
    committed = asyncio.Event()
    waiting: list[asyncio.Task[None]] = []
    real = case_opening.refused

    def refuse(*arguments: Any) -> RecordedRefusal:
        refusal = real(*arguments)

        async def record(connection: Any) -> None:
            writing = other.transaction()
            await writing.start()
            await other.execute(
                "SELECT FROM customers WHERE id = $1 FOR NO KEY UPDATE", customer.id
            )
            await other.execute(
                """INSERT INTO events (type, customer_id, subject_id, actor, occurred_at, data)
                VALUES ('customer.updated', $1::uuid, $1::uuid, 'test', now(), '{"code": "C"}')""",
                customer.id,
            )

            async def commit() -> None:
                await asyncio.sleep(0.5)
                committed.set()
                await writing.commit()

            waiting.append(asyncio.create_task(commit()))
            await refusal.record(connection)

        return RecordedRefusal(refusal.error, record)

    monkeypatch.setattr(case_opening, "refused", refuse)
    try:
        refused(await customer.try_open(), "not_entitled")
        # It has the later number, so it must not be the first to be seen.
        assert committed.is_set()
        await asyncio.gather(*waiting)
    finally:
        await other.close()


async def test_publishing_goes_on_after_a_mistake_of_our_own(
    service: Service, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Customer.new(client, service.today())
    publishing = Publishing(service.policies, 365)
    monkeypatch.setattr("app.jobs.publishing._OTHERS_EVERY", 0.05)
    real = feed.unpublished
    tries = 0

    async def unpublished(*arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise KeyError("number")
        return await real(*arguments)

    monkeypatch.setattr(feed, "unpublished", unpublished)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(publishing.run(service.database))
        try:
            async with watched(service), asyncio.timeout(10):
                assert (await page(client, wait=9))["items"]
        finally:
            running.cancel()
    broken = [one for one in logs if one["event"] == "publishing_broken"]
    assert len(broken) == 2
