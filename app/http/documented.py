"""What the OpenAPI document says that a route can answer: its own problems, and those of its kind.

responses={**reads(NotFound), **CACHED}
"""

from typing import Any, Literal

from app.http.answers import problems
from app.http.problems import (
    IdempotencyKeyReused,
    InsufficientScope,
    InternalError,
    InvalidInput,
    PayloadTooLarge,
    PreconditionFailed,
    Problem,
    RequestInProgress,
    RequestTimeout,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)

Responses = dict[int | str, dict[str, Any]]

_ALWAYS = (Unauthorized, InsufficientScope, InvalidInput, InternalError, ServiceUnavailable)
_WITH_BODY = (RequestTimeout, PayloadTooLarge, UnsupportedMediaType)


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


_ETAG = {"ETag": _header("A strong tag of what was sent.")}
_LOCATION = {"Location": _header("Where the new resource is.")}

CACHED: Responses = {
    200: {"headers": _ETAG},
    304: {"description": "`If-None-Match` names what is there: the caller has it already."},
}
"""For GETs that carry an ETag."""


def reads(*own: type[Problem]) -> Responses:
    """For GET."""
    return problems(*_ALWAYS, *own)


def posts(*own: type[Problem]) -> Responses:
    """For POST that makes something."""
    common = problems(*_ALWAYS, *_WITH_BODY, IdempotencyKeyReused, RequestInProgress, *own)
    return {201: {"headers": {**_LOCATION, **_ETAG}}, **common}


def acts(*own: type[Problem]) -> Responses:
    """For POST that changes what is there and answers with it."""
    common = problems(*_ALWAYS, *_WITH_BODY, IdempotencyKeyReused, RequestInProgress, *own)
    return {200: {"headers": _ETAG}, **common}


def changes(method: Literal["patch", "put", "delete"], *own: type[Problem]) -> Responses:
    """For what honours `If-Match`."""
    body = () if method == "delete" else _WITH_BODY
    common = problems(*_ALWAYS, *body, PreconditionFailed, *own)
    match method:
        case "patch":
            return {200: {"headers": _ETAG}, **common}
        case "put":
            made = {"description": "Created.", "headers": {**_LOCATION, **_ETAG}}
            return {200: {"headers": _ETAG}, 201: made, **common}
    return common
