"""The documentation pages work without the rest of the world."""

import re

import httpx
import pytest
from fastapi import FastAPI

from app.http.errors import handlers
from app.http.openapi import pages


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_everything_comes_from_here(page: str) -> None:
    app = FastAPI(docs_url=None, redoc_url=None)
    handlers.install(app)
    pages.install(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get(page)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        linked = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        assert len(linked) == 4
        for address in linked:
            assert address.startswith("/docs/")
            asset = await client.get(address)
            assert asset.status_code == 200
            assert len(asset.content) > 50
        refused = await client.post(linked[0])
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        start = (await client.get(linked[-1])).text
        assert '"openapi.json"' in start
        assert "http" not in start
