"""How a demo starts: on which databases, with which tokens, and after one that was broken off."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.demo import DemoRefused, loading
from app.demo.clients import CLIENTS, VALID_FOR
from app.demo.loading import CUSTOMERS
from app.demo.steps import Step
from app.store import tables
from tests.api.test_demo import fill, tokens_in
from tests.conftest import Service

NewService = Callable[..., Awaitable[Service]]


@pytest.fixture(scope="module")
async def whole(new_service: NewService) -> dict[str, int]:
    """How many rows each table has when everything is loaded, at once."""
    service = await new_service()
    await fill(service)
    return await counted(service)


async def counted(service: Service) -> dict[str, int]:
    async with service.database.reading.connect() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in tables.metadata.sorted_tables
            # The serving role may not read how often bound tokens write; the demo has none.
            if table.name != "bound_writes"
        }


async def valid_tokens(service: Service) -> dict[str, Any]:
    query = select(tables.tokens).where(tables.tokens.c.revoked_at.is_(None))
    async with service.database.reading.connect() as connection:
        return {row.name: row for row in (await connection.execute(query)).all()}


async def test_a_second_start_keeps_the_data_and_makes_new_tokens(
    new_service: NewService,
) -> None:
    service = await new_service()
    first = tokens_in((await fill(service))("127.0.0.1", 8000))
    before = await counted(service)
    async with await service.client_with("customers:write", name="somebody") as client:
        changed = await client.patch("/v1/customers/C-0001", json={"code": "ANOTHER-CODE"})
        assert changed.status_code == 200
    second = (await fill(service))("127.0.0.1", 8000)
    assert "/ANOTHER-CODE/" in second
    after = await counted(service)
    assert after == before | {
        # That of somebody, and those of the clients and of the link.
        "tokens": before["tokens"] + 1 + len(CLIENTS) + 1,
        "events": before["events"] + 1,
        "unpublished_events": before["unpublished_events"] + 1,
    }
    for old in first:
        async with service.client(old) as client:
            assert (await client.get("/v1/service-matrix")).status_code == 401
    for new in tokens_in(second):
        async with service.client(new) as client:
            assert (await client.get("/v1/service-matrix")).status_code == 200
    valid = await valid_tokens(service)
    assert set(valid) == {"somebody", *(client.name for client in CLIENTS)}
    for one in CLIENTS:
        row = valid[one.name]
        assert row.expires_at - row.created_at == VALID_FOR


@pytest.mark.parametrize("steps", [0, 40, 180])
async def test_a_loading_broken_off_goes_on(
    new_service: NewService,
    whole: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    service = await new_service()
    send = httpx.AsyncClient.request
    left = [steps]

    async def break_off(self: httpx.AsyncClient, *args: Any, **more: Any) -> httpx.Response:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return await send(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(httpx.AsyncClient, "request", break_off)
        with pytest.raises(KeyboardInterrupt):
            await fill(service)
    assert await valid_tokens(service) == {}
    assert (await counted(service))["events"] < whole["events"]
    await fill(service)
    assert await counted(service) == whole | {"tokens": whole["tokens"] + 1}


@pytest.mark.parametrize("holds", ["a token", "a customer"])
async def test_other_data_is_never_touched(new_service: NewService, holds: str) -> None:
    service = await new_service()
    token = await service.token("customers:write", "customers:read")
    if holds == "a customer":
        async with service.client(token) as client:
            body = {"code": "OWN", "name": "Own", "country": "IT"}
            assert (await client.post("/v1/customers", json=body)).status_code == 201
    before = await counted(service)
    with pytest.raises(DemoRefused, match="data of its own"):
        await fill(service)
    assert await counted(service) == before
    async with service.client(token) as client:
        assert (await client.get("/v1/customers")).status_code == 200


async def test_a_step_refused_is_said(
    new_service: NewService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await new_service()
    wrong = CUSTOMERS[0]._replace(records=(Step("/v1/licences", {"serial_number": "?"}),))
    with monkeypatch.context() as patch:
        patch.setattr(loading, "CUSTOMERS", (wrong,))
        with pytest.raises(DemoRefused, match="POST /v1/licences was answered 422 invalid_input"):
            await fill(service)
    assert await valid_tokens(service) == {}
