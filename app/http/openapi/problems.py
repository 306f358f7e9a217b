"""Error answers in the document: a schema for each code, and each distinct answer once.

A route declares the codes of an answer by `x-problems` (`responses.problems`). What several
operations share becomes a component.
"""

from collections import Counter
from collections.abc import Sequence
from re import sub
from typing import Any

from app.errors import (
    ImportInProgress,
    InsufficientScope,
    RequestInProgress,
    ServiceError,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
    by_code,
)
from app.http.errors.bodies import CARRYING, ProblemMembers, example_of
from app.http.errors.catalogue import CATALOGUES
from app.http.errors.rendering import MEDIA_TYPE
from app.http.errors.statuses import status_of
from app.http.openapi.headers import references

CODES = "x-problems"
_SCHEMA = "#/components/schemas/"
_ALWAYS = ("X-Request-Id", "Cache-Control", "Vary", "Content-Language")
_OWN: dict[type[ServiceError], tuple[str, ...]] = {
    Unauthorized: ("WWW-Authenticate",),
    InsufficientScope: ("WWW-Authenticate",),
    UnsupportedMediaType: ("Accept",),
    UnsupportedContentEncoding: ("Accept-Encoding",),
    RequestInProgress: ("Retry-After",),
    ImportInProgress: ("Retry-After",),
    ServiceUnavailable: ("Retry-After",),
    TooManyRequests: ("RateLimit", "RateLimit-Policy", "Retry-After"),
}


def schema_name(problem: type[ServiceError]) -> str:
    return f"{problem.__name__}Problem"


def example(problem: type[ServiceError]) -> dict[str, Any]:
    """A body with this code, in English, a dash in place of each parameter of its detail."""
    texts = CATALOGUES["en"].texts
    carried = CARRYING.get(problem)
    return {
        "type": f"/problems/{problem.code}",
        "title": texts[f"problems.{problem.code}.title"],
        "status": status_of(problem),
        "detail": sub(r"{\w+}", "…", texts[f"problems.{problem.code}.detail"]),
        "code": problem.code,
        "request_id": "5f0c9a3b6d1e4c7f8a2b0d9e3c6f1a47",
        **(example_of(carried) if carried else {}),
    }


def _schema(problem: type[ServiceError], schemas: dict[str, Any]) -> dict[str, Any]:
    texts = CATALOGUES["en"].texts
    own: dict[str, Any] = {
        "properties": {
            "code": {
                "type": "string",
                "const": problem.code,
                "description": "The kind of problem.",
            },
            "status": {
                "type": "integer",
                "const": status_of(problem),
                "description": "The HTTP status of the answer.",
            },
        },
        "required": ["code", "status"],
    }
    carried = CARRYING.get(problem)
    if carried:
        found = _shape(carried, schemas)
        own["properties"] |= found["properties"]
        own["required"] += found.get("required", [])
    return {
        "description": texts[f"problems.{problem.code}.about"],
        "allOf": [{"$ref": _SCHEMA + "ProblemMembers"}, {"type": "object", **own}],
    }


def _shape(model: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    shape: dict[str, Any] = model.model_json_schema(
        ref_template=_SCHEMA + "{model}", mode="serialization"
    )
    for name, part in shape.pop("$defs", {}).items():
        schemas.setdefault(name, part)
    # A member of a problem that does not apply is absent, not null.
    required = shape.get("required", [])
    for name, member in shape["properties"].items():
        if name not in required:
            shape["properties"][name] = without_null(member)
    return shape


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that takes what this one takes, but for null."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) == len(schema.get("anyOf", ())):
        return schema
    # The default of what may be null is null.
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**choices[0], **rest} if len(choices) == 1 else {"anyOf": choices, **rest}


def _joined(problems: Sequence[type[ServiceError]]) -> str:
    return "Or".join(one.__name__ for one in problems)


def _answer(problems: Sequence[type[ServiceError]]) -> dict[str, Any]:
    texts = CATALOGUES["en"].texts
    own = {header for one in problems for header in _OWN.get(one, ())}
    schemas = [{"$ref": _SCHEMA + schema_name(one)} for one in problems]
    schema: dict[str, Any] = schemas[0]
    if len(problems) > 1:
        codes = {one.code: _SCHEMA + schema_name(one) for one in problems}
        schema = {
            "title": _joined(problems) + "Problem",
            "oneOf": schemas,
            "discriminator": {"propertyName": "code", "mapping": codes},
        }
    return {
        "description": "; ".join(
            f"`{one.code}`: {texts[f'problems.{one.code}.title']}" for one in problems
        ),
        "headers": references(*_ALWAYS, *sorted(own)),
        "content": {
            MEDIA_TYPE: {
                "schema": schema,
                "examples": {
                    one.code: {"$ref": f"#/components/examples/{one.code}"} for one in problems
                },
            }
        },
    }


def install(document: dict[str, Any], operations: Sequence[dict[str, Any]]) -> None:
    """Write the declared error answers into the operations and what they refer to into the
    components."""
    classes = by_code()
    declared = [
        (operation["responses"], status, tuple(response[CODES]))
        for operation in operations
        for status, response in operation["responses"].items()
        if CODES in response
    ]
    uses = Counter(codes for _, _, codes in declared)
    components = document["components"]
    schemas = components["schemas"]
    schemas["ProblemMembers"] = _shape(ProblemMembers, schemas)
    shared = components.setdefault("responses", {})
    examples = components.setdefault("examples", {})
    for codes in sorted(uses):
        for code in codes:
            problem = classes[code]
            schemas[schema_name(problem)] = _schema(problem, schemas)
            title = CATALOGUES["en"].texts[f"problems.{code}.title"]
            examples[code] = {"summary": title, "value": example(problem)}
    for responses, status, codes in declared:
        problems = [classes[code] for code in codes]
        responses[status] = answer = _answer(problems)
        if uses[codes] > 1:
            name = _joined(problems)
            shared[name] = answer
            responses[status] = {"$ref": f"#/components/responses/{name}"}
