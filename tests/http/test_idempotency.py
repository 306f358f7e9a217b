"""What makes two bodies the same request for an Idempotency-Key."""

import pytest

from app.http import idempotency

canonical = idempotency._canonical


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (b'{"a": 15.0, "b": [1, 2.50]}', b'{"b":[1.0,2.5],"a":15}'),
        (b'{"a": {"c": -0.0, "b": 1e3}}', b'{"a": {"b": 1000, "c": 0}}'),
        (b'{"a": 9007199254740992.0}', b'{"a": 9007199254740992}'),
        (b'{"a": 1e308}', b'{ "a": 1.0e308 }'),
        ('{"a": "ä"}'.encode(), b'{"a": "\\u00e4"}'),
    ],
)
def test_equal_json_is_the_same_request(one: bytes, another: bytes) -> None:
    assert canonical(one) == canonical(another)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (b'{"a": 15}', b'{"a": 15.5}'),
        (b'{"a": 15}', b'{"a": "15"}'),
        (b'{"a": [1, 2]}', b'{"a": [2, 1]}'),
        (b'{"a": 9007199254740993}', b'{"a": 9007199254740992}'),
        (b'{"a": 1}', b'{"a": true}'),
        (b'{"a": 1e999}', b'{"a": null}'),
        (b'{"a": NaN}', b'{"a": null}'),
        (b'{"a": 1e999}', b'{"a": -1e999}'),
        (b'{"a": 18446744073709551616}', b'{"a": 18446744073709551617}'),
        (b'{"a": "\\ud800"}', b'{"a": "\\ud801"}'),
        (b"{", b"{{"),
    ],
)
def test_other_json_is_another_request(one: bytes, another: bytes) -> None:
    assert canonical(one) != canonical(another)


def test_a_large_number_stays_short() -> None:
    """As an integer, each `1e308` had 309 digits: a body of 1 MB stopped the process for 2.5 s."""
    body = b'{"a":[' + b",".join([b"1e308"] * 1000) + b"]}"
    assert len(canonical(body)) < 2 * len(body)
