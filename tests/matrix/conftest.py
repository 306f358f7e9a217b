"""Two customers, everybody's tokens, and an eye on the statements that reach the database."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.services import help_desks, webhooks
from app.store import direct
from app.store.raw_reads import RawReadPool, Row
from tests.conftest import Service, follow_all
from tests.matrix.requests import Request
from tests.matrix.world import Holdings, somebody

# The instant of an answer that is as of now.
_AS_OF = re.compile(r'"as_of":"[^"]*"')
# What differs from one thing made to the next: ids, numbers, instants.
_AS_OF = re.compile('"as_of":"[^"]*"')
_MADE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{4}-\d{2}-\d{2}T[\d:.]+Z|(?:[A-Z]{2}-)?\d{4}-\d{6}|[TC]-[0-9a-f]{6}-\d+"
)


@dataclass
class World:
    service: Service
    client: httpx.AsyncClient
    """Holds every scope."""
    today: date
    own: Holdings
    other: Holdings
    statements: list[str]
    _clients: dict[tuple[tuple[str, ...], bool], httpx.AsyncClient] = field(default_factory=dict)

    async def somebody(self) -> Holdings:
        return await somebody(self.client, self.today)

    async def client_of(self, *scopes: str, bound: bool = False) -> httpx.AsyncClient:
        """Somebody who holds these scopes; `bound` to the customer whose is `own`."""
        key = (tuple(sorted(scopes)), bound)
        if key not in self._clients:
            customer = self.own.by_id["customer"] if bound else None
            client = await self.service.client_with(*scopes, customer_id=customer)
            # A bound token's first write in a process is checked once more than the others.
            await client.post("/v1/cases", json={})
            self._clients[key] = client
        return self._clients[key]

    async def outcome(
        self, request: Request, client: httpx.AsyncClient, names: Holdings
    ) -> dict[str, Any]:
        """All that a client can tell of an answer, the names that it sent itself aside, and what
        the database was asked."""
        self.statements.clear()
        answer = await request.send(client, **{"Accept-Language": "de"})
        text = names.hide(answer.text.replace(answer.headers["x-request-id"], "…"))
        # When it was asked, which its tag leaves out.
        text = _AS_OF.sub('"as_of":"…"', text)
        headers = {
            name: names.hide(value)
            for name, value in answer.headers.items()
            if name not in ("x-request-id", "content-length")
        }
        text = _AS_OF.sub("…", text)
        if answer.is_success and request.method != "GET":
            text = _MADE.sub("…", text)
            headers = {name: _MADE.sub("…", headers[name]) for name in headers if name != "etag"}
        return {
            "status": answer.status_code,
            "body": text,
            "headers": headers,
            "statements": list(self.statements),
        }


@pytest.fixture(scope="module")
def statements(service: Service) -> Iterator[list[str]]:
    """The text of every statement sent to the database since it was last cleared."""
    seen: list[str] = []

    def see(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engines = [one for one in vars(service.database).values() if isinstance(one, AsyncEngine)]
    assert len(engines) == 5
    answer = RawReadPool._fetch_on

    async def ask(self: RawReadPool, connection: Any, statement: str, values: Any) -> list[Row]:
        seen.append(statement)
        return await answer(self, connection, statement, values)

    send = direct._send

    async def note(connection: Any, driver: Any, statement: str, values: list[Any]) -> Any:
        seen.append(statement)
        return await send(connection, driver, statement, values)

    for engine in engines:
        event.listen(engine.sync_engine, "before_cursor_execute", see)
    # Two go past the engines: the question asked most, and the steps of cases.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RawReadPool, "_fetch_on", ask)
        patch.setattr(direct, "_send", note)
        yield seen
    for engine in engines:
        event.remove(engine.sync_engine, "before_cursor_execute", see)


_NO_ROW_SECURITY = """DO $$ DECLARE one regclass; BEGIN
    FOR one IN SELECT oid FROM pg_class WHERE relrowsecurity LOOP
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', one);
    END LOOP; END $$"""


@pytest.fixture(scope="module")
async def without_row_security(service: Service) -> None:
    """The database's own wall taken away, so that ours is seen to stand alone."""
    await service.server.run_in(service.database_name, _NO_ROW_SECURITY)


@pytest.fixture(scope="module")
async def any_scope(service: Service) -> None:
    """The database stores bound tokens with every scope."""
    command = "ALTER TABLE tokens DROP CONSTRAINT IF EXISTS ck_tokens_bound_scopes"
    await service.server.run_in(service.database_name, command)


@pytest.fixture(scope="module")
def many_closures() -> Iterator[None]:
    """The requests of the matrix all close a desk on the same days, and make a webhook each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(help_desks, "MOST_OVERLAPPING", 10_000)
        patch.setattr(help_desks, "MOST_STANDING", 10_000)
        patch.setattr(webhooks, "MOST_ENDPOINTS", 10_000)
        yield


@pytest.fixture(scope="module")
async def world(
    service: Service, client: httpx.AsyncClient, statements: list[str], many_closures: None
) -> AsyncIterator[World]:
    today = service.today()
    own, other = await somebody(client, today), await somebody(client, today)
    # What is shown of them follows the feed.
    await follow_all(service)
    # A process reads the key of its cursors once.
    await client.get("/v1/events?limit=1")
    world = World(service, client, today, own, other, statements)
    yield world
    for one in world._clients.values():
        await one.aclose()
