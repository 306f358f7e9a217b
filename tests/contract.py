"""Every answer that the tests see is held against the OpenAPI document.

`CheckedTransport` takes the place of httpx's own. It raises `ContractBroken` for an answer whose
status, media type, headers or body the document does not have. The service itself validates
nothing of what it sends: handlers build bytes, and the document states their shape a second time.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson

DOCUMENT: Mapping[str, Any] = orjson.loads(
    (Path(__file__).parents[1] / "openapi" / "openapi.json").read_bytes()
)

# What every web server may send, and what says nothing about the interface.
_COMMON_HEADERS = {
    "content-type",
    "content-length",
    "connection",
    "content-security-policy",
    "x-content-type-options",
    # Only where a setting lists the origin of the page that calls.
    "access-control-allow-origin",
    "access-control-expose-headers",
}


class ContractBroken(AssertionError):
    """An answer that is not as the OpenAPI document says."""


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to, the members beside `$ref` kept."""
    while "$ref" in node:
        target: Any = DOCUMENT
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)))


# Fixed segments before variables: `/v1/customers/by-code/{code}` before `/v1/customers/{id}/…`.
_PATHS = [
    (_pattern(path), path)
    for path in sorted(DOCUMENT["paths"], key=lambda path: (path.count("{"), path))
]


def operation_of(method: str, path: str) -> tuple[str, Mapping[str, Any]] | None:
    """The name and specification of the operation that answers, None if there is none."""
    method = "get" if method == "HEAD" else method.lower()
    for pattern, template in _PATHS:
        if pattern.fullmatch(path) and method in DOCUMENT["paths"][template]:
            return f"{method.upper()} {template}", DOCUMENT["paths"][template][method]
    return None


@cache
def _validator(name: str, status: str, media_type: str) -> jsonschema_rs.Draft202012Validator:
    method, _, path = name.partition(" ")
    response = resolved(DOCUMENT["paths"][path][method.lower()]["responses"][status])
    return _compiled(response["content"][media_type]["schema"])


@cache
def _header_validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return _compiled(DOCUMENT["components"]["headers"][name]["schema"])


def _compiled(schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    whole = {**schema, "components": {"schemas": DOCUMENT["components"]["schemas"]}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@cache
def _members(code: str) -> frozenset[str]:
    """The documented members of the problem with this code."""
    members = set(DOCUMENT["components"]["schemas"]["ProblemMembers"]["properties"])
    for schema in DOCUMENT["components"]["schemas"].values():
        for part in schema.get("allOf", ()):
            properties = part.get("properties", {})
            if properties.get("code", {}).get("const") == code:
                members |= properties.keys()
    return frozenset(members)


def check(request: httpx.Request, response: httpx.Response, body: bytes) -> None:
    """Raises ContractBroken for an answer of a documented operation that is not as documented."""
    found = operation_of(request.method, request.url.path)
    if found is None:
        return
    name, operation = found
    status = str(response.status_code)
    told = f"{name} answered {status}"
    if status not in operation["responses"]:
        raise ContractBroken(f"{told}, which is not documented: {body[:500]!r}")
    documented = resolved(operation["responses"][status])
    _check_headers(told, documented.get("headers", {}), response.headers)
    content = documented.get("content", {})
    if request.method == "HEAD":
        return
    if not content:
        if body:
            raise ContractBroken(f"{told} with a body, of which nothing is documented")
        return
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if media_type not in content:
        raise ContractBroken(f"{told} as {media_type}, not as {' or '.join(content)}")
    if not media_type.endswith("json") or media_type == "application/x-ndjson":
        return
    value = orjson.loads(body)
    for error in _validator(name, status, media_type).iter_errors(value):
        where = "/".join(map(str, error.instance_path))
        raise ContractBroken(f"{told}; at /{where}: {error.message[:1000]}")
    if media_type == "application/problem+json":
        unknown = value.keys() - _members(value["code"])
        if unknown:
            raise ContractBroken(f"{told}, {value['code']} with undocumented {sorted(unknown)}")


def _check_headers(told: str, documented: Mapping[str, Any], sent: httpx.Headers) -> None:
    for name, header in documented.items():
        if name not in sent and resolved(header).get("required"):
            raise ContractBroken(f"{told} without {name}")
        if name in sent:
            for error in _header_validator(name).iter_errors(sent[name]):
                raise ContractBroken(f"{told}; {name}: {error.message}")
    known = {name.lower() for name in documented} | _COMMON_HEADERS
    if unknown := sent.keys() - known:
        raise ContractBroken(f"{told} with undocumented headers {sorted(unknown)}")


class CheckedTransport(httpx.ASGITransport):
    """Calls an application in this process, and checks what it answers."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        check(request, response, await response.aread())
        return response
