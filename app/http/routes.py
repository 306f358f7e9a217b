"""The way every request goes: token, scope, query, transaction, handler, commit, answer.

A route says in `openapi_extra=needs("customers:read")` what it needs, and the document says the
same because it is the same. Handlers find the connection and the caller through `Connection` and
`CurrentCaller`. Nobody else commits: the transaction ends here, before the answer leaves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app import clock
from app.http import idempotency
from app.http.faults import FAILURES, is_disconnect, problem_of
from app.http.fields import Query
from app.http.problems import InvalidInput, Problem, RequestTimeout
from app.http.strict_query import refuse_unknown_parameters
from app.http.tokens import Caller, authenticate, is_bound, sent_token
from app.store.database import Database, statements

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_SAFE = {"GET", "HEAD", "OPTIONS"}


class KeptRefusal(Exception):
    """A refusal of which a record stays (R33): the work is rolled back, the record committed."""

    def __init__(
        self, problem: Problem, record: Callable[[AsyncConnection], Awaitable[None]]
    ) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.record = record


def needs(
    scope: str | None, *, remembered: bool = True, reads_token_itself: bool = False
) -> dict[str, Any]:
    """What a route needs: a scope, or None for any valid token.

    `remembered=False`: its answers are not kept for an Idempotency-Key. `reads_token_itself`: its
    one statement reads the token too, and the handler calls `admit`.
    """
    return {
        "security": [{"token": [scope] if scope else []}],
        "x-assistenza": {"remembered": remembered, "reads_token_itself": reads_token_itself},
    }


class Route(APIRoute):
    """A route under /v1. One without `needs(...)` cannot be made."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        extra = self.openapi_extra or {}
        if "security" not in extra:
            raise TypeError(f"{self.path}: a route says what it needs")
        (wanted,) = extra["security"]
        scope: str | None = next(iter(wanted["token"]), None)
        flags = extra["x-assistenza"]
        if flags["reads_token_itself"]:
            inner = _alone(self, _lean(self) or handler, scope)
        elif (self.methods or set()) <= _SAFE:
            inner = _reading(self, handler, scope)
        else:
            inner = _writing(self, handler, scope, remembered=flags["remembered"])

        async def handle(request: Request) -> Response:
            counter = [0]
            marker = statements.set(counter)
            try:
                async with asyncio.timeout(request.app.state.settings.request_timeout):
                    return await inner(request)
            except KeptRefusal as refusal:
                raise refusal.problem from refusal
            except FAILURES as error:
                problem = problem_of(error)
                if problem is None:
                    raise
                raise problem from error
            finally:
                request.state.statements = counter[0]
                statements.reset(marker)

        return handle


def _reader(request: Request) -> AbstractAsyncContextManager[AsyncConnection]:
    """A connection to read with. A bound token's is in a transaction, which knows the customer."""
    database: Database = request.app.state.database
    if is_bound(sent_token(request)):
        return database.bound.begin()
    return database.reading.connect()


def _lean(route: APIRoute) -> Handler | None:
    """The handler of an endpoint that takes its request and one query model, and nothing else.

    FastAPI goes through the model's fields anew for every request, at several times the cost of
    reading them: a quarter of the whole request.
    """
    inputs = route.dependant
    if inputs.body_params or inputs.path_params or inputs.dependencies:
        return None
    if len(inputs.query_params) != 1 or inputs.request_param_name is None:
        return None
    (parameter,) = inputs.query_params
    model = parameter.field_info.annotation
    if not (isinstance(model, type) and issubclass(model, Query)):
        return None
    names = {inputs.request_param_name: "request", parameter.name: "query"}
    endpoint: Any = route.endpoint
    if list(names) != list(names.values()):
        raise TypeError(f"{route.path}: the parameters are called request and query")

    async def handle(request: Request) -> Response:
        try:
            query = model.model_validate(dict(request.query_params.multi_items()))
        except ValidationError as error:
            faults = error.errors(include_url=False)
            raise RequestValidationError(
                [{**fault, "loc": ("query", *fault["loc"])} for fault in faults]
            ) from None
        answer: Response = await endpoint(request=request, query=query)
        return answer

    return handle


def _alone(route: APIRoute, handler: Handler, scope: str | None) -> Handler:
    async def handle(request: Request) -> Response:
        request.state.now = now = clock.now()
        request.state.token = sent_token(request)
        try:
            refuse_unknown_parameters(route, request)
            return await handler(request)
        except (RequestValidationError, InvalidInput):
            # The token was not looked at yet, and comes before what is wrong with the query.
            async with _reader(request) as connection:
                await authenticate(connection, request, scope, now)
            raise

    return handle


def _reading(route: APIRoute, handler: Handler, scope: str | None) -> Handler:
    async def once(request: Request) -> Response:
        async with _reader(request) as connection:
            request.state.connection = connection
            request.state.caller = await authenticate(connection, request, scope, request.state.now)
            refuse_unknown_parameters(route, request)
            return await handler(request)

    async def handle(request: Request) -> Response:
        request.state.now = clock.now()
        sent_token(request)
        try:
            return await once(request)
        except DBAPIError as error:
            # A pooled connection may be older than the database's last restart. Nothing was
            # written and nothing sent: the second try takes a new connection.
            if not is_disconnect(error):
                raise
        return await once(request)

    return handle


def _writing(route: APIRoute, handler: Handler, scope: str | None, *, remembered: bool) -> Handler:
    async def once(request: Request) -> Response:
        now = request.state.now
        bound = is_bound(sent_token(request))
        database: Database = request.app.state.database
        engine = database.bound if bound else database.writing
        async with engine.connect() as connection:
            request.state.connection = connection
            try:
                async with connection.begin():
                    caller = await authenticate(connection, request, scope, now)
                    request.state.caller = caller
                    refuse_unknown_parameters(route, request)
                    if remembered and request.method == "POST":
                        return await idempotency.once(connection, request, caller, handler)
                    return await handler(request)
            except KeptRefusal as refusal:
                async with connection.begin():
                    if bound:
                        # What it may write was known to the transaction that is gone.
                        await authenticate(connection, request, scope, now)
                    await refusal.record(connection)
                raise

    async def handle(request: Request) -> Response:
        request.state.now = clock.now()
        sent_token(request)
        # Read before a connection is taken: a slow client must not hold one.
        await _receive_body(request)
        try:
            return await once(request)
        except DBAPIError as error:
            # As for a read, but only until the caller is known: after that the handler has begun.
            if not is_disconnect(error) or hasattr(request.state, "caller"):
                raise
        return await once(request)

    return handle


async def _receive_body(request: Request) -> None:
    try:
        async with asyncio.timeout(request.app.state.settings.body_timeout):
            await request.body()
    except (TimeoutError, ClientDisconnect):
        raise RequestTimeout from None


async def _connection(request: Request) -> AsyncConnection:
    connection: AsyncConnection = request.state.connection
    return connection


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _now(request: Request) -> datetime:
    now: datetime = request.state.now
    return now


Connection = Annotated[AsyncConnection, Depends(_connection)]
"""A transaction for routes that write; a connection without one for those that read."""
CurrentCaller = Annotated[Caller, Depends(_caller)]
Now = Annotated[datetime, Depends(_now)]
"""The instant at which the request arrived; the clock is read once."""
