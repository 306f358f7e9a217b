"""Telephone numbers in E.164."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.phones import e164


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("059 454224", "IT", "+39059454224"),
        ("0039 059-454.224", "IT", "+39059454224"),
        ("+39 059 454224", None, "+39059454224"),
        ("(091) 967 66 10", "CH", "+41919676610"),
        ("0900 1776432", "DE", "+499001776432"),
        ("059 454224 ext. 12", "IT", "+39059454224"),
        ("+1 555 123 4567", None, "+15551234567"),
        ("059 454224", None, None),
        ("059 454224", "AQ", None),
        ("555-1234", "US", None),
        ("110", "DE", None),
        ("1", "IT", None),
        ("+39 " + "1" * 20, None, None),
        ("+999 1234567", None, None),
        ("anonymous", "IT", None),
        ("", "IT", None),
    ],
)
def test_numbers_and_what_is_none(text: str, region: str | None, number: str | None) -> None:
    assert e164(text, region) == number


@given(
    st.one_of(st.text(max_size=60), st.text("+0123456789 ()-./;=extl:", max_size=30)),
    st.sampled_from(["IT", "DE", "CH", "US", "XK", "AQ", None]),
)
def test_any_text_is_a_number_or_none(text: str, region: str | None) -> None:
    number = e164(text, region)
    if number is not None:
        assert number[0] == "+"
        assert number[1:].isdecimal()
        assert number.isascii()
        assert len(number) <= 16
        for other in (region, "FR", None):
            assert e164(number, other) == number, "what is stored stays what it is"
