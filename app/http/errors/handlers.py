"""The exception handler: every exception becomes a problem response."""

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
    at_path = (
        route.methods
        for route in iter_route_contexts(request.app.routes)
        if route.methods and route.path_regex.match(path)
    )
    # Only the mounted folder of files has no methods.
    return set().union(*at_path) or {"GET", "HEAD"}


def meaning(request: Request, error: Exception) -> ServiceError:
    """The error of ours for any exception, whose own text must not reach the caller."""
    match error:
        case ServiceError():
            return error
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return NotFound()
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            return MethodNotAllowed(allowed_methods(request))
        case HTTPException(status_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            return PayloadTooLarge(LARGEST_BODY)
        case HTTPException(status_code=HTTPStatus.UNSUPPORTED_MEDIA_TYPE):
            return UnsupportedMediaType()
        case HTTPException(status_code=HTTPStatus.BAD_REQUEST):
            # FastAPI raises this for a body that is not UTF-8, nested too deeply, or contains a
            # number with too many digits.
            return invalid("", "malformed_json")
        case RequestValidationError(body=bytes()):
            # FastAPI does not parse a body whose Content-Type is not JSON.
            return UnsupportedMediaType()
        case RequestValidationError():
            return InvalidInput(*explain(error.errors(), error.body))
    return InternalError()


ANSWERED = (ServiceError, HTTPException, RequestValidationError)
"""Exceptions that are answers. Any other one is a fault of ours, which is logged too."""


async def on_error(request: Request, error: Exception) -> Response:
    """The handler of every exception."""
    return problem_response(request, meaning(request, error))


def install(app: FastAPI) -> None:
    """Register the handler."""
    for kind in (*ANSWERED, Exception):
        app.add_exception_handler(kind, on_error)
