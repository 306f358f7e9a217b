"""Exception handlers: everything that can be raised becomes a problem response."""

from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.errors import (
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceError,
    UnsupportedMediaType,
    invalid,
)
from app.http.errors.invalid_input import explain
from app.http.errors.rendering import problem_response

LARGEST_BODY = 1_048_576
"""The largest request body, in bytes."""


def allowed_methods(request: Request) -> set[str]:
    """Every method of every route at this path: Starlette names only those of the first."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(path):
            methods |= route.methods
    # Nothing but a folder of files has no methods of its own.
    return methods or {"GET", "HEAD"}


def _translated(request: Request, error: HTTPException) -> ServiceError:
    """What Starlette and FastAPI raise, as a problem of ours."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return NotFound()
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return MethodNotAllowed(allowed_methods(request))
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return PayloadTooLarge(LARGEST_BODY)
        case HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return UnsupportedMediaType()
        case HTTPStatus.BAD_REQUEST:
            # FastAPI's word for a body that is no UTF-8, too deep, or a number without end.
            return invalid("", "malformed_json")
    return InternalError()


async def on_problem(request: Request, error: Exception) -> Response:
    """The handler of `ServiceError`."""
    assert isinstance(error, ServiceError)  # noqa: S101
    return problem_response(request, error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """The handler of Starlette's HTTPException."""
    assert isinstance(error, HTTPException)  # noqa: S101
    return problem_response(request, _translated(request, error))


async def on_invalid_input(request: Request, error: Exception) -> Response:
    """The handler of FastAPI's RequestValidationError."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    if isinstance(error.body, bytes):
        # FastAPI hands on unread what does not call itself JSON.
        return problem_response(request, UnsupportedMediaType())
    return problem_response(request, InvalidInput(*explain(error.errors(), error.body)))


async def on_anything(request: Request, _: Exception) -> Response:
    """The handler of all else. Nothing of the exception reaches the caller."""
    return problem_response(request, InternalError())


def install(app: FastAPI) -> None:
    """Registers the handlers."""
    app.add_exception_handler(ServiceError, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_input)
    app.add_exception_handler(Exception, on_anything)
