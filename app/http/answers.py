"""How problems leave the service: `application/problem+json` (RFC 9457), in the caller's language.

`install(app)` registers the handlers for everything that can be raised; `problem_response` renders
one where there is no handler, in plain ASGI code.
"""

from collections import defaultdict
from collections.abc import Iterable
from http import HTTPStatus
from re import sub
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from app.http.catalogue import CATALOGUES
from app.http.invalid_input import explain
from app.http.languages import Language, language_of
from app.http.problems import (
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Problem,
    UnsupportedMediaType,
    invalid,
)

MEDIA_TYPE = "application/problem+json"
LARGEST_BODY = 1_048_576
"""Bytes that the body of a request may have."""


class InputErrorBody(BaseModel):
    """One thing that is wrong with the input."""

    pointer: str = Field(examples=["/contacts/0/name", "query/limit"])
    code: str = Field(examples=["too_long"])
    message: str


class ProblemBody(BaseModel):
    """An RFC 9457 problem. Some carry more, such as `reasons` or `candidates`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/not_found"])
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: list[InputErrorBody] | None = None


def body_of(problem: Problem, language: Language, request_id: str | None) -> dict[str, Any]:
    """The problem as it is sent."""
    catalogue = CATALOGUES[language]
    body: dict[str, Any] = {
        "type": f"/problems/{problem.code}",
        "title": catalogue.text(f"problems.{problem.code}.title"),
        "status": problem.status,
        "detail": catalogue.text(f"problems.{problem.code}.detail", **problem.params),
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = [
            {
                "pointer": error.pointer,
                "code": error.code,
                "message": catalogue.text(f"input.{error.code}", **error.params),
            }
            for error in problem.errors
        ]
    return {**problem.extra, **body}


def problem_response(connection: HTTPConnection, problem: Problem) -> Response:
    """The whole answer, to be sent as any ASGI response.

    The request's id is what `edge` put into `scope["state"]["request_id"]`; the problem's code is
    left there for it.
    """
    language = language_of(connection)
    state = connection.scope.setdefault("state", {})
    state["problem"] = problem.code
    request_id = state.get("request_id")
    return Response(
        orjson.dumps(body_of(problem, language, request_id), option=orjson.OPT_UTC_Z),
        problem.status,
        {
            "Cache-Control": "no-store",
            "Vary": "Authorization, Accept, Accept-Language",
            **problem.headers,
            "Content-Language": language,
        },
        MEDIA_TYPE,
    )


def problems(*classes: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer with these, for the OpenAPI document."""
    by_status: dict[int, list[type[Problem]]] = defaultdict(list)
    for problem in classes:
        by_status[problem.status].append(problem)
    return {status: _documented(same) for status, same in sorted(by_status.items())}


def _documented(classes: Iterable[type[Problem]]) -> dict[str, Any]:
    texts = CATALOGUES["en"].texts
    message = texts["input.missing"]
    error = {"errors": [{"pointer": "/name", "code": "missing", "message": message}]}
    examples = {
        problem.code: {
            "summary": texts[f"problems.{problem.code}.title"],
            "value": {
                "type": f"/problems/{problem.code}",
                "title": texts[f"problems.{problem.code}.title"],
                "status": problem.status,
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


def add_schemas(document: dict[str, Any]) -> None:
    """Puts what `problems` refers to into the components of an OpenAPI document."""
    schema = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs"))
    schemas["ProblemBody"] = schema


def allowed_methods(request: Request) -> set[str]:
    """Every method of every route at this path: Starlette names only those of the first."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(path):
            methods |= route.methods
    # Nothing but a folder of files has no methods of its own.
    return methods or {"GET", "HEAD"}


def _translated(request: Request, error: HTTPException) -> Problem:
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
    """The handler of `Problem`."""
    assert isinstance(error, Problem)  # noqa: S101
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
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_input)
    app.add_exception_handler(Exception, on_anything)
