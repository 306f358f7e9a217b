"""The outermost layer: the id of every request, the limit of its body, its line in the log, and
an answer whatever happens. Plain ASGI, for it is on the path of every request."""

import re
from asyncio import CancelledError
from os import urandom
from time import perf_counter_ns
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import logs
from app.http.answers import LARGEST_BODY, problem_response
from app.http.metrics import Metrics
from app.http.problems import InternalError, PayloadTooLarge, ServiceUnavailable

log = structlog.get_logger("request")

_sane_id = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context, version 00: trace and parent must not be all zeros.
_traceparent = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Edge:
    """Wraps the application.

    It puts `request_id` and, when the caller sent a valid one, `traceparent` into
    `scope["state"]` and binds them to every log line of the request. The log line reads
    `caller_name`, `problem` and `statements` from there, where they were set.
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
        request_id = traceparent = None
        declared = 0
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _sane_id.fullmatch(value):
                request_id = value.decode()
            elif name == b"traceparent" and _traceparent.fullmatch(value):
                traceparent = value.decode()
            elif name == b"content-length" and value.isdigit():
                declared = int(value[:20])
        request_id = request_id or urandom(16).hex()
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        context = {"request_id": request_id}
        if traceparent:
            state["traceparent"] = context["traceparent"] = traceparent
        token = logs.request.set(context)
        self.metrics.in_progress.inc()
        header = (b"x-request-id", request_id.encode())
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
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            if declared > self.largest_body:
                too_large = problem_response(
                    HTTPConnection(scope), PayloadTooLarge(self.largest_body)
                )
                await too_large(scope, receive, answer)
            else:
                await self.app(scope, limited, answer)
        except CancelledError:
            # The service ends, and this request has kept it for longer than it waits.
            if not status:
                ended = problem_response(HTTPConnection(scope), ServiceUnavailable())
                await ended(scope, receive, answer)
            raise
        except Exception as error:
            log.error("unhandled", error=type(error).__name__, at=logs.frames(error))
            if status:
                # Too late for another answer: the server cuts the connection.
                raise
            failed = problem_response(HTTPConnection(scope), InternalError())
            await failed(scope, receive, answer)
        finally:
            taken = perf_counter_ns() - started
            method, route = scope["method"], route_of(scope)
            sent, problem = state.get("statements"), state.get("problem")
            self.metrics.in_progress.dec()
            self.metrics.done(method, route, status, taken / 1e9, sent, problem)
            log.info(
                "request",
                client=state.get("caller_name"),
                method=method,
                route=route,
                status=status,
                problem=problem,
                duration_ms=round(taken / 1e6, 2),
                statements=sent,
            )
            logs.request.reset(token)


def route_of(scope: Scope) -> str | None:
    """The template of the route that was taken (`/v1/cases/{case}`), never the path itself."""
    # A router included with a prefix keeps its routes' own paths; FastAPI has the whole elsewhere.
    context = scope.get("fastapi", {}).get("effective_route_context")
    path = getattr(context or scope.get("route"), "path", None)
    return path if isinstance(path, str) else None
