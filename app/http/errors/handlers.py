"""Exception handlers: every exception becomes a problem response."""

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
    """The methods of all routes with this path. Starlette reports only those of the first."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(path):
            methods |= route.methods
    # Only the mounted folder of files has no methods.
    return methods or {"GET", "HEAD"}


def _translated(request: Request, error: HTTPException) -> ServiceError:
    """The error of ours for an exception of Starlette or FastAPI."""
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
            # FastAPI raises this for a body that is not UTF-8, nested too deeply, or contains a
            # number with too many digits.
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
        # FastAPI does not parse a body whose Content-Type is not JSON.
        return problem_response(request, UnsupportedMediaType())
    return problem_response(request, InvalidInput(*explain(error.errors(), error.body)))


async def on_anything(request: Request, _: Exception) -> Response:
    """The handler of every other exception, whose text must not reach the caller."""
    return problem_response(request, InternalError())


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(ServiceError, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_input)
    app.add_exception_handler(Exception, on_anything)
