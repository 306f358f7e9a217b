"""The short way of the lookups: the same answers as through every layer of the frameworks."""

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from app.http.lookups import LookupRoute
from app.http.short_way import ShortWay
from tests.conftest import Service

_OF_EACH_REQUEST = {"x-request-id", "duration_ms"}


@pytest.fixture
async def token(service: Service) -> str:
    return await service.token("entitlements:read", "customers:write")


async def answered(
    service: Service, path: str, headers: dict[str, str], root_path: str
) -> tuple[Any, ...]:
    """The answer to GET and its log line, without what differs each time.

    Below a `root_path` the short way does not look for the request.
    """
    transport = httpx.ASGITransport(service.app, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with capture_logs() as lines:
            answer = await client.get(root_path + path, headers=headers)
    kept = [(name, value) for name, value in answer.headers.items() if name not in _OF_EACH_REQUEST]
    body = answer.json()
    for member in ("at", "request_id", "instance"):
        body.pop(member, None)
    (line,) = (one for one in lines if one["event"] == "request")
    logged = {name: value for name, value in line.items() if name not in _OF_EACH_REQUEST}
    kept = [(name, value) for name, value in kept if name != "content-length"]
    return answer.status_code, kept, body, logged


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("customer_code=SHORT", {}),
        ("customer_code=SHORT", {"Accept-Language": "de"}),
        ("customer_code=SHORT&at=2026-11-01T10:00:00Z", {}),
        ("customer_code=nobody", {}),
        ("customer_code=SHORT&customer_code=SHORT", {}),
        ("customer_cod=SHORT", {}),
        ("", {}),
        ("customer_code=SHORT", {"Accept": "text/csv"}),
        ("customer_code=SHORT", {"Authorization": "Bearer assistenza_made-up"}),
        ("customer_code=%ff", {}),
    ],
)
@pytest.mark.parametrize("call", ["", "/check", "/forecast"])
async def test_an_answer_is_the_same_through_all_layers(
    service: Service, token: str, call: str, query: str, headers: dict[str, str]
) -> None:
    headers = {"Authorization": f"Bearer {token}", **headers}
    async with service.client(token) as client:
        new = {"code": "SHORT", "name": "Short", "country": "IT"}
        await client.put("/v1/customers/by-code/SHORT", json=new)
    if call == "/check":
        query += "&service=phone_support"
    path = f"/v1/entitlements{call}?{query}"
    short = await answered(service, path, headers, "")
    long = await answered(service, path, headers, "/api")
    assert short == long


def test_every_get_of_a_lookup_takes_it(service: Service) -> None:
    taken = ShortWay(service.app, service.app.router.routes)
    declared = {
        route.path
        for route in service.app.router.routes
        if isinstance(route, LookupRoute) and "GET" in (route.methods or ())
    }
    assert taken.paths == declared
    assert "/v1/entitlements" in declared
