"""What the OpenAPI document says that a call can answer, derived from its kind and its errors."""

from collections import defaultdict
from typing import Any

from pydantic import BaseModel

from app.errors import (
    HeadersTooLarge,
    IdempotencyKeyReused,
    InsufficientScope,
    InternalError,
    InvalidInput,
    MalformedRequest,
    NotAcceptable,
    PayloadTooLarge,
    PreconditionFailed,
    RequestInProgress,
    RequestTimeout,
    ServiceError,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from app.http.errors.statuses import status_of
from app.http.openapi.headers import references
from app.http.openapi.problems import CODES

Responses = dict[int | str, dict[str, Any]]

_ALWAYS = (Unauthorized, InsufficientScope, InvalidInput, InternalError, ServiceUnavailable)
_WITH_BODY = (RequestTimeout, PayloadTooLarge, UnsupportedMediaType, UnsupportedContentEncoding)
_ANSWERED = (*_ALWAYS, NotAcceptable)
_POST = (*_ANSWERED, *_WITH_BODY, IdempotencyKeyReused, RequestInProgress)


_ETAG = references("ETag")
_LOCATION = references("Location")

_UNCHANGED: dict[str, Any] = {
    "description": "`If-None-Match` names what is there: the caller has it already.",
    "headers": _ETAG,
}
CACHED: Responses = {200: {"headers": _ETAG}, 304: _UNCHANGED}
"""For GETs that carry an ETag."""
CACHED_IF_NOW: Responses = {
    200: {"headers": {"ETag": {"$ref": "#/components/headers/ETag-if-now"}}},
    304: _UNCHANGED,
}
"""For GETs that carry an ETag unless they name an instant."""


def sends(responses: Responses, status: int, *headers: str) -> Responses:
    """These responses, that of `status` with these headers too, and a 304 likewise."""
    added = references(*headers)
    return responses | {
        one: response | {"headers": {**response.get("headers", {}), **added}}
        for one, response in {status: {}, **responses}.items()
        if one in (status, 304)
    }


def reads(*own: type[ServiceError]) -> Responses:
    """For GET."""
    return problems(*own, *_ANSWERED)


def creates(*own: type[ServiceError], etag: bool = True) -> Responses:
    """For POST that makes something."""
    return {201: {"headers": {**_LOCATION, **(_ETAG if etag else {})}}, **problems(*own, *_POST)}


def begins(*own: type[ServiceError]) -> Responses:
    """For POST that begins something."""
    return {202: {"headers": _LOCATION}, **problems(*own, *_POST)}


def acts(*own: type[ServiceError], etag: bool = True) -> Responses:
    """For POST that changes what exists and answers with it."""
    return {200: {"headers": _ETAG if etag else {}}, **problems(*own, *_POST)}


def exchanges(*own: type[ServiceError]) -> Responses:
    """For POST that needs no token."""
    own = (*own, InvalidInput, InternalError, ServiceUnavailable, NotAcceptable)
    return problems(*own, *_WITH_BODY)


def patches(*own: type[ServiceError]) -> Responses:
    """For PATCH."""
    errors = problems(*own, *_ANSWERED, *_WITH_BODY, PreconditionFailed)
    return {200: {"headers": _ETAG}, **errors}


def puts(model: type[BaseModel], *own: type[ServiceError]) -> Responses:
    """For PUT that creates or replaces."""
    made = {"model": model, "description": "Created.", "headers": {**_LOCATION, **_ETAG}}
    errors = problems(*own, *_ANSWERED, *_WITH_BODY, PreconditionFailed)
    return {200: {"headers": _ETAG}, 201: made, **errors}


def deletes(*own: type[ServiceError]) -> Responses:
    """For DELETE."""
    return problems(*own, *_ALWAYS, PreconditionFailed)


def problems(*classes: type[ServiceError]) -> Responses:
    """The errors that a route may answer with, and those of every request's head.

    `openapi.problems` writes them out.
    """
    by_status: dict[int, list[str]] = defaultdict(list)
    every: tuple[type[ServiceError], ...] = (MalformedRequest, *classes, HeadersTooLarge)
    for problem in every:
        by_status[status_of(problem)].append(problem.code)
    return {status: {CODES: codes} for status, codes in sorted(by_status.items())}
