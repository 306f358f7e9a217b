"""Whatever goes wrong is a problem (RFC 9457) in the language asked for, and explains itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.http.errors.handlers import LARGEST_BODY
from app.services import customers
from app.services.tokens import SCOPES
from app.settings import Settings
from app.store.database import Database
from tests.conftest import Service
from tests.matrix.conftest import World

Ask = Callable[[World, httpx.AsyncClient], Awaitable[httpx.Response]]

_JSON = {"Content-Type": "application/json"}
_NEW = {"code": "taken", "name": "x", "country": "IT"}


async def too_much() -> AsyncIterator[bytes]:
    for _ in range(LARGEST_BODY // 65_536 + 1):
        yield b" " * 65_536


async def _no_token(world: World, client: httpx.AsyncClient) -> httpx.Response:
    del client.headers["Authorization"]
    return await client.get("/v1/customers")


async def _no_scope(world: World, client: httpx.AsyncClient) -> httpx.Response:
    client.headers["Authorization"] = f"Bearer {await world.service.token('usage:read')}"
    return await client.get("/v1/customers")


async def _taken(world: World, client: httpx.AsyncClient) -> httpx.Response:
    await client.post("/v1/customers", json=_NEW)
    return await client.post("/v1/customers", json=_NEW)


def get(path: str, **headers: str) -> Ask:
    async def ask(world: World, client: httpx.AsyncClient) -> httpx.Response:
        return await client.get(path.format_map(world.own.by_id), headers=headers)

    return ask


def send(method: str, path: str, **arguments: Any) -> Ask:
    async def ask(world: World, client: httpx.AsyncClient) -> httpx.Response:
        given = {name: one() if callable(one) else one for name, one in arguments.items()}
        return await client.request(method, path.format_map(world.own.by_id), **given)

    return ask


_STATEMENT = "/v1/customers/{customer}/statement?from=2026-01-01&to=2026-02-01"
_WRONG = {"name": "", "country": "xx", "language": "fr", "contacts": [{}] * 101, "x": 1}

CASES: dict[str, tuple[str, Ask]] = {
    "no token": ("401 unauthorized", _no_token),
    "no scope": ("403 insufficient_scope", _no_scope),
    "no such path": ("404 not_found", get("/v1/nothing")),
    "no such page": ("404 not_found", get("/problems/nothing")),
    "no such id": ("404 not_found", get("/v1/customers/{case}")),
    "nobody": ("404 customer_not_found", get("/v1/entitlements?customer_code=nobody")),
    "method": ("405 method_not_allowed", send("DELETE", "/v1/customers")),
    "unknown method": ("405 method_not_allowed", send("FETCH", "/v1/customers/{customer}")),
    "media type": ("406 not_acceptable", get(_STATEMENT, Accept="image/png")),
    "page's type": ("406 not_acceptable", get("/problems/not_found", Accept="image/png")),
    "taken": ("409 already_exists", _taken),
    "changed since": (
        "412 precondition_failed",
        send("PATCH", "/v1/customers/{customer}", json={}, headers={"If-Match": '"other"'}),
    ),
    "too large": (
        "413 payload_too_large",
        send("POST", "/v1/customers", content=b" " * (LARGEST_BODY + 1), headers=_JSON),
    ),
    "too large, streamed": (
        "413 payload_too_large",
        send("POST", "/v1/customers", content=too_much, headers=_JSON),
    ),
    "no JSON": (
        "415 unsupported_media_type",
        send("POST", "/v1/customers", content=b"{}", headers={"Content-Type": "text/plain"}),
    ),
    "broken JSON": (
        "422 invalid_input",
        send("POST", "/v1/customers", content=b'{"name"', headers=_JSON),
    ),
    "no UTF-8": (
        "422 invalid_input",
        send("POST", "/v1/customers", content=b'{"name":"\xff"}', headers=_JSON),
    ),
    "wrong body": ("422 invalid_input", send("POST", "/v1/customers", json=_WRONG)),
    "wrong query": ("422 invalid_input", get("/v1/customers?limit=0&country=xx&nothing=1")),
    "withheld": ("422 anonymous_caller", get("/v1/entitlements?phone=anonymous")),
    "key": (
        "422 invalid_input",
        send("POST", "/v1/customers", json=_NEW, headers={"Idempotency-Key": "x" * 256}),
    ),
}


async def in_each_language(world: World, expected: str, ask: Ask) -> list[httpx.Response]:
    status, code = expected.split()
    answers = []
    texts: list[list[str]] = []
    for language in ("it", "en", "de"):
        async with world.service.client(
            await world.service.token(*SCOPES),
            **{"Accept-Language": f"{language};q=0.9, fr", "X-Request-Id": f"mine-{language}"},
        ) as client:
            answer = await ask(world, client)
            assert (str(answer.status_code), answer.json()["code"]) == (status, code), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["content-language"] == language
            assert answer.headers["x-request-id"] == f"mine-{language}"
            assert answer.headers["cache-control"] == "no-store"
            body = answer.json()
            assert body["status"] == answer.status_code
            assert body["request_id"] == f"mine-{language}"
            explained = await client.get(body["type"])
            assert explained.status_code == 200
            assert explained.headers["content-language"] == language
            told = explained.json()
            shared = ("type", "code", "status", "title")
            assert {name: told[name] for name in shared} == {name: body[name] for name in shared}
        errors = body.get("errors", [])
        texts.append([body["title"], body["detail"], *(one["message"] for one in errors)])
        assert bool(errors) == (code == "invalid_input")
        answers.append(answer)
    for same in zip(*texts, strict=True):
        assert len(set(same)) == 3, same
        # Of a list of values no language has another's word between the last two.
        assert not any(" or " in text for text in same[::2]), same
    return answers


@pytest.mark.parametrize("case", CASES)
async def test_it_is_told_in_the_language_asked_for(world: World, case: str) -> None:
    answers = await in_each_language(world, *CASES[case])
    if case == "method":
        assert all(answer.headers["allow"] == "GET, HEAD, POST" for answer in answers)


async def test_a_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("the customer's own words")

    monkeypatch.setattr(customers, "read", crash)
    for answer in await in_each_language(world, "500 internal_error", get("/v1/customers/x")):
        assert "words" not in answer.text


@pytest.mark.parametrize(
    "ask",
    [
        get("/v1/customers"),
        get("/v1/entitlements?customer_code=x"),
        send("POST", "/v1/customers", json=_NEW),
        get("/readyz"),
    ],
    ids=["read", "one statement", "write", "readyz"],
)
async def test_without_a_database(world: World, service: Service, ask: Ask) -> None:
    nowhere = Database(Settings(database_url="postgresql://nobody@127.0.0.1:1/nothing"))
    reached = service.app.state.database

    async def ask_nowhere(world: World, client: httpx.AsyncClient) -> httpx.Response:
        service.app.state.database = nowhere
        try:
            return await ask(world, client)
        finally:
            service.app.state.database = reached

    try:
        for answer in await in_each_language(world, "503 service_unavailable", ask_nowhere):
            assert int(answer.headers["retry-after"]) >= 1
    finally:
        await nowhere.close()
