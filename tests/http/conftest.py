"""A client of the tiny application."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.http.tiny import make_app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
