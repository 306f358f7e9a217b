"""The way of every request: token, scope, query, transaction, handler, commit, answer.

A route cannot be made without saying which scope it needs. The OpenAPI document states the same,
because it is derived from it. The transaction of a request ends here, before its answer leaves;
nobody else commits.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from app import clock
from app.errors import (
    InsufficientScope,
    RecordedRefusal,
    RecordMerged,
    RequestTimeout,
    Unauthorized,
    invalid,
)
from app.http import idempotency, replicas
from app.http.auth.bearer import sent_token
from app.http.bound_writes import BoundWrites
from app.http.context import Context, Unadmitted, record_of
from app.http.metrics import Metrics
from app.http.negotiation import negotiated
from app.http.openapi import headers
from app.http.strict_query import StrictRoute
from app.services.bound_limits import count_write
from app.services.tokens import BOUND_SCOPES, authenticate, is_bound
from app.store.database import Connection, Database, statements
from app.store.failures import FAILURES, error_of, is_disconnect
from app.store.replica import current_position

MOST_VALUES = 50_000
"""The most values of a body. Those that the calls take have far fewer."""
_SMALL_BODY = 16_384

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class OpenRoute(StrictRoute):
    """A route that needs no token; it refuses unknown query parameters like every other."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            self.refuse_unknown_parameters(request)
            return await handler(request)

        return handle


class ExchangeRoute(StrictRoute):
    """A route that needs no token and writes: what its body has is itself a secret.

    One transaction, committed before the answer leaves. An `Idempotency-Key` is accepted, but
    answers are not stored: nobody owns the key.
    """

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            settings = request.app.state.settings
            database: Database = request.app.state.database
            counter = [0]
            marker = statements.set(counter)
            try:
                async with asyncio.timeout(settings.request_timeout):
                    self.refuse_unknown_parameters(request)
                    await receive_body(request)
                    await refuse_too_many_values(request)
                    async with database.writing.begin() as connection:
                        request.state.unadmitted = Unadmitted(connection, clock.now(), request)
                        return await handler(request)
            except FAILURES as failure:
                error = error_of(failure)
                if error is None:
                    raise
                raise error from failure
            finally:
                record_of(request.scope).statements = counter[0]
                statements.reset(marker)

        return handle


class ScopedRoute(StrictRoute):
    """A route for holders of a valid token with `scope`; None stands for any valid token.

    `offers` are the media types of its answer: an `Accept` that excludes them is refused. None of
    them for a route without a body, and for one that negotiates by itself.
    """

    only_reads = False
    """Whether a replica may answer."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        scope: str | None,
        offers: Sequence[str] = ("application/json",),
        **options: Any,
    ) -> None:
        self.scope = scope
        self._offers = offers
        security: dict[str, Any] = {"security": [{"token": []}], "x-scope": scope}
        if self.only_reads:
            security[headers.ONLY_READS] = True
        options["openapi_extra"] = (options.get("openapi_extra") or {}) | security
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            counter = [0]
            marker = statements.set(counter)
            try:
                async with asyncio.timeout(self.time_limit(request)):
                    response = await self._answer_somewhere(request, handler)
                if request.method == "HEAD" and isinstance(response, StreamingResponse):
                    return _head_of(response)
                return response
            except RecordedRefusal as refusal:
                raise refusal.error from refusal
            except FAILURES as failure:
                error = error_of(failure)
                if error is None:
                    raise
                raise error from failure
            finally:
                record_of(request.scope).statements = counter[0]
                statements.reset(marker)

        return handle

    async def _answer_somewhere(self, request: Request, handler: Handler) -> Response:
        """Answer from the replica if it may be asked, and from the primary otherwise.

        The primary answers too what the replica cannot: it may be gone, it may have cancelled the
        statement, and a token that was just issued may not have arrived.
        """
        if not self.only_reads or request.app.state.replica is None:
            return await self.answer(request, handler)
        replica = await replicas.choose(request)
        if replica is None:
            return await self.answer(request, handler)
        metrics: Metrics = request.app.state.metrics
        try:
            # A replica that is silent must leave time for the primary.
            async with asyncio.timeout(self.time_limit(request) / 3):
                response = await self.answer(request, handler)
        except (Unauthorized, InsufficientScope):
            pass
        except FAILURES as failure:
            replica.failed(failure)
        else:
            metrics.replica_reads.inc()
            return response
        replicas.choose_primary(request)
        return await self.answer(request, handler)

    def time_limit(self, request: Request) -> float:
        """Seconds for the whole request; then the answer is 503."""
        limit: float = request.app.state.settings.request_timeout
        return limit

    def refuse_unanswerable(self, request: Request) -> None:
        """What is refused before the handler runs, once the caller is admitted.

        Raises NotAcceptable, and as `refuse_unknown_parameters`.
        """
        if self._offers and "accept" in request.headers:
            negotiated(request, *self._offers)
        self.refuse_unknown_parameters(request)

    async def answer(self, request: Request, handler: Handler) -> Response:
        """Admit the caller and run the handler."""
        now = clock.now()
        sent_token(request)
        try:
            return await self._once(request, handler, now)
        except FAILURES as failure:
            # A pooled connection can be older than the database's last restart. The request is
            # tried again on a new connection, unless a handler that writes has begun.
            writing = request.method not in ("GET", "HEAD") and hasattr(request.state, "context")
            if writing or not is_disconnect(failure):
                raise
        return await self._once(request, handler, now)

    async def _once(self, request: Request, handler: Handler, now: datetime) -> Response:
        raise NotImplementedError


def _head_of(response: StreamingResponse) -> Response:
    """The same answer without its body, which nobody would see and which may be long to make."""
    head = Response(status_code=response.status_code)
    head.raw_headers = response.raw_headers
    return head


def reader(request: Request) -> AbstractAsyncContextManager[Connection]:
    """A connection for reading. A bound token's is in a transaction that knows its customer."""
    database = replicas.database_of(request)
    if is_bound(sent_token(request)):
        return database.bound.begin()
    return database.reading.connect()


class ReadRoute(ScopedRoute):
    """A route that writes nothing."""

    only_reads = True

    async def _once(self, request: Request, handler: Handler, now: datetime) -> Response:
        async with reader(request) as connection:
            caller = await authenticate(connection, sent_token(request), self.scope, now)
            Context.enter(request, connection, caller, now)
            self.refuse_unanswerable(request)
            return await handler(request)


def limits(scope: str | None, stores_answers: bool = True, **_: object) -> bool:
    """Whether a write counts towards the limit of bound tokens: they may send it, and it stores."""
    return scope in BOUND_SCOPES and stores_answers


class WriteRoute(ScopedRoute):
    """A route that writes: one transaction, committed before the answer leaves.

    A bound token's write is counted first, in a transaction of its own (`services.bound_limits`).
    `stores_answers=False`: an Idempotency-Key is accepted, but its answer is not stored.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        scope: str | None,
        stores_answers: bool = True,
        **options: Any,
    ) -> None:
        self._stores_answers = stores_answers
        self._limits = limits(scope, stores_answers)
        if stores_answers:
            options["openapi_extra"] = {headers.WRITES: True}
            if "POST" in options["methods"]:
                key = headers.parameters("Idempotency-Key")
                options["openapi_extra"] |= {"parameters": key}
        super().__init__(path, endpoint, scope=scope, **options)

    async def _once(self, request: Request, handler: Handler, now: datetime) -> Response:
        token = sent_token(request)
        limited = self._limits and is_bound(token)
        writes: BoundWrites = request.app.state.bound_writes
        if limited:
            writes.refuse_again(token)
        customer = writes.customer_of(token)
        if _large_body(request) or (limited and customer is None):
            # Otherwise a made-up token could make the service keep a megabyte for each connection,
            # or wait for a place among a customer's writes.
            async with reader(request) as connection:
                caller = await authenticate(connection, token, self.scope, now)
            customer = caller.customer_id
            if customer is not None:
                writes.admit(token, customer)
        # Receive the body before taking a connection: a slow client must not hold one.
        await receive_body(request)
        if not limited or customer is None:
            return await self._write(request, handler, now)
        async with writes.place(token, customer):
            repeats = await self._count(request, token, now)
            return await self._write(request, handler, now, repeats=repeats)

    async def _write(
        self, request: Request, handler: Handler, now: datetime, *, repeats: bool = False
    ) -> Response:
        await refuse_too_many_values(request)
        while True:
            try:
                return await self._transact(request, handler, now, repeats=repeats)
            except RecordMerged:
                # Rolled back. Whatever the request names now leads to the survivor (R49).
                continue

    async def _transact(
        self, request: Request, handler: Handler, now: datetime, *, repeats: bool
    ) -> Response:
        token = sent_token(request)
        keeps_answer = self._stores_answers and request.method == "POST"
        if keeps_answer and idempotency.sends_key(request) and _large_body(request) and not repeats:
            # Before taking a connection too. The token of a large body was checked above.
            await idempotency.meant_fingerprint(request)
        database: Database = request.app.state.database
        engine = database.bound if is_bound(token) else database.writing
        async with engine.connect() as connection:
            try:
                async with connection.begin():
                    caller = await authenticate(connection, token, self.scope, now)
                    context = Context.enter(request, connection, caller, now)
                    self.refuse_unanswerable(request)
                    if keeps_answer:
                        response = await idempotency.once(context, handler)
                    else:
                        response = await handler(request)
                if self._stores_answers and request.app.state.replica is not None:
                    response.headers[replicas.POSITION] = await current_position(connection)
                return response
            except RecordedRefusal as refusal:
                async with connection.begin():
                    if is_bound(token):
                        # The rolled back transaction knew which customer's rows it may write.
                        await authenticate(connection, token, self.scope, now)
                    await refusal.record(connection)
                raise

    async def _count(self, request: Request, token: str, now: datetime) -> bool:
        """Count a bound token's write, unless it repeats one that was answered, to the byte.

        Returns whether it does. Any other is counted before its body is parsed, so that the limit
        bounds what parsing costs. Raises TooManyWrites.
        """
        database: Database = request.app.state.database
        quota = request.app.state.settings.bound_writes_per_minute
        async with database.bound.begin() as connection:
            caller = await authenticate(connection, token, self.scope, now)
            repeats = await idempotency.repeats(connection, caller, request)
            if not repeats:
                await count_write(connection, quota)
        return repeats


def _large_body(request: Request) -> bool:
    """Whether the body is too large to be received before the token is checked.

    A small one is: a check of its own costs every write a round trip to the database.
    """
    length = request.headers.get("content-length")
    if length is None:
        return "transfer-encoding" in request.headers
    return len(length) > 7 or not length.isdecimal() or int(length) > _SMALL_BODY


async def receive_body(request: Request) -> None:
    """Receive the whole body. Raises RequestTimeout."""
    try:
        async with asyncio.timeout(request.app.state.settings.body_timeout):
            await request.body()
    except (TimeoutError, ClientDisconnect):
        raise RequestTimeout from None


async def refuse_too_many_values(request: Request) -> None:
    """Raises InvalidInput for a received body that may have more than MOST_VALUES values, before it
    is parsed: a mebibyte of empty lists took a third of a second and 30 MB.

    Every value but the first follows one of the signs that are counted. Those inside of texts are
    counted too, as it would cost more to find out where the texts are.
    """
    body = await request.body()
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise invalid("", "too_many_values", limit=MOST_VALUES)
