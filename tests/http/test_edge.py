"""Every request has an id, a bounded body, one line in the log, and an answer."""

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.http import logs
from app.http.context import record_of
from app.http.middleware import RequestMiddleware

LIMIT = 1_048_576


@pytest.mark.parametrize("sane", ["a", "A-1_2.3", "x" * 128])
async def test_a_sane_id_is_kept(client: httpx.AsyncClient, sane: str) -> None:
    answer = await client.get("/v1/things", headers={"X-Request-Id": sane})
    assert answer.headers["x-request-id"] == sane


@pytest.mark.parametrize("odd", ["", "x" * 129, "a b", "a;b", "a\tb", "è"])
async def test_another_is_replaced(client: httpx.AsyncClient, odd: str) -> None:
    answer = await client.get("/v1/things", headers=[(b"X-Request-Id", odd.encode())])
    made = answer.headers.get_list("x-request-id")
    assert len(made) == 1
    assert made[0] != odd
    assert len(made[0]) == 32


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/raise/crash", "/v1/things?x=1"])
async def test_errors_have_one_too(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"X-Request-Id": "mine"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine"


async def chunks(size: int) -> AsyncIterator[bytes]:
    while size > 0:
        yield b" " * min(size, 65_536)
        size -= 65_536


@pytest.mark.parametrize("streamed", [True, False])
async def test_too_large(client: httpx.AsyncClient, streamed: bool) -> None:
    content = chunks(LIMIT + 1) if streamed else b" " * (LIMIT + 1)
    answer = await client.post(
        "/v1/things",
        content=content,
        headers={"Content-Type": "application/json", "Accept-Language": "de"},
    )
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "1048576 Byte" in answer.json()["detail"]


async def test_too_large_a_promise_is_not_waited_for() -> None:
    _, sent = await run(empty, [(b"content-length", str(LIMIT + 1).encode())])
    assert sent[0]["status"] == 413
    _, sent = await run(empty, [(b"content-length", str(LIMIT).encode())])
    assert sent[0]["status"] == 204


async def test_exactly_large_enough(client: httpx.AsyncClient) -> None:
    body = b'{"name": "a"}'.ljust(LIMIT)
    for content in (body, chunked(body)):
        answer = await client.post(
            "/v1/things", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 200


async def chunked(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/v1/things/secret-name", "/v1/things/{key}", 200),
        ("/v1/things?limit=77&token=secret", "/v1/things", 422),
        ("/v1/secret-path", None, 404),
        ("/v1/raise/crash", "/v1/raise/{code}", 500),
    ],
)
async def test_one_line_without_the_callers_words(
    client: httpx.AsyncClient, path: str, route: str | None, status: int
) -> None:
    with capture_logs(processors=[logs.add_request]) as lines:
        await client.get(
            path, headers={"X-Request-Id": "mine", "Authorization": "Bearer secret-token"}
        )
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["duration_ms"] >= 0
    assert (line["route"], line["status"], line["method"]) == (route, status, "GET")
    assert line["request_id"] == "mine"
    assert "secret" not in str(lines)
    assert "words" not in str(lines)


async def test_a_crash_is_logged_by_kind_and_place(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        await client.get("/v1/raise/crash")
    line = lines[0]
    assert (line["event"], line["error"]) == ("unhandled", "RuntimeError")
    assert line["at"][-1].startswith("tiny.py:")


async def run(app: Any, headers: list[tuple[bytes, bytes]]) -> tuple[Scope, list[Message]]:
    scope: Scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/"}
    scope["headers"] = [(b"host", b"test"), *headers]
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await RequestMiddleware(app)(scope, receive, send)
    return scope, sent


async def empty(scope: Scope, receive: Receive, send: Send) -> None:
    record = record_of(scope)
    record.caller_name, record.statements = "crm", 3
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


GOOD = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (GOOD, GOOD.decode()),
        (GOOD.upper(), None),
        (GOOD.replace(b"4bf92f3577b34da6a3ce929d0e0e4736", b"0" * 32), None),
        (GOOD.replace(b"00f067aa0ba902b7", b"0" * 16), None),
        (GOOD + b"-x", None),
        (b"ff" + GOOD[2:], None),
    ],
)
async def test_traceparent(sent: bytes, kept: str | None) -> None:
    with capture_logs(processors=[logs.add_request]) as lines:
        scope, _ = await run(empty, [(b"traceparent", sent)])
    assert record_of(scope).traceparent == kept
    assert lines[0].get("traceparent") == kept
    assert (lines[0]["client"], lines[0]["statements"]) == ("crm", 3)
    assert logs.request.get() == {}


async def test_a_crash_after_the_start_cuts_the_answer() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise RuntimeError

    with capture_logs() as lines, pytest.raises(RuntimeError):
        await run(late, [])
    assert [line["event"] for line in lines] == ["unhandled", "request"]


def test_what_is_written() -> None:
    program = """
import logging
import structlog
from app.http import logs
logs.configure("info")
logs.request.set({"request_id": "mine"})
logging.getLogger("uvicorn.access").info("GET /?phone=secret")
try:
    raise ValueError("secret")
except ValueError:
    logging.getLogger("library").exception("failed")
    structlog.get_logger().exception("failed too")
logging.getLogger("library").debug("chatter")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    line, ours = ran.stderr.splitlines()
    assert b"secret" not in ours
    assert orjson.loads(ours)["level"] == "error"
    written = orjson.loads(line)
    assert written.pop("timestamp").endswith("Z")
    assert written == {
        "event": "failed",
        "logger": "library",
        "level": "error",
        "error": "ValueError",
        "at": ["<string>:9 <module>"],
        "request_id": "mine",
    }
    assert ran.stdout == b""


def test_frames_hold_no_words() -> None:
    with pytest.raises(ValueError) as caught:
        raise ValueError("secret")
    (frame,) = logs.frames(caught.value)
    assert frame.startswith("test_edge.py:")
    assert frame.endswith(" test_frames_hold_no_words")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_an_encoded_body_is_415(client: httpx.AsyncClient, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    answer = await client.post("/v1/things", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_content_encoding")
    assert answer.headers["accept-encoding"] == "identity"
    plain = await client.post(
        "/v1/things", json={"name": "x"}, headers={"Content-Encoding": "Identity"}
    )
    assert plain.status_code == 200


@pytest.mark.parametrize("path", ["/v1/things", "/v1/nothing", "/v1/raise/crash", "/problems/x"])
async def test_no_answer_is_sniffed(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
