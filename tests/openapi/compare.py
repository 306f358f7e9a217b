"""Compare what two OpenAPI documents mean: python -m tests.openapi.compare BEFORE AFTER

References are resolved; descriptions, titles, examples and response headers are left out. An error
answer means its set of codes. Prints one line for each difference, exits 1 if there is any.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_TEXTS = {"description", "title", "summary", "example", "examples", "discriminator"}
_NULL = {"type": "null"}


class Meaning:
    """One document, its operations by method and path."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.operations = {
            f"{method.upper()} {path}": self._operation(operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def _resolved(self, node: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(node)
        while "$ref" in found:
            target: Any = self.document
            for step in found.pop("$ref").removeprefix("#/").split("/"):
                target = target[step]
            found = {**target, **found}
        return found

    def _schema(self, node: Any) -> Any:
        """A schema without references and texts, what does not depend on order sorted."""
        if isinstance(node, list):
            return [self._schema(one) for one in node]
        if not isinstance(node, dict):
            return node
        found = self._resolved(node)
        for part in map(self._resolved, found.pop("allOf", ())):
            found["properties"] = {**part.get("properties", {}), **found.get("properties", {})}
            found["required"] = [*part.get("required", ()), *found.get("required", ())]
            found = {**part, **found}
        result: dict[str, Any] = {}
        for key, value in found.items():
            if key == "properties":
                result[key] = {name: self._schema(one) for name, one in value.items()}
            elif key in ("required", "enum"):
                result[key] = sorted(value)
            elif key not in _TEXTS and not (key == "default" and value is None):
                result[key] = self._schema(value)
        return result

    def _operation(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        meaning: dict[str, Any] = {
            "scope": self._scope(operation),
            "operationId": operation.get("operationId"),
        }
        for parameter in map(self._resolved, operation.get("parameters", ())):
            key = f"{parameter['in']} parameter {parameter['name']}"
            meaning[f"{key}: required"] = parameter.get("required", False)
            meaning[key] = self._schema(parameter["schema"])
        if body := operation.get("requestBody"):
            meaning["body: required"] = body.get("required", False)
            meaning |= self._content("body", body)
        for status, response in operation["responses"].items():
            answer = self._resolved(response)
            if int(status) >= 400:
                meaning[status] = sorted(self._codes(answer))
            else:
                meaning[status] = sorted(answer.get("content", {}))
                meaning |= self._content(status, answer)
        return meaning

    def _content(self, place: str, holder: Mapping[str, Any]) -> dict[str, Any]:
        return {
            f"{place} {media_type}": self._schema(content["schema"])
            for media_type, content in holder.get("content", {}).items()
            if "schema" in content
        }

    def _codes(self, answer: Mapping[str, Any]) -> Iterator[str]:
        (content,) = answer["content"].values()
        yield from content["examples"]

    def _scope(self, operation: Mapping[str, Any]) -> str:
        wanted = operation.get("security")
        if not wanted:
            return "open"
        scopes = wanted[0]["token"] or [operation.get("x-scope")]
        return scopes[0] or "any token"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What changed from one document to the other, a line for each difference."""
    old, new = Meaning(before).operations, Meaning(after).operations
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            yield f"{name}: {'removed' if name in old else 'added'}"
            continue
        for key in sorted(old[name].keys() | new[name].keys()):
            yield from _between(f"{name}: {key}", old[name].get(key), new[name].get(key))


def _between(place: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        if _without_null(old) == new:
            yield f"{place}: no longer null"
            return
        for key in sorted(old.keys() | new.keys()):
            yield from _between(f"{place}/{key}", old.get(key), new.get(key))
        return
    yield f"{place}: {_short(old)} -> {_short(new)}"


def _without_null(schema: Mapping[str, Any]) -> Any:
    choices = [one for one in schema.get("anyOf", ()) if one != _NULL]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**choices[0], **rest} if len(choices) == 1 else {"anyOf": choices, **rest}


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:160] + "…"


def main(before: str, after: str) -> int:
    documents = [json.loads(Path(name).read_text("utf-8")) for name in (before, after)]
    found = list(differences(*documents))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
