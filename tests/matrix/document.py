"""Every operation of the service as its OpenAPI document tells it, and what each one refers to.

Nothing here knows a route: a new one is in the tests because it is in the document.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from app.http.fields import Code, Key
from app.main import create_app
from app.settings import Settings

DOCUMENT: Mapping[str, Any] = create_app(
    Settings(database_url="postgresql://nobody@localhost/nothing")
).openapi()

OPEN = {"livez", "readyz", "list_problems", "explain_problem", "redeem_sign_in_link"}
"""The operations that ask for no token, all of them."""

LOOKUPS = (
    "customer_id",
    "customer_code",
    "serial_number",
    "case_number",
    "phone",
    "email",
    "external_ref",
)
"""Where `customer_code` stands, exactly one of these is given."""

_PATTERNS = {TypeAdapter(type_).json_schema()["pattern"] for type_ in (Code, Key)}

SHARED = {"desk", "closure_id", "webhook", "delivery", "recovery"}
"""Names of what belongs to no customer: any token may ask for it."""

Place = Literal["path", "query", "body"]
Step = str | int


@dataclass(frozen=True)
class Reference:
    """A parameter or a field of the body that names something which somebody may own."""

    place: Place
    path: tuple[Step, ...]

    @property
    def name(self) -> str:
        return next(str(step) for step in reversed(self.path) if isinstance(step, str))

    @property
    def is_lookup(self) -> bool:
        return self.name in LOOKUPS

    read_only: bool = False
    """Whether the service takes it only where it says what is stored."""

    def __str__(self) -> str:
        return f"{self.place}:{'/'.join(map(str, self.path))}"


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    spec: Mapping[str, Any]

    @property
    def is_safe(self) -> bool:
        return self.method == "GET"

    @property
    def is_open(self) -> bool:
        return not self.spec.get("security")

    @property
    def scope(self) -> str | None:
        """The scope that the document says it needs; None for any valid token."""
        scope: str | None = self.spec.get("x-scope")
        return scope

    def scope_of(self, *, bound: bool) -> str | None:
        """The scope that it needs from a token, bound to a customer or not."""
        return self.scope if not bound or self.spec.get("x-bound-needs-scope", True) else None

    def parameters(self, place: Place) -> dict[str, Mapping[str, Any]]:
        """The schemas of the parameters there; `x-required` says which may not be left out."""
        return {
            one["name"]: {**resolved(one["schema"]), "x-required": one.get("required", False)}
            for one in map(resolved, self.spec.get("parameters", ()))
            if one["in"] == place
        }

    @property
    def body(self) -> Mapping[str, Any] | None:
        content = self.spec.get("requestBody", {}).get("content")
        return resolved(content["application/json"]["schema"]) if content else None

    def references(self) -> list[Reference]:
        found = [
            Reference("path", (name,)) for name in self.parameters("path") if name not in SHARED
        ]
        query = self.parameters("query")
        found += _within("query", (), {"type": "object", "properties": query})
        return found + (_within("body", (), self.body) if self.body else [])

    def leaves(self) -> Iterator[tuple[Place, tuple[Step, ...]]]:
        """Every parameter and every field of the body, however deep."""
        for place in ("path", "query"):
            for name in self.parameters(place):
                yield place, (name,)
        if self.body:
            for path, _, _ in walk((), self.body):
                yield "body", path


def operations() -> list[Operation]:
    return [
        Operation(spec.get("operationId", f"{method} {path}"), method.upper(), path, spec)
        for path, methods in DOCUMENT["paths"].items()
        for method, spec in methods.items()
    ]


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        target: Any = DOCUMENT
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a value may be, null left out."""
    schema = resolved(schema)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices is None:
        return [] if schema.get("type") == "null" else [schema]
    return [branch for choice in choices for branch in branches(choice)]


def fields_of(path: tuple[Step, ...], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of an object. What one of any fields may hold has to be said here."""
    fields: Mapping[str, Any] = schema.get("properties", {})
    if fields or schema.get("additionalProperties") is not True:
        return fields
    # A bad lookup in a batch is a problem in its place, so that the schema takes them all.
    if path == ("lookups", 0):
        (like,) = (one for one in operations() if one.name == "get_entitlements")
        return {name: field for name, field in like.parameters("query").items() if name in LOOKUPS}
    raise AssertionError(f"{path}: an object of any fields may hold somebody's id")


def walk(
    path: tuple[Step, ...], schema: Mapping[str, Any]
) -> Iterator[tuple[tuple[Step, ...], Mapping[str, Any], Mapping[str, Any]]]:
    """Every field below a schema, with what it may be and what stands beside it."""
    for branch in branches(schema):
        fields = fields_of(path, branch)
        for name, field in fields.items():
            for choice in branches(field):
                yield (*path, name), choice, fields
            yield from walk((*path, name), field)
        if "items" in branch:
            for choice in branches(branch["items"]):
                yield (*path, 0), choice, {}
            yield from walk((*path, 0), branch["items"])


def _within(place: Place, path: tuple[Step, ...], schema: Mapping[str, Any]) -> list[Reference]:
    fields = list(walk(path, schema))
    read_only = [where for where, field, _ in fields if field.get("readOnly")]
    found = [
        Reference(place, where, any(where[: len(one)] == one for one in read_only))
        for where, field, beside in fields
        if _refers(str(where[-1]), field, beside)
    ]
    return list(dict.fromkeys(found))


def _refers(name: str, field: Mapping[str, Any], beside: Mapping[str, Any]) -> bool:
    if field.get("format") == "uuid" or field.get("pattern") in _PATTERNS:
        return True
    # An address or number is a reference where it is looked up, and data everywhere else.
    if name == "number" and "call_id" in beside:
        return True
    return name == "external_refs" or (
        name in LOOKUPS and ("customer_code" in beside or name == "external_ref")
    )
