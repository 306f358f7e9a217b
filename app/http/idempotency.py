"""Idempotency-Key: the same request twice has one effect and one answer.

Claim, work and stored answer are one transaction. A refused request leaves nothing behind.
"""

import hashlib
from collections.abc import Awaitable, Callable

import orjson
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.http.etags import CACHING
from app.http.problems import (
    IdempotencyKeyReused,
    RequestInProgress,
    SecretAlreadyIssued,
    invalid,
)
from app.http.tokens import Caller
from app.store.tables import idempotency_keys as keys

_LONGEST_KEY = 255
_KEPT_HEADERS = ("location", "etag", "content-language")


def _fingerprint(request: Request, body: bytes) -> bytes:
    parts = (request.method, request.url.path, request.url.query)
    return hashlib.sha256(orjson.dumps(parts) + body).digest()


async def once(
    connection: AsyncConnection,
    request: Request,
    caller: Caller,
    handler: Callable[[Request], Awaitable[Response]],
) -> Response:
    """The handler's answer, or the one it gave to this key before.

    Raises RequestInProgress, IdempotencyKeyReused, SecretAlreadyIssued, InvalidInput.
    """
    sent = request.headers.getlist("idempotency-key")
    if not sent:
        return await handler(request)
    key = sent[0]
    if len(sent) > 1 or not 1 <= len(key) <= _LONGEST_KEY or not key.isascii():
        raise invalid("header/idempotency-key", "bad_format")
    if not key.isprintable():
        raise invalid("header/idempotency-key", "bad_format")
    # Tried before the row is touched: a second INSERT of the key would wait for the first.
    name = f"{caller.client}\n{key}"
    lock = select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))
    if not await connection.scalar(lock):
        raise RequestInProgress
    fingerprint = _fingerprint(request, await request.body())
    row = (
        await connection.execute(
            select(keys).where(keys.c.client == caller.client, keys.c.key == key)
        )
    ).one_or_none()
    if row is not None:
        if row.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        if row.body is None:
            raise SecretAlreadyIssued
        headers = {**CACHING, **row.headers, "Idempotent-Replayed": "true"}
        return Response(row.body, row.status, headers, "application/json")
    response = await handler(request)
    if response.status_code < 400:
        secret = getattr(request.state, "secret", False)
        await connection.execute(
            insert(keys).values(
                client=caller.client,
                key=key,
                fingerprint=fingerprint,
                status=response.status_code,
                headers={
                    name: response.headers[name]
                    for name in _KEPT_HEADERS
                    if name in response.headers
                },
                body=None if secret else bytes(response.body),
                created_at=request.state.now,
            )
        )
    return response


async def forget(connection: AsyncConnection, before: object) -> int:
    """Drop the keys that were first used before an instant; the number dropped."""
    done = await connection.execute(delete(keys).where(keys.c.created_at < before))
    return done.rowcount
