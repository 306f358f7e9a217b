"""Conditional requests as RFC 9110 has them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from app.errors import PreconditionFailed
from app.http import etags, responses
from app.http.encoding import json_bytes
from app.http.fields import Output

STRONG = '"a"'
WEAK = 'W/"a"'


def request(method: str = "GET", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1"))
           for name, value in headers.items()]  # fmt: skip
    return Request({"type": "http", "method": method, "headers": raw})


@pytest.mark.parametrize(
    ("header", "etag", "matches"),
    [
        ('"a"', STRONG, True),
        ('"a"', WEAK, True),
        ('W/"a"', STRONG, True),
        ('"b", "a"', STRONG, True),
        ('"b","a"', STRONG, True),
        (', ,"a"', STRONG, True),
        ('"b,a"', STRONG, False),
        ('"x, ", "a"', STRONG, False),
        ("*", STRONG, True),
        (" * ", STRONG, True),
        ("a", STRONG, False),
        ('w/"a"', STRONG, False),
        ("", STRONG, False),
    ],
)
def test_if_none_match(header: str, etag: str, matches: bool) -> None:
    assert etags.if_none_match(request(if_none_match=header), etag) is matches


def passes(header: str | None, current: str | None) -> bool:
    sent = {} if header is None else {"if_match": header}
    try:
        etags.check_if_match(request("PATCH", **sent), current)
    except PreconditionFailed:
        return False
    return True


@pytest.mark.parametrize(
    ("header", "current", "expected"),
    [
        (None, STRONG, True),
        (None, None, True),
        ('"a"', STRONG, True),
        ('"b", "a"', STRONG, True),
        ('"b"', STRONG, False),
        ("*", STRONG, True),
        ("*", None, False),
        ('"a"', None, False),
        ('W/"a"', STRONG, False),
        ('W/"a"', WEAK, False),
        ("nonsense", STRONG, False),
        ("", STRONG, False),
    ],
)
def test_if_match(header: str | None, current: str | None, expected: bool) -> None:
    assert passes(header, current) is expected


@given(st.lists(st.text("aW/,b", max_size=3)), st.sampled_from([",", ", ", " ,\t"]))
def test_one_of_a_list(opaque: list[str], separator: str) -> None:
    header = separator.join(f'"{tag}"' for tag in opaque)
    assert passes(header, STRONG) is ("a" in opaque)


@given(st.text(st.characters(max_codepoint=255)))
def test_no_header_upsets_it(header: str) -> None:
    if passes(header, STRONG):
        assert '"a"' in header or header.strip() == "*"
    etags.if_none_match(request(if_none_match=header), STRONG)


def test_create_only() -> None:
    star = request("PUT", if_none_match="*")
    etags.check_if_none_match(star, None)
    with pytest.raises(PreconditionFailed):
        etags.check_if_none_match(star, STRONG)
    etags.check_if_none_match(request("PUT"), STRONG)


class Answer(Output):
    id: UUID
    at: datetime


def test_an_instant_reads_the_same_from_both_writers() -> None:
    for at in (
        datetime(2026, 11, 22, 10, 15, tzinfo=UTC),
        datetime(2026, 11, 22, 10, 15, 0, 1_000, tzinfo=UTC),
    ):
        content: dict[str, Any] = {"id": UUID(int=1), "at": at}
        assert json_bytes(content) == json_bytes(Answer(**content))
    assert orjson.loads(json_bytes({"at": datetime(2026, 1, 2, tzinfo=UTC)})) == {
        "at": "2026-01-02T00:00:00Z"
    }


def test_answer_carries_its_tag_and_304_follows() -> None:
    answer = responses.json_response(request(), {"a": 1})
    assert answer.status_code == 200
    assert answer.body == b'{"a":1}'
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["vary"] == "Authorization, Accept, Accept-Language"
    tag = answer.headers["etag"]
    assert tag == etags.strong_etag(b'{"a":1}') != etags.strong_etag(b'{"a":2}')
    again = responses.json_response(request(if_none_match=tag), {"a": 1})
    assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", tag)
    assert "content-type" not in again.headers
    changed = responses.json_response(request(if_none_match=tag), {"a": 2})
    assert changed.status_code == 200
    assert (
        responses.json_response(request("POST", if_none_match=tag), {"a": 1}, 201).status_code
        == 201
    )


def test_weak_and_no_tags() -> None:
    weak = etags.weak_etag(b"x")
    assert weak.startswith('W/"')
    answer = responses.json_response(request(if_none_match=weak[2:]), {}, etag=weak)
    assert answer.status_code == 304
    assert "etag" not in responses.json_response(request(), {}, etag=False).headers
