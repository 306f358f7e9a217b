"""Valid requests made from an operation's own schemas, with names put where names belong."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.api.build import unique
from tests.matrix.document import LOOKUPS, Operation, Place, Reference, Step, branches, fields_of

Names = Mapping[str, Any]
"""What is put into a parameter or field of a name, wherever it stands."""

_UNIQUE = {"code", "serial_number", "number"}


class CannotBuild(Exception):
    """The operation, and what the schemas and the names given do not tell of its request."""


@dataclass
class Request:
    method: str
    template: str
    path: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None

    async def send(self, client: httpx.AsyncClient, **headers: str) -> httpx.Response:
        url = self.template.format_map(self.path)
        body = {} if self.body is None else {"json": self.body}
        return await client.request(
            self.method, url, params=self.query or None, headers=headers, **body
        )


def build(operation: Operation, names: Names) -> Request:
    """The smallest valid request. Raises CannotBuild."""
    request = Request(operation.method, operation.path)
    for place in ("path", "query"):
        for name, schema in operation.parameters(place).items():
            if place == "path" or schema["x-required"]:
                getattr(request, place)[name] = made_of(operation, (name,), schema, names)
    if "customer_code" in operation.parameters("query"):
        request.query["customer_id"] = names["customer_id"]
    if operation.body is not None:
        # What is made gets a name of its own.
        others = {name: value for name, value in names.items() if name not in _UNIQUE}
        request.body = made_of(operation, ("body",), operation.body, others)
    return request


def put(operation: Operation, request: Request, reference: Reference, names: Names) -> Request:
    """The request with the reference filled, out of `names`; what stands around it is made."""
    request = deepcopy(request)
    if reference.place != "body":
        container = getattr(request, reference.place)
        container[reference.path[0]] = names[reference.name]
        _only_lookup(operation.parameters(reference.place), container, reference)
        return request
    assert operation.body is not None
    if request.body is None:
        request.body = {}
    _put(operation, request.body, operation.body, reference, 0, names)
    return request


def _put(
    operation: Operation,
    value: Any,
    schema: Mapping[str, Any],
    reference: Reference,
    depth: int,
    names: Names,
) -> None:
    above, step = reference.path[:depth], reference.path[depth]
    for branch in branches(schema):
        inner = fields_of(above, branch)
        if isinstance(step, str) and step not in inner:
            continue
        below = branch["items"] if isinstance(step, int) else inner[step]
        if depth == len(reference.path) - 1:
            value[step] = names[reference.name]
            _only_lookup(inner, value, reference)
            return
        if isinstance(step, int) and not value:
            value.append(made_of(operation, (*above, step), below, names))
        elif isinstance(step, str) and value.get(step) is None:
            value[step] = made_of(operation, (*above, step), below, names)
        _put(operation, value[step], below, reference, depth + 1, names)
        return
    raise CannotBuild(f"{operation.name}: {reference} is nowhere in the body")


def _only_lookup(beside: Mapping[str, Any], container: dict[str, Any], kept: Reference) -> None:
    if kept.is_lookup and "customer_code" in beside:
        for name in LOOKUPS:
            if name != kept.name:
                container.pop(name, None)


def made_of(
    operation: Operation, path: tuple[Step, ...], schema: Mapping[str, Any], names: Names
) -> Any:
    """The smallest valid value of a schema. Raises CannotBuild."""
    schema = next(iter(branches(schema)), {})
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if path[-1] in names:
        return names[str(path[-1])]
    match schema.get("type"):
        case "object":
            fields = fields_of(path[path[0] == "body" :], schema)
            required = set(schema.get("required", ()))
            if "customer_code" in fields:
                required.add("customer_id")
            return {
                one: made_of(operation, (*path, one), fields[one], names)
                for one in sorted(required)
            }
        case "array":
            count = schema.get("minItems", 0)
            items = schema["items"]
            return [made_of(operation, (*path, 0), items, names) for _ in range(count)]
        case "integer":
            return int(schema.get("minimum", 1))
        case "boolean":
            return False
        case "string" if (text := _text(schema)) is not None:
            return text
    raise CannotBuild(
        f"{operation.name}: nothing is known for {path} ({dict(schema)}): name it in"
        " tests/matrix/world.py"
    )


def _text(schema: Mapping[str, Any]) -> str | None:
    now = datetime.now(UTC)
    match schema.get("format"):
        case "date":
            return str(now.date() - timedelta(days=1))
        case "date-time":
            return (now - timedelta(minutes=1)).isoformat()
        case "uri":
            return "https://example.com/"
        case None:
            return unique("T") if schema.get("maxLength", 64) >= 20 else None
    return None


def whole(operation: Operation, names: Names) -> Request:
    """The request with every name in it out of `names`; of several lookups the first."""
    request = build(operation, names)
    looked_up: set[Place] = set()
    for reference in operation.references():
        if reference.read_only:
            continue
        if reference.is_lookup:
            if reference.place in looked_up and "customer_code" in _beside(operation, reference):
                continue
            looked_up.add(reference.place)
        if reference.name in names:
            request = put(operation, request, reference, names)
    return request


def _beside(operation: Operation, reference: Reference) -> set[str]:
    if reference.place == "query":
        return set(operation.parameters("query"))
    return {str(path[-1]) for place, path in operation.leaves() if place == reference.place}
