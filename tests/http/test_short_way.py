"""The short way: the same answers as through every layer of the frameworks."""

import re
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Match
from structlog.testing import capture_logs

from app.http.short_way import ShortWay
from app.http.strict_query import StrictRoute
from tests.conftest import Service

_OF_EACH_REQUEST = {"x-request-id", "duration_ms"}


@pytest.fixture
async def token(service: Service) -> str:
    return await service.token("entitlements:read", "customers:write")


async def answered(
    service: Service,
    path: str,
    headers: dict[str, str],
    root_path: str,
    *,
    method: str = "GET",
    content: bytes = b"",
) -> tuple[Any, ...]:
    """The answer and its log line, without what differs each time.

    Below a `root_path` the short way does not look for the request.
    """
    transport = httpx.ASGITransport(service.app, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with capture_logs() as lines:
            answer = await client.request(
                method, root_path + path, headers=headers, content=content
            )
    kept = [(name, value) for name, value in answer.headers.items() if name not in _OF_EACH_REQUEST]
    body = answer.json() if answer.content else {}
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


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", "/v1/cases", b"{}", {}),
        ("POST", "/v1/cases", b"{", {}),
        ("POST", "/v1/cases", b"[", {"Content-Type": "text/plain"}),
        ("POST", "/v1/cases/nothing/closure", b'{"resolution": "Solved."}', {}),
        ("POST", "/v1/cases?dry=1", b"{}", {}),
        ("POST", "/v1/licences", b"{}", {}),
        ("POST", "/v1/entitlements/simulation", b"{}", {}),
        ("PUT", "/v1/customers/by-code/SHORT", b'{"name": 1}', {}),
        ("PATCH", "/v1/customers/SHORT", b"{}", {"Accept": "text/csv"}),
        ("DELETE", "/v1/customers/SHORT", b"", {}),
        ("GET", "/v1/customers/nobody", b"", {}),
        ("HEAD", "/v1/customers", b"", {}),
        ("GET", "/v1/customers?limit=x", b"", {"Accept-Language": "it"}),
        ("GET", "/problems/not_found", b"", {}),
        ("GET", "/v1/nothing", b"", {}),
        ("POST", "/v1/cases/", b"{}", {}),
    ],
)
async def test_any_call_is_answered_the_same(
    service: Service, token: str, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    short, long = [
        await answered(service, path, sent, root_path, method=method, content=body)
        for root_path in ("", "/api")
    ]
    assert short == long


async def test_below_a_root_path_a_call_is_not_looked_for(service: Service, token: str) -> None:
    """There `/v1/cases` is the path `/cases`."""
    transport = httpx.ASGITransport(service.app, root_path="/v1")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        assert (await client.get("/v1/customers")).status_code == 404


_ODD = ("x", "by-code", "by-key", "summary", "a b", "a\n", "", "é", "x/y")


def test_the_route_is_the_one_that_starlette_finds(service: Service) -> None:
    routes = service.app.router.routes
    taken = ShortWay(service.app, routes)
    paths = {
        re.sub(r"\{[^}]*\}", name, template) + end
        for template in (getattr(route, "path", "") for route in routes)
        for name in _ODD
        for end in ("", "/", "\n", "/x")
    }
    found = 0
    for path in sorted(paths):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"):
            scope: dict[str, Any] = {"type": "http", "method": method, "path": path}
            first, params = _first(routes, dict(scope))
            chosen = taken.find(scope)
            expected = first if isinstance(first, StrictRoute) and path[:4] == "/v1/" else None
            # The long way is always right, and takes what nobody sends on purpose.
            if chosen is not None or not path.endswith("\n"):
                assert (chosen and chosen.route) is expected, (method, path)
            if chosen is not None:
                found += 1
                assert scope["path_params"] == params
    declared = [route for route in routes if isinstance(route, StrictRoute)]
    assert found > len(declared) > 100


def _first(routes: list[BaseRoute], scope: dict[str, Any]) -> tuple[BaseRoute | None, Any]:
    for route in routes:
        match, child = route.matches(scope)
        if match == Match.FULL:
            return route, child["path_params"]
    return None, None
