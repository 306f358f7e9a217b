"""Idempotency-Key: a request that is sent twice has one effect and one answer.

Claim, work and stored answer are one transaction, so a refused request leaves nothing behind.
"""

import asyncio
import hashlib
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.errors import IdempotencyKeyReused, RequestInProgress, SecretAlreadyIssued, invalid
from app.http.context import Context
from app.http.etags import CACHING
from app.http.responses import SecretResponse, TrialResponse
from app.services import idempotency
from app.services.unit_of_work import Caller
from app.store.database import Connection

_LONGEST_KEY = 255
_LARGEST_EXACT = 2**53
_SMALL_BODY = 16_384
_KEPT_HEADERS = ("location", "etag", "content-language")


def _sent_key(request: Request) -> str | None:
    sent = request.headers.getlist("idempotency-key")
    if not sent:
        return None
    key = sent[0]
    sound = 1 <= len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()
    if len(sent) > 1 or not sound:
        raise invalid("header/idempotency-key", "bad_format", expected="form_key")
    return key


async def meant_fingerprint(request: Request) -> bytes:
    """The fingerprint of a request's meaning: its body is parsed and written canonically.

    Computed once for each request, for a large body beside the event loop.
    """
    known: bytes | None = getattr(request.state, "meant_fingerprint", None)
    if known is None:
        body = await request.body()
        if len(body) > _SMALL_BODY:
            canonical = await asyncio.to_thread(_canonical, body)
        else:
            canonical = _canonical(body)
        known = request.state.meant_fingerprint = _fingerprint(request, canonical)
    return known


async def sent_fingerprint(request: Request) -> bytes:
    """The fingerprint of a request's bytes."""
    return _fingerprint(request, await request.body())


def _fingerprint(request: Request, body: bytes) -> bytes:
    target = orjson.dumps((request.method, request.url.path, request.url.query))
    return hashlib.sha256(target + body).digest()


def _canonical(body: bytes) -> bytes:
    """The same bytes for bodies that are equal as JSON: in another order of keys, with other white
    space, `15.0` for 15. A body that will be refused is returned as it is: one that is not JSON, or
    has numbers or texts that orjson cannot write."""
    try:
        value = json.loads(body, parse_float=_number, parse_constant=_number)
        # Python's own `dumps` took ten times as long, and lets no other thread run meanwhile.
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (ValueError, TypeError, RecursionError):
        return body


def _number(text: str) -> int | float:
    """A number with a fraction or an exponent; a whole one as an integer, as far as every integer
    is a float. Beyond that, `1e308` would become 309 digits. Raises ValueError for one that is not
    finite, which orjson would write as null."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return int(value) if abs(value) <= _LARGEST_EXACT and value.is_integer() else value


def sends_key(request: Request) -> bool:
    """Whether a request has one Idempotency-Key, which may be unusable."""
    return request.method == "POST" and len(request.headers.getlist("idempotency-key")) == 1


async def repeats(connection: Connection, caller: Caller, request: Request) -> bool:
    """Whether the same bytes were answered before with the same key."""
    if not sends_key(request):
        return False
    row = await idempotency.stored(connection, caller, request.headers["idempotency-key"])
    return row is not None and _same_bytes(row, await sent_fingerprint(request))


def _same_bytes(row: Any, sent: bytes) -> bool:
    # 0.1 stored that of the bytes as the only one: its keys are honoured until they have expired.
    return sent in (row.sent_fingerprint, row.fingerprint)


async def once(context: Context, handler: Callable[[Request], Awaitable[Response]]) -> Response:
    """The handler's answer, or the answer that it gave to this key before.

    Raises RequestInProgress, IdempotencyKeyReused, SecretAlreadyIssued, InvalidInput.
    """
    request = context.request
    key = _sent_key(request)
    if key is None:
        return await handler(request)
    if not await idempotency.claim(context, key):
        raise RequestInProgress
    sent = await sent_fingerprint(request)
    row = await idempotency.stored(context.connection, context.caller, key)
    if row is not None:
        if not _same_bytes(row, sent) and row.fingerprint != await meant_fingerprint(request):
            raise IdempotencyKeyReused
        if row.body is None:
            raise SecretAlreadyIssued
        headers = {**CACHING, **row.headers, "Idempotent-Replayed": "true"}
        return Response(row.body, row.status, headers, "application/json")
    response = await handler(request)
    if response.status_code < 400 and not isinstance(response, TrialResponse):
        headers = {
            name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers
        }
        shown = None if isinstance(response, SecretResponse) else bytes(response.body)
        meant = await meant_fingerprint(request)
        await idempotency.remember(context, key, meant, sent, response.status_code, headers, shown)
    return response
