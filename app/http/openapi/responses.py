"""What the OpenAPI document says that a call can answer, derived from its kind and its errors."""

from collections import defaultdict
from typing import Any

from pydantic import BaseModel

from app.errors import (
    IdempotencyKeyReused,
    InsufficientScope,
    InternalError,
    InvalidInput,
    PayloadTooLarge,
    PreconditionFailed,
    RequestInProgress,
    RequestTimeout,
    ServiceError,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)
from app.http.errors.statuses import status_of
from app.http.openapi.headers import references
from app.http.openapi.problems import CODES

Responses = dict[int | str, dict[str, Any]]

_ALWAYS = (Unauthorized, InsufficientScope, InvalidInput, InternalError, ServiceUnavailable)
_WITH_BODY = (RequestTimeout, PayloadTooLarge, UnsupportedMediaType)
_POST = (*_ALWAYS, *_WITH_BODY, IdempotencyKeyReused, RequestInProgress)


_ETAG = references("ETag")
_LOCATION = references("Location")

CACHED: Responses = {
    200: {"headers": _ETAG},
    304: {
        "description": "`If-None-Match` names what is there: the caller has it already.",
        "headers": _ETAG,
    },
}
"""For GETs that carry an ETag."""


def reads(*own: type[ServiceError]) -> Responses:
    """For GET."""
    return problems(*_ALWAYS, *own)


def creates(*own: type[ServiceError]) -> Responses:
    """For POST that makes something."""
    return {201: {"headers": {**_LOCATION, **_ETAG}}, **problems(*_POST, *own)}


def acts(*own: type[ServiceError]) -> Responses:
    """For POST that changes what exists and answers with it."""
    return {200: {"headers": _ETAG}, **problems(*_POST, *own)}


def patches(*own: type[ServiceError]) -> Responses:
    """For PATCH."""
    errors = problems(*_ALWAYS, *_WITH_BODY, PreconditionFailed, *own)
    return {200: {"headers": _ETAG}, **errors}


def puts(model: type[BaseModel], *own: type[ServiceError]) -> Responses:
    """For PUT that creates or replaces."""
    made = {"model": model, "description": "Created.", "headers": {**_LOCATION, **_ETAG}}
    errors = problems(*_ALWAYS, *_WITH_BODY, PreconditionFailed, *own)
    return {200: {"headers": _ETAG}, 201: made, **errors}


def deletes(*own: type[ServiceError]) -> Responses:
    """For DELETE."""
    return problems(*_ALWAYS, PreconditionFailed, *own)


def problems(*classes: type[ServiceError]) -> Responses:
    """The errors that a route may answer with; `openapi.problems` writes them out."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for problem in classes:
        by_status[status_of(problem)].append(problem.code)
    return {status: {CODES: codes} for status, codes in sorted(by_status.items())}
