"""What broke it once, sent by a fuzzer or thought of because of one."""

from typing import Any

import pytest

from tests.matrix.conftest import World
from tests.matrix.document import DOCUMENT, Operation, branches, operations, walk
from tests.matrix.requests import build
from tests.matrix.world import plain

# What everybody may send with anything, and no document names.
_HEADERS = [
    {"If-None-Match": "*"},
    {"If-Match": '"other"'},
    {"If-Match": '"'},
    {"Accept": "image/png"},
    {"Accept": "application/json;q=0, ;q=,"},
    {"Accept-Language": "x" * 5000},
    {"Idempotency-Key": "x" * 256},
]

_ODD = [
    b'{"customer_code": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"customer_code": 123456789012345678901234567890}',
    b'{"customer_code": 1e999}',
    b'{"customer_code": "\\u0000"}',
    b'{"customer_code": ' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"customer_code": "x", "customer_id": null, "phone": []}',
]


@pytest.mark.parametrize("lookup", _ODD, ids=range(len(_ODD)))
async def test_a_lookup_that_cannot_be_repeated(world: World, lookup: bytes) -> None:
    good = f'{{"customer_code": "{world.own.by_name["customer"]}"}}'.encode()
    answer = await world.client.post(
        "/v1/entitlements/batch",
        content=b'{"lookups": [' + lookup + b"," + good + b"]}",
        headers={"Content-Type": "application/json"},
    )
    if answer.status_code == 422:
        assert answer.json()["errors"][0]["code"] == "malformed_json"
        return
    assert answer.status_code == 200
    odd, last = answer.json()["results"]
    assert odd["problem"]["code"] == "invalid_input"
    assert "entitlements" in last


@pytest.mark.parametrize("operation", operations(), ids=lambda one: one.name)
async def test_headers_are_answered_as_documented(world: World, operation: Operation) -> None:
    names = {"code": "not_found"} if operation.is_open else world.other.by_id
    request = build(operation, names | plain(world.today))
    for headers in _HEADERS:
        answer = await request.send(world.client, **headers)
        assert str(answer.status_code) in operation.spec["responses"], (headers, answer.text)
        assert answer.status_code < 500


def test_every_text_is_bounded_in_the_document() -> None:
    """And none may hold NUL, which PostgreSQL cannot: by its pattern, or by being one of few."""
    bounds = {"enum", "const", "format"}
    for operation in operations():
        if operation.is_open:
            continue
        fields: list[tuple[Any, Any]] = [
            ((name,), branch)
            for place in ("path", "query")
            for name, schema in operation.parameters(place).items()
            for branch in branches(schema)
        ]
        if operation.body:
            fields += [(path, field) for path, field, _ in walk((), operation.body)]
        for path, field in fields:
            if field.get("type") == "string" and not bounds & set(field):
                assert "pattern" in field or path in {("cursor",), ("after",)}, (
                    operation.name,
                    path,
                )
                assert "maxLength" in field or "{0," in field["pattern"], (operation.name, path)
            if field.get("type") == "integer":
                assert {"minimum", "maximum"} <= set(field), (operation.name, path)
            if field.get("type") == "array":
                assert "maxItems" in field, (operation.name, path)
    assert DOCUMENT["openapi"].startswith("3.1")
