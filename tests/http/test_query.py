"""Query strings: nothing is ignored and nothing guessed."""

import httpx
import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Message

from tests.http.tiny import make_app


async def errors(client: httpx.AsyncClient, query: str) -> set[tuple[str, str]]:
    answer = await client.get("/v1/things?" + query)
    assert answer.status_code == 422, answer.text
    return {(error["pointer"], error["code"]) for error in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("limt=5", "query/limt", "unknown_parameter"),
        ("Limit=5", "query/Limit", "unknown_parameter"),
        ("=5", "query/", "unknown_parameter"),
        ("limit=5&limit=6", "query/limit", "repeated_parameter"),
        ("limit=0", "query/limit", "too_small"),
        ("limit=201", "query/limit", "too_large"),
        ("limit=" + "9" * 40, "query/limit", "wrong_type"),
        ("limit=5.5", "query/limit", "wrong_type"),
        ("limit=5.", "query/limit", "wrong_type"),
        ("limit=%2B5", "query/limit", "wrong_type"),
        ("limit=", "query/limit", "wrong_type"),
        ("limit=%D9%A5", "query/limit", "wrong_type"),
        ("open=1", "query/open", "not_allowed_value"),
        ("country=%00", "query/country", "bad_format"),
        ("country=%FF", "query", "forbidden_characters"),
        ("country=%ED%A0%80", "query", "forbidden_characters"),
        ("%FF=1", "query", "forbidden_characters"),
        ("at=2026-11-22T10:15:00", "query/at", "offset_missing"),
        ("cursor=" + "a" * 1_001, "query/cursor", "too_long"),
    ],
)
async def test_refused(client: httpx.AsyncClient, query: str, pointer: str, code: str) -> None:
    assert await errors(client, query) == {(pointer, code)}


async def test_too_many_parameters_are_not_parsed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def watched(request: Request) -> QueryParams:
        parsed.append(request.scope["query_string"])
        return QueryParams(request.scope["query_string"])

    monkeypatch.setattr(Request, "query_params", property(watched))
    assert await errors(client, "&".join(["a=1"] * 1_001)) == {("query", "too_many")}
    assert parsed == []
    assert len(await errors(client, "&".join(f"a{n}=1" for n in range(1_000)))) == 100


async def test_bytes_that_should_have_been_escaped() -> None:
    app = make_app()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    path = {"path": "/v1/things", "query_string": "limit=٥".encode()}
    head = {"http_version": "1.1", "method": "GET", "headers": [(b"host", b"test")]}
    await app({"type": "http", **head, **path}, receive, send)
    assert sent[0]["status"] == 422
    assert b'"forbidden_characters"' in sent[1]["body"]


async def test_all_at_once(client: httpx.AsyncClient) -> None:
    assert await errors(client, "a=1&b=2&limit=1&limit=1") == {
        ("query/a", "unknown_parameter"),
        ("query/b", "unknown_parameter"),
        ("query/limit", "repeated_parameter"),
    }


async def test_unknown_on_a_route_without_parameters(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/things/a?b=1")
    assert answer.json()["errors"][0]["code"] == "unknown_parameter"


async def test_bounds_are_documented() -> None:
    parameters = make_app().openapi()["paths"]["/v1/things"]["get"]["parameters"]
    (limit,) = [one["schema"] for one in parameters if one["name"] == "limit"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 200, 50)


async def test_taken(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/v1/things?limit=200.0&open=false&country=IT&tag=a&tag=b&at=2026-11-22T11:15:00+01:00"
    )
    assert answer.json() == {
        "limit": 200,
        "cursor": None,
        "at": "2026-11-22T10:15:00Z",
        "open": False,
        "country": "IT",
        "tag": ["a", "b"],
    }
    assert (await client.get("/v1/things")).json()["limit"] == 50
