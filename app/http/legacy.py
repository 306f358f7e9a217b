"""Names of the former arrangement, for routers that are still to be converted; then deleted."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from sqlalchemy import ColumnElement, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from app import clock
from app.errors import InvalidInput
from app.http.auth.bearer import sent_token
from app.http.context import Context
from app.http.fields import Query
from app.http.openapi import responses as documented
from app.http.routes import Handler, ReadRoute, ScopedRoute, WriteRoute, reader
from app.http.strict_query import refuse_unknown_parameters
from app.policy.document import Policies
from app.services import visibility
from app.services.tokens import authenticate
from app.services.unit_of_work import Caller, UnitOfWork

Row = TypeVar("Row")
CACHED = documented.CACHED
reads, posts, acts = documented.reads, documented.creates, documented.acts


def changes(method: str, *own: Any) -> Any:
    if method == "put":
        from pydantic import BaseModel

        found = documented.puts(BaseModel, *own)
        found[201] = {key: value for key, value in found[201].items() if key != "model"}
        return found
    return documented.patches(*own) if method == "patch" else documented.deletes(*own)


def needs(
    scope: str | None, *, remembered: bool = True, reads_token_itself: bool = False
) -> dict[str, Any]:
    return {
        "security": [{"token": [scope] if scope else []}],
        "x-assistenza": {"remembered": remembered, "reads_token_itself": reads_token_itself},
    }


class _Alone(ScopedRoute):
    def get_route_handler(self) -> Handler:
        return super().get_route_handler()

    async def answer(self, request: Request, handler: Handler) -> Any:
        request.state.now = now = clock.now()
        request.state.token = sent_token(request)
        lean = _lean(self)
        try:
            refuse_unknown_parameters(self, request)
            return await (lean or handler)(request)
        except (RequestValidationError, InvalidInput):
            async with reader(request) as connection:
                await authenticate(connection, sent_token(request), self.scope, now)
            raise


def _lean(route: APIRoute) -> Handler | None:
    inputs = route.dependant
    if inputs.body_params or inputs.path_params or inputs.dependencies:
        return None
    if len(inputs.query_params) != 1 or inputs.request_param_name is None:
        return None
    (parameter,) = inputs.query_params
    model = parameter.field_info.annotation
    if not (isinstance(model, type) and issubclass(model, Query)):
        return None
    endpoint: Any = route.endpoint

    async def handle(request: Request) -> Any:
        try:
            query = model.model_validate(dict(request.query_params.multi_items()))
        except ValidationError as error:
            faults = error.errors(include_url=False)
            raise RequestValidationError(
                [{**fault, "loc": ("query", *fault["loc"])} for fault in faults]
            ) from None
        return await endpoint(request=request, query=query)

    return handle


def _route(path: str, endpoint: Any, **options: Any) -> Any:
    extra = dict(options.pop("openapi_extra"))
    flags = extra.pop("x-assistenza")
    (wanted,) = extra.pop("security")
    scope = next(iter(wanted["token"]), None)
    if flags["reads_token_itself"]:
        return _Alone(path, endpoint, scope=scope, **options)
    if set(options["methods"] or ["GET"]) <= {"GET", "HEAD"}:
        return ReadRoute(path, endpoint, scope=scope, **options)
    return WriteRoute(path, endpoint, scope=scope, stores_answers=flags["remembered"], **options)


Route: Any = _route


async def _connection(request: Request) -> AsyncConnection:
    found: AsyncConnection = request.state.context.connection
    return found


async def _caller(request: Request) -> Caller:
    found: Caller = request.state.context.caller
    return found


async def _now(request: Request) -> datetime:
    found: datetime = request.state.context.now
    return found


async def _today(request: Request) -> date:
    found: date = request.state.context.today
    return found


async def _policies(request: Request) -> Policies:
    found: Policies = request.state.context.policies
    return found


Connection = Annotated[AsyncConnection, Depends(_connection)]
CurrentCaller = Annotated[Caller, Depends(_caller)]
Now = Annotated[datetime, Depends(_now)]
Today = Annotated[date, Depends(_today)]
Rules = Annotated[Policies, Depends(_policies)]

within, called, reachable = visibility.within, visibility.called, visibility.visible


def _work(connection: Any, caller: Any) -> UnitOfWork:
    nothing: Any = None
    return UnitOfWork(connection, caller, nothing, nothing, nothing)


async def find(connection: Any, caller: Any, *rest: Any) -> Any:
    return await visibility.find(_work(connection, caller), *rest)


async def lock_customer_of(connection: Any, caller: Any, *rest: Any) -> Any:
    return await visibility.find_locked(_work(connection, caller), *rest)


async def lock_named_customer(connection: Any, caller: Any, customer_id: Any) -> None:
    await visibility.lock_customer(_work(connection, caller), customer_id)


def beyond(
    columns: Sequence[ColumnElement[Any]], keys: Sequence[Any], *, descending: bool = False
) -> ColumnElement[bool]:
    """The rows after the one with these keys, in the order of the columns (all one way)."""
    row = tuple_(*columns)
    last = tuple_(*(literal(key, column.type) for key, column in zip(keys, columns, strict=True)))
    return row < last if descending else row > last


def page_of(
    rows: Sequence[Row], limit: int, cursor_of: Callable[[Row], str]
) -> tuple[Sequence[Row], str | None]:
    """The rows to show and the cursor after them, of rows fetched with `LIMIT limit + 1`."""
    if len(rows) <= limit:
        return rows, None
    shown = rows[:limit]
    return shown, cursor_of(shown[-1])


__all__ = ["Context", "partial"]
