"""Nobody gets in without a valid token, nor does anything that the token is not for.

401 comes before 403, and 403 before anything is said of the request itself.
"""

import base64
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from app.http.routes import ReadRoute, ScopedRoute, WriteRoute
from app.pages.routing import PageRoute
from app.services.tokens import BOUND_PREFIX, PREFIX, SCOPES, new_token
from tests.conftest import Service
from tests.matrix.conftest import World
from tests.matrix.document import DOCUMENT, OPEN, Operation, operations
from tests.matrix.requests import Request, build
from tests.matrix.world import nobody, plain

_ALL = operations()
_CLOSED = [one for one in _ALL if one.name not in OPEN]
# What the service answers besides the operations of its document, all of it without a token.
_PAGES = {
    "/",
    "/openapi.json",
    "/docs",
    "/redoc",
    "/docs/swagger.js",
    "/docs/redoc.js",
    "/docs/assets",
}

every_closed = pytest.mark.parametrize("operation", _CLOSED, ids=lambda one: one.name)


def variants(world: World, operation: Operation) -> list[Request]:
    """A good request, one for what does not exist, and bad ones."""
    dates = plain(world.today)
    good = build(operation, world.other.by_id | dates)
    strange = deepcopy(good)
    strange.query["nothing"] = "x"
    if strange.body is not None:
        strange.body = ["nothing"]
    strange.path = dict.fromkeys(strange.path, "%00")
    return [good, build(operation, nobody().by_id | dates), strange]


def in_basic(token: str) -> str:
    """The credentials of HTTP Basic with a token as the password."""
    return base64.b64encode(f"phone:{token}".encode()).decode()


async def tokens_of_nobody(service: Service, customer_id: str) -> list[str]:
    """Every kind of thing that is sent in the place of a token."""
    long_ago = datetime.now(UTC) - timedelta(days=1)
    token = await service.token(*SCOPES)
    return [
        "Bearer",
        "Bearer nothing",
        f"Basic {token}",
        f"Basic {in_basic(token + 'x')}",
        f"Basic {base64.b64encode(token.encode() + b':').decode()}",
        f"Bearer {token}x",
        f"Bearer {token[:-1]}",
        f"Bearer {token.replace(PREFIX, BOUND_PREFIX)}",
        f"Bearer {new_token(bound=False)[0]}",
        f"Bearer {new_token(bound=True)[0]}",
        f"Bearer {await service.token(*SCOPES, expires_at=long_ago)}",
        f"Bearer {await service.token(*SCOPES, revoked_at=long_ago)}",
        f"Bearer {await service.token('cases:read', customer_id=customer_id, expires_at=long_ago)}",
    ]


@pytest.fixture(scope="module")
async def of_nobody(world: World) -> list[str]:
    return await tokens_of_nobody(world.service, world.own.by_id["customer"])


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    return body


@every_closed
async def test_without_a_token(world: World, operation: Operation) -> None:
    async with world.service.client(None) as stranger:
        for request in variants(world, operation):
            answer = await request.send(stranger)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"


@every_closed
async def test_with_the_token_of_nobody(
    world: World, operation: Operation, of_nobody: list[str]
) -> None:
    request, *others = variants(world, operation)
    async with world.service.client(None) as stranger:
        for header in of_nobody:
            answer = await request.send(stranger, Authorization=header)
            problem(answer, 401, "unauthorized")
            sent = header.strip() != "Bearer"
            expected = 'Bearer error="invalid_token"' if sent else "Bearer"
            assert answer.headers["www-authenticate"] == expected
        for other in others:
            problem(await other.send(stranger, Authorization=of_nobody[-1]), 401, "unauthorized")
            problem(await other.send(stranger, Authorization=of_nobody[-2]), 401, "unauthorized")


@pytest.mark.parametrize(
    "operation", [one for one in _CLOSED if one.body is not None], ids=lambda one: one.name
)
async def test_a_large_body_is_received_only_with_a_token(
    world: World, operation: Operation
) -> None:
    received = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal received
        received = True
        yield b"{}"

    url = operation.path.format_map(world.other.by_id)
    lacking = await world.service.token(*(SCOPES - {operation.scope or ""}))
    async with world.service.client(None) as stranger:
        for token, status in ((new_token(bound=False)[0], 401), (lacking, 403)):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            answer = await stranger.request(operation.method, url, content=body(), headers=headers)
            assert answer.status_code == status
    assert not received


@every_closed
async def test_with_every_scope_but_the_one(
    world: World, any_scope: None, operation: Operation
) -> None:
    scope = operation.scope
    if scope is None:
        plainest = await world.client_of()
        assert (await build(operation, world.other.by_id).send(plainest)).status_code == 200
        return
    for bound in (False, True):
        lacking = await world.client_of(*(SCOPES - {scope}), bound=bound)
        for request in variants(world, operation):
            answer = await request.send(lacking)
            if operation.scope_of(bound=bound) is None:
                assert answer.status_code in (200, 404, 422)
                continue
            body = problem(answer, 403, "insufficient_scope")
            assert scope in body["detail"]
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            assert answer.headers["www-authenticate"] == challenge


@every_closed
async def test_with_the_one_scope_alone(world: World, operation: Operation) -> None:
    """What the document says is needed is also enough."""
    client = await world.client_of(*([operation.scope] if operation.scope else []))
    _, missing, strange = variants(world, operation)
    assert (await missing.send(client)).status_code in (200, 201, 404, 422)
    assert (await strange.send(client)).status_code == 422


@every_closed
async def test_by_basic_as_by_bearer(world: World, operation: Operation) -> None:
    scopes = [operation.scope] if operation.scope else []
    token = await world.service.token(*scopes)
    lacking = await world.service.token(*(SCOPES - {*scopes}))
    async with world.service.client(None) as client:
        answers = [
            [
                (await request.send(client, Authorization=header)).status_code
                for request in variants(world, operation)[1:]
            ]
            for header in (f"Bearer {token}", f"Basic {in_basic(token)}")
        ]
        assert answers[0] == answers[1]
        if scopes:
            basic = f"Basic {in_basic(lacking)}"
            answer = await variants(world, operation)[1].send(client, Authorization=basic)
            problem(answer, 403, "insufficient_scope")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "operation", [one for one in _CLOSED if one.is_safe], ids=lambda one: one.name
)
async def test_head_needs_what_get_needs(world: World, operation: Operation) -> None:
    for request in variants(world, operation):
        head = replace(request, method="HEAD")
        async with world.service.client(None) as stranger:
            answer = await head.send(stranger)
            assert (answer.status_code, answer.content) == (401, b"")
        for bound in (False, True):
            if operation.scope_of(bound=bound) is not None:
                lacking = await world.client_of(*(SCOPES - {operation.scope}), bound=bound)
                answer = await head.send(lacking)
                assert (answer.status_code, answer.content) == (403, b"")
        client = await world.client_of(*([operation.scope] if operation.scope else []))
        answer, as_get = await head.send(client), await request.send(client)
        assert (answer.status_code, answer.content) == (as_get.status_code, b"")


async def test_open_is_what_is_meant_to_be(world: World) -> None:
    assert {one.name for one in _ALL if one.is_open} == OPEN
    async with world.service.client(None) as stranger:
        for operation in _ALL:
            if operation.is_open:
                answer = await build(operation, {"code": "not_found"}).send(stranger)
                # What it takes instead of a token is a secret too.
                expected = 410 if operation.name == "redeem_sign_in_link" else 200
                assert answer.status_code == expected, operation.name
        for page in _PAGES - {"/docs/assets"}:
            answer = await stranger.get(page, follow_redirects=True)
            assert answer.status_code == 200, page


def test_there_is_nothing_beside_the_document(service: Service) -> None:
    documented = {(one.method, one.path) for one in _ALL}
    documented |= {("HEAD", one.path) for one in _ALL if one.is_safe}
    for route in iter_route_contexts(service.app.routes):
        path = route.path or ""
        if path in _PAGES or isinstance(route.original_route, PageRoute):
            continue
        methods = set(route.methods or ())
        assert {(method, path) for method in methods} <= documented
        if path not in {one.path for one in _ALL if one.is_open}:
            assert isinstance(route.original_route, ScopedRoute), path
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"token"}


@pytest.mark.parametrize("route_class", [ReadRoute, WriteRoute])
@pytest.mark.parametrize("extra", [None, {"summary": "x"}])
def test_a_route_that_does_not_name_its_scope_cannot_be_made(route_class: Any, extra: Any) -> None:
    async def nothing() -> None: ...

    add: Callable[..., Any] = APIRouter(route_class=route_class).get(
        "/nothing", openapi_extra=extra
    )
    with pytest.raises(TypeError, match="scope"):
        add(nothing)
