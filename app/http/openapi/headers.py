"""Request and response headers that the contract rests on, each described once in `components`."""

from typing import Any

ONLY_READS, WRITES = "x-only-reads", "x-writes"
"""Marks of operations that say which of these headers they have; not in the finished document."""

# Values that the service ignores or replaces where they are not usable, so nothing bounds them.
_SHORT = {"type": "string"}
_TAGS = {"type": "string"}

_REQUEST: dict[str, dict[str, Any]] = {
    "Accept-Language": {
        "description": (
            "The language of texts for people: `it`, `en` or `de`, with weights as in RFC 9110, "
            "12.5.4. English, unless an operation says otherwise."
        ),
        "schema": {"type": "string"},
        "example": "de-CH, de;q=0.9, en;q=0.5",
    },
    "X-Request-Id": {
        "description": (
            "Your own id of the request: 1 to 128 letters, digits, `.`, `_` and `-`. It comes back "
            "in the answer and stands in the service's log. Any other value is replaced."
        ),
        "schema": _SHORT,
        "example": "crm-7f3a91",
    },
    "traceparent": {
        "description": "The W3C trace context (version 00), which the service's log repeats.",
        "schema": _SHORT,
        "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    },
    "If-None-Match": {
        "description": (
            "Entity tags that you hold. A GET answers 304 without a body if one of them is "
            "current. A PUT is refused with 412 if one is; `*` stands for any, so that the PUT "
            "only creates."
        ),
        "schema": _TAGS,
        "example": '"6f1ed002ab5595859014ebf0951522d9"',
    },
    "If-Match": {
        "description": (
            "The `ETag` that you have read. The request is refused with 412 if the resource has "
            "changed since."
        ),
        "schema": _TAGS,
        "example": '"6f1ed002ab5595859014ebf0951522d9"',
    },
    "Idempotency-Key": {
        "description": (
            "A key of your choice for this one request, such as a UUID. Repeat the request with "
            "the same key after a broken connection: it takes effect once, and the repetition "
            "gets the first answer again, with `Idempotent-Replayed`. Kept for at least 24 hours."
        ),
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": "0b0f6f0e-6a54-4e55-9a36-2d1f5a5f1c11",
    },
    "X-Assistenza-Position": {
        "description": (
            "The position that the answer to your write carried, so that this read sees the write "
            "although a replica may answer it. Without it the answer may be as old as the setting "
            "`ASSISTENZA_READ_STALENESS` allows (a second by default). Heeded where there is a "
            "replica; any other value is answered without one."
        ),
        "schema": _SHORT,
        "example": "16/B374D848",
    },
}

PARAMETERS = {name: {"name": name, "in": "header", **one} for name, one in _REQUEST.items()}

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The id under which the service has logged the request: yours, if sound.",
        "required": True,
        "schema": _SHORT,
    },
    "Cache-Control": {
        "description": "Whether the answer may be stored, and that it must be validated anew.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Vary": {
        "description": "The request headers on which the answer depends. Absent from `/metrics`.",
        "schema": {"type": "string"},
    },
    "Content-Language": {
        "description": "The language of the texts in the answer: `it`, `en` or `de`.",
        "required": True,
        "schema": {"$ref": "#/components/schemas/Language"},
    },
    "Content-Language-of-spreadsheets": {
        "description": (
            "The language of headers, dates and decimals. Only with CSV for Excel and workbooks."
        ),
        "schema": {"$ref": "#/components/schemas/Language"},
    },
    "ETag": {
        "description": "The entity tag of what was sent, for `If-Match` and `If-None-Match`.",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag-if-now": {
        "description": (
            "A weak entity tag over the answer but for its instant, for `If-None-Match`. Absent "
            "where the request has `at`."
        ),
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "The path of the resource that was created.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Content-Disposition": {
        "description": "The name of the file. Only with CSV and workbooks.",
        "schema": {"type": "string"},
    },
    "X-Accel-Buffering": {
        "description": "`no`, so that a proxy passes each event on at once.",
        "schema": {"type": "string", "const": "no"},
    },
    "Idempotent-Replayed": {
        "description": "`true` where the answer repeats that to an earlier request with this key.",
        "schema": {"type": "string", "const": "true"},
    },
    "X-Assistenza-Position": {
        "description": (
            "The position of this write in the database's log; a read that brings it sees the "
            "write. Only where there is a replica."
        ),
        "schema": {"type": "string"},
        "example": "16/B374D848",
    },
    "Retry-After": {
        "description": "After how many seconds to repeat the request.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "RateLimit": {
        "description": (
            "What is left of the limit that was reached, and after how many seconds (`t`) there is "
            "some again (draft-ietf-httpapi-ratelimit-headers). Only where a limit counts requests."
        ),
        "schema": {"type": "string"},
        "example": '"writes";r=0;t=12',
    },
    "RateLimit-Policy": {
        "description": "That limit: so many requests (`q`) within so many seconds (`w`).",
        "schema": {"type": "string"},
        "example": '"writes";q=30;w=60',
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750): what was wrong, or which scope is missing.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Accept": {
        "description": "The media type that the body must have.",
        "schema": {"type": "string"},
    },
    "Accept-Encoding": {
        "description": "The content codings that a body may have.",
        "schema": {"type": "string"},
    },
}


def references(*names: str) -> dict[str, dict[str, str]]:
    """The `headers` of a response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def parameters(*names: str) -> list[dict[str, str]]:
    """Request headers, for the `parameters` of an operation."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def of_request(method: str, operation: dict[str, Any]) -> list[dict[str, str]]:
    """The request headers that an operation heeds."""
    own = {"put": ["If-Match", "If-None-Match"], "patch": ["If-Match"], "delete": ["If-Match"]}
    names = own.get(method, ["If-None-Match"] if "304" in operation["responses"] else [])
    if operation.get(ONLY_READS):
        names = [*names, "X-Assistenza-Position"]
    return parameters(*names, "Accept-Language", "X-Request-Id", "traceparent")
