"""Examples for request bodies and successful answers, out of `examples.json`.

The file is made by calling the service itself, and a test makes it anew and compares.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, TypedDict

FILE = "examples.json"


class Example(TypedDict, total=False):
    """What one operation was sent, and answered, by status and media type."""

    request: Any
    responses: dict[str, dict[str, Any]]


@cache
def _examples() -> dict[str, Example]:
    source = files("app.http.openapi") / FILE
    examples: dict[str, Example] = json.loads(source.read_text("utf-8"))
    return examples


def event_example(type_: str) -> dict[str, Any]:
    """The example of an event of a type. Raises StopIteration for a type that has none."""
    answer = _examples()["list_events"]["responses"]["200"]["application/json"]
    return dict(next(one for one in answer["items"] if one["type"] == type_))


def add(operation: dict[str, Any]) -> None:
    """Put its examples into an operation."""
    example = _examples().get(operation.get("operationId", ""), {})
    if "request" in example:
        operation["requestBody"]["content"]["application/json"]["example"] = example["request"]
    for status, bodies in example.get("responses", {}).items():
        content = operation["responses"].get(status, {}).get("content", {})
        for media_type, body in bodies.items():
            if media_type in content:
                content[media_type]["example"] = body
