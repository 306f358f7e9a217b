"""Calls from pages of other origins, as far as ASSISTENZA_CORS_ORIGINS allows them (Fetch, 3.2).

Starlette's middleware in two halves around `RequestMiddleware`: preflights are logged and get an
`X-Request-Id` like every request, and a page can read the refusals of `RequestMiddleware` too.
Never with credentials: a page sends its token itself. Without the setting neither half is there.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_OPTIONS: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    "allow_headers": (
        "Authorization",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
        "X-Assistenza-Position",
        "X-Request-Id",
        "traceparent",
    ),
    "expose_headers": (
        "Accept",
        "Allow",
        "Content-Disposition",
        "ETag",
        "Idempotent-Replayed",
        "Location",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "WWW-Authenticate",
        "X-Assistenza-Position",
        "X-Request-Id",
    ),
}


class _Preflights(CORSMiddleware):
    """Answers preflights, which have no token, and passes every other request on."""

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        await self.app(scope, receive, send)


class _Origins(CORSMiddleware):
    """Tells in every other answer which origin may read it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        await self.simple_response(scope, receive, send, request_headers=Headers(scope=scope))


def tell(response: Response, scope: Scope, origins: Sequence[str]) -> None:
    """Tell in an answer that does not come from the application which origin may read it."""
    if not origins:
        return
    response.headers.add_vary_header("Origin")
    origin = Headers(scope=scope).get("Origin")
    if origin is not None and origin in origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = ", ".join(_OPTIONS["expose_headers"])


def add_inside(app: FastAPI, origins: Sequence[str]) -> None:
    """Add what belongs inside `RequestMiddleware`."""
    if origins:
        app.add_middleware(_Preflights, allow_origins=origins, **_OPTIONS)


def add_outside(app: FastAPI, origins: Sequence[str]) -> None:
    """Add what belongs outside `RequestMiddleware`."""
    if origins:
        app.add_middleware(_Origins, allow_origins=origins, **_OPTIONS)
