"""The OpenAPI document: FastAPI's, made into an interface for people and client generators.

| module      | what it puts into the document                                            |
|-------------|---------------------------------------------------------------------------|
| `responses` | what each kind of call answers, declared by the routes                    |
| `problems`  | a schema for each error code, and each distinct error answer once         |
| `headers`   | the request and response headers, each once                               |
| `enums`     | names for enumerations, each once                                         |
| `glossary`  | what the names of fields and parameters mean                              |
| `examples`  | request bodies and answers, out of `examples.json`                        |
| `pages`     | no part of it, but Swagger UI and ReDoc, which show it                    |
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI

from app.http.openapi import enums, examples, glossary, headers, problems

_CONVENTIONS = """
**Dates and numbers.** Instants are RFC 3339 with an offset, answered in UTC. Civil dates are
`YYYY-MM-DD` in the vendor's time zone. A period holds from its first day up to, not including, its
last: `ends_on`, `expires_on` and `to` are the day after. Fields that end in `_minutes` are whole
minutes.

**Names.** Where a path, a body or a filter names something by id, the code that people use may
stand instead: a customer's `code`, a licence's `serial_number`, the `number` of a contract, ticket
pack or case. Answers always have the id. Fields and parameters that an operation does not know are
refused, never ignored. A PUT takes what a GET has answered: read-only fields may say what is
stored, and nothing else (422 `read_only`).

**Text** is stored and compared in Unicode's NFC. A letter has at most 30 combining marks. E-mail
addresses may have an international domain, and are found by either of its forms. A whole number may
be written with a fraction of zeros (`15.0`).

**Methods and formats.** `HEAD` is answered wherever `GET` is, with the same headers. A format that
an operation does not offer is 406. `GET /` leads a browser to the pages for people, and a
program to this document.

**Errors** are `application/problem+json` (RFC 9457). Branch on `code`; `title` and `detail` are for
people, in the language of `Accept-Language`. Every operation may answer 404 for an unknown path,
and 405 with `Allow` for a method that its path does not have. An unexpected `code` or member may
appear in later versions.

**Lists** come in pages: send `next_cursor` as `cursor` until it is null. Rows that are added
meanwhile make no page skip or repeat one.

**Repeating requests.** Send an `Idempotency-Key` with every POST that must not take effect twice,
and `If-Match` with a PATCH, PUT or DELETE that must not overwrite what others have changed. Two
bodies that are equal as JSON are the same request. 429, 503 and the 409 that pass by themselves
(`request_in_progress`, `import_in_progress`) have `Retry-After`, and are safe to repeat with the
same key: for a second after a 429, a request that was answered before is 429 too.

**Browsers.** Pages of other origins may call if the operator has listed their origin; never with
credentials of the browser.
"""
_INFO = {
    "contact": {"name": "Assistenza, interface", "email": "api@example.com"},
    "license": {"name": "MIT", "identifier": "MIT"},
}
_SERVERS = [{"url": "/", "description": "The service that serves this document."}]
_TAGS = {
    "Entitlements": "What a customer may use now or at another instant, and why.",
    "Customers": "Companies, their contacts, and tokens for their reserved area.",
    "Licences": "Licences that customers have bought, their upgrades and withdrawal.",
    "Contracts": "Service agreements: twelve months of hours.",
    "Ticket packs": "Prepaid cases: a ticket pays for one.",
    "Cases": "Support cases from opening to closure, and the time worked on them.",
    "Usage": "What was granted, used and is left.",
    "Help desks": "Days on which a help desk is closed, or keeps other hours.",
    "Imports": "CSV files of customers, licences, contracts and ticket packs.",
    "Events": "What happened, one after another, and live.",
    "Webhooks": "URLs that are called with events, and what became of each call.",
    "Telephone calls": "Calls as the telephone exchange has noted them.",
    "Published rules": "The service matrix and the help desks, for every valid token.",
    "Operations": "For whoever runs the service.",
    "Problems": "What the code of an error means, and what to do.",
}
_SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "A token made by `assistenza keys create`. The operation names the scope. HTTP Basic "
            "is taken too, with the token as the password and any user name."
        ),
    }
}
# What stands there is data, not schemas.
_DATA = ("example", "examples")
_page = re.compile(r"Page_(\w+)_")


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        yield from methods.items()


def _rewritten(node: Any, rewrite: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The tree with every object in it, the innermost first, replaced by what `rewrite` returns."""
    if isinstance(node, dict):
        return rewrite(
            {
                key: value if key in _DATA else _rewritten(value, rewrite)
                for key, value in node.items()
            }
        )
    if isinstance(node, list):
        return [_rewritten(value, rewrite) for value in node]
    return node


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    # Pydantic makes titles out of names ("Customer Id"), which say nothing more than those.
    if isinstance(schema.get("title"), str) and "discriminator" not in schema:
        del schema["title"]
    if isinstance(schema.get("$ref"), str):
        schema["$ref"] = _page.sub(r"\1Page", schema["$ref"])
    # A dictionary whose keys have a pattern refuses all others, which pydantic does not say.
    if "patternProperties" in schema:
        schema["additionalProperties"] = False
    return enums.named(glossary.explain_fields(schema))


def _explain(operation: dict[str, Any]) -> None:
    """Take summary and description from the docstring: its first line, and what follows."""
    first, _, rest = operation["description"].partition("\n\n")
    operation["summary"] = " ".join(first.split()).removesuffix(".")
    operation["description"] = rest or first
    if operation["security"]:
        scope = operation.get("x-scope")
        needed = f"a token with the scope `{scope}`" if scope else "any valid token"
        if "x-bound-needs-scope" in operation:
            needed += ", or any token bound to a customer"
        operation["description"] += f"\n\nNeeds {needed}."


def _complete(method: str, operation: dict[str, Any]) -> None:
    operation.setdefault("security", [])
    examples.add(operation)
    _explain(operation)
    own = operation.get("parameters", [])
    for parameter in own:
        if "$ref" in parameter:
            continue
        glossary.explain_parameter(parameter)
        # What is left out is absent: the text `null` in a query string does not mean null.
        if not parameter.get("required"):
            parameter["schema"] = problems.without_null(parameter["schema"])
        said = parameter["schema"].pop("description", None)
        if said:
            parameter.setdefault("description", said)
    operation["parameters"] = own + headers.of_request(method, operation)
    operation.pop(headers.ONLY_READS, None)
    writes = operation.pop(headers.WRITES, False)
    for status, response in operation["responses"].items():
        if "$ref" in response or int(status) >= 400:
            continue
        names = ("X-Request-Id",) if status == "204" else ("X-Request-Id", "Cache-Control", "Vary")
        sent = headers.references(*names)
        if method == "post" and {"$ref": "#/components/parameters/Idempotency-Key"} in own:
            sent |= headers.references("Idempotent-Replayed")
        if writes:
            sent |= headers.references("X-Assistenza-Position")
        response["headers"] = response.get("headers", {}) | sent


def finished(generated: dict[str, Any]) -> dict[str, Any]:
    """The whole document, out of the one that FastAPI generates."""
    info = generated["info"] | _INFO
    info["description"] += "\n" + _CONVENTIONS
    components = generated.setdefault("components", {})
    components.setdefault("schemas", {})
    components["securitySchemes"] = _SECURITY
    for method, operation in _operations(generated):
        _complete(method, operation)
    problems.install(generated, [operation for _, operation in _operations(generated)])
    document: dict[str, Any] = _rewritten(
        {"paths": generated["paths"], "components": components}, _tidy
    )
    parts = document["components"]
    parts["schemas"] = {
        _page.sub(r"\1Page", name): (
            {"description": "One page of a list.", **schema} if _page.fullmatch(name) else schema
        )
        for name, schema in parts["schemas"].items()
    } | enums.SCHEMAS
    parts["parameters"] = headers.PARAMETERS
    parts["headers"] = headers.HEADERS
    used = {tag for _, operation in _operations(document) for tag in operation.get("tags", ())}
    return {
        "openapi": generated["openapi"],
        "info": info,
        "servers": _SERVERS,
        "security": [{"token": []}],
        "tags": [
            {"name": name, "description": text} for name, text in _TAGS.items() if name in used
        ],
        "paths": document["paths"],
        "components": _referenced(document),
    }


def _references(node: Any) -> Iterator[tuple[str, str]]:
    """The kind and name of every component to which something in the tree refers."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                _, _, kind, name = value.split("/")
                yield kind, name
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _referenced(document: dict[str, Any]) -> dict[str, Any]:
    """The components that the paths refer to, directly or not, by kind and name."""
    components = document["components"]
    found: set[tuple[str, str]] = set()
    pending = list(_references(document["paths"]))
    while pending:
        one = pending.pop()
        if one not in found:
            found.add(one)
            kind, name = one
            pending += _references(components[kind][name])
    return {
        kind: {
            name: part
            for name, part in sorted(parts.items())
            if (kind, name) in found or kind == "securitySchemes"
        }
        for kind, parts in sorted(components.items())
    }


def install(app: FastAPI) -> None:
    """Make `app.openapi()` return the document, which is built once."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = finished(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
