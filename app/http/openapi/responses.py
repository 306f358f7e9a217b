"""What the OpenAPI document says that a call can answer, derived from its kind and its errors."""

from collections import defaultdict
from collections.abc import Iterable
from re import sub
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
from app.http.errors.catalogue import CATALOGUES
from app.http.errors.rendering import MEDIA_TYPE
from app.http.errors.statuses import status_of

Responses = dict[int | str, dict[str, Any]]

_ALWAYS = (Unauthorized, InsufficientScope, InvalidInput, InternalError, ServiceUnavailable)
_WITH_BODY = (RequestTimeout, PayloadTooLarge, UnsupportedMediaType)
_POST = (*_ALWAYS, *_WITH_BODY, IdempotencyKeyReused, RequestInProgress)


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


_ETAG = {"ETag": _header("A strong tag of what was sent.")}
_LOCATION = {"Location": _header("Where the new resource is.")}

CACHED: Responses = {
    200: {"headers": _ETAG},
    304: {"description": "`If-None-Match` names what is there: the caller has it already."},
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


def problems(*classes: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer with these, for the OpenAPI document."""
    by_status: dict[int, list[type[ServiceError]]] = defaultdict(list)
    for problem in classes:
        by_status[status_of(problem)].append(problem)
    return {status: _documented(same) for status, same in sorted(by_status.items())}


def _documented(classes: Iterable[type[ServiceError]]) -> dict[str, Any]:
    texts = CATALOGUES["en"].texts
    message = texts["input.missing"]
    error = {"errors": [{"pointer": "/name", "code": "missing", "message": message}]}
    examples = {
        problem.code: {
            "summary": texts[f"problems.{problem.code}.title"],
            "value": {
                "type": f"/problems/{problem.code}",
                "title": texts[f"problems.{problem.code}.title"],
                "status": status_of(problem),
                "detail": sub(r"{\w+}", "…", texts[f"problems.{problem.code}.detail"]),
                "code": problem.code,
                "request_id": "5f0c9a3b6d1e4c7f8a2b0d9e3c6f1a47",
                **(error if problem is InvalidInput else {}),
            },
        }
        for problem in classes
    }
    return {
        "description": "; ".join(f"`{code}`: {one['summary']}" for code, one in examples.items()),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemBody"},
                "examples": examples,
            }
        },
    }
