"""Idempotency-Key: a request that is sent twice has one effect and one answer.

Claim, work and stored answer are one transaction, so a refused request leaves nothing behind.
"""

import hashlib
import json
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
_KEPT_HEADERS = ("location", "etag", "content-language")


def _sent_key(request: Request) -> str | None:
    sent = request.headers.getlist("idempotency-key")
    if not sent:
        return None
    key = sent[0]
    sound = 1 <= len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()
    if len(sent) > 1 or not sound:
        raise invalid("header/idempotency-key", "bad_format")
    return key


async def _fingerprints(request: Request) -> tuple[bytes, bytes]:
    """That of what the request means, which is stored, and that of its bytes.

    The latter is what 0.1 stored: its keys are honoured until they have expired.
    """
    target = orjson.dumps((request.method, request.url.path, request.url.query))
    body = await request.body()
    meant, sent = (hashlib.sha256(target + one).digest() for one in (_canonical(body), body))
    return meant, sent


def _canonical(body: bytes) -> bytes:
    """Bytes that are the same for bodies that are equal as JSON: in another order of keys, with
    other white space, `15.0` for 15. A body that is no JSON, which will be refused, as it is."""
    try:
        return json.dumps(_plain(json.loads(body)), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return body


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


async def is_repeated(connection: Connection, caller: Caller, request: Request) -> bool:
    """Whether a request with the same key was answered before: this one will get that answer."""
    sent = request.headers.getlist("idempotency-key")
    if request.method != "POST" or len(sent) != 1:
        return False
    row = await idempotency.stored(connection, caller, sent[0])
    return row is not None and row.fingerprint in await _fingerprints(request)


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
    fingerprints = await _fingerprints(request)
    row = await idempotency.stored(context.connection, context.caller, key)
    if row is not None:
        if row.fingerprint not in fingerprints:
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
        await idempotency.remember(
            context, key, fingerprints[0], response.status_code, headers, shown
        )
    return response
