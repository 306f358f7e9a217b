"""The outermost layer: a request's id, the limit of its body, its log line, and an answer even if
the application fails. Plain ASGI, because every request passes through it."""

import re
from asyncio import CancelledError
from os import urandom
from time import perf_counter_ns

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    InternalError,
    MalformedRequest,
    PayloadTooLarge,
    ServiceError,
    ServiceUnavailable,
    UnsupportedContentEncoding,
)
from app.http import logs
from app.http.context import record_of
from app.http.errors.handlers import LARGEST_BODY
from app.http.errors.rendering import problem_response
from app.http.metrics import Metrics

log = structlog.get_logger("request")

_sane_id = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context, version 00: trace and parent must not be all zeros.
_traceparent = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


_WITH_BODY = {"POST", "PUT", "PATCH"}

EDGE_HEADERS = ((b"x-content-type-options", b"nosniff"),)
"""What every answer carries, besides `X-Request-Id`."""


def identify(scope: Scope) -> str:
    """The request's id: the caller's if it is sane, else a new one. Noted in its record."""
    record = record_of(scope)
    if record.request_id is None:
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _sane_id.fullmatch(value):
                record.request_id = value.decode()
        record.request_id = record.request_id or urandom(16).hex()
    return record.request_id


class RequestMiddleware:
    """Wraps the application.

    It notes the request's id, and the caller's `traceparent` if that is valid, in the request's
    record and binds them to every log line of the request. Its own line reads the rest of the
    record, which the handlers filled in.
    """

    def __init__(
        self, app: ASGIApp, largest_body: int = LARGEST_BODY, metrics: Metrics | None = None
    ) -> None:
        self.app = app
        self.largest_body = largest_body
        self.metrics = metrics or Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter_ns()
        traceparent = None
        declared = hosts = credentials = 0
        encoded = False
        for name, value in scope["headers"]:
            if name == b"host":
                hosts += 1
            elif name == b"authorization":
                credentials += 1
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                # The only one that the server decodes (RFC 9112, 6.1).
                encoded = True
            elif name == b"traceparent" and _traceparent.fullmatch(value):
                traceparent = value.decode()
            elif name == b"content-length" and value.isdigit():
                declared = int(value[:20])
            elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                encoded = True
        request_id = identify(scope)
        record = record_of(scope)
        context = {"request_id": request_id}
        if traceparent:
            record.traceparent = context["traceparent"] = traceparent
        token = logs.request.set(context)
        self.metrics.in_progress += 1
        added = (*EDGE_HEADERS, (b"x-request-id", request_id.encode()))
        received = 0
        status = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.largest_body:
                # An HTTPException, for FastAPI turns every other one raised here into a 400.
                raise HTTPException(413)
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        async def refuse(error: ServiceError) -> None:
            await problem_response(HTTPConnection(scope), error)(scope, receive, answer)

        try:
            # RFC 9112, 3.2: exactly one Host, though HTTP/1.0 needs none.
            if credentials > 1 or (hosts != 1 and (hosts or scope["http_version"] != "1.0")):
                await refuse(MalformedRequest())
            elif declared > self.largest_body:
                await refuse(PayloadTooLarge(self.largest_body))
            elif encoded and scope["method"] in _WITH_BODY:
                await refuse(UnsupportedContentEncoding())
            else:
                await self.app(scope, limited, answer)
        except CancelledError:
            # The service ends, and this request has kept it for longer than it waits.
            if not status:
                await refuse(ServiceUnavailable())
            raise
        except Exception as error:
            log.error("unhandled", error=type(error).__name__, at=logs.frames(error))
            if status:
                # Too late for another answer: the server cuts the connection.
                raise
            await refuse(InternalError())
        finally:
            taken = perf_counter_ns() - started
            method, route = scope["method"], route_of(scope)
            self.metrics.in_progress -= 1
            self.metrics.done(
                method,
                route,
                status,
                None if record.streams else taken / 1e9,
                record.statements,
                record.problem,
                record.shortage,
            )
            log.info(
                "request",
                client=record.caller_name,
                method=method,
                route=route,
                status=status,
                problem=record.problem,
                duration_ms=round(taken / 1e6, 2),
                statements=record.statements,
            )
            logs.request.reset(token)


def route_of(scope: Scope) -> str | None:
    """The template of the route that was taken (`/v1/cases/{case}`), never the path itself."""
    # A router included with a prefix keeps its routes' own paths; FastAPI has the whole elsewhere.
    context = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(context or scope.get("route"), "path", None)
    return path if isinstance(path, str) else None
