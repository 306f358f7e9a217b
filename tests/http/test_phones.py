"""Telephone numbers in E.164, and whatever exchanges write in their place."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.phones import Exchange, NoNumber, caller_number, e164

_LINES = Path(__file__).with_name("caller-ids.csv").read_text("utf-8").splitlines()
_FORMS = list(csv.DictReader(line for line in _LINES if not line.startswith("#")))


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


@pytest.mark.parametrize("form", _FORMS, ids=lambda form: f"{form['sent']} {form['region']}")
def test_every_form_in_which_an_exchange_writes_a_caller(form: dict[str, str]) -> None:
    expected = form["e164"] if form["expected"] == "number" else NoNumber(form["expected"])
    assert caller_number(form["sent"], Exchange(form["region"] or None)) == expected


@pytest.mark.parametrize(
    ("sent", "prefix"),
    [
        ("00590000001", "0"),
        ("000390590000001", "0"),
        ("0+390590000001", "0"),
        ("90590000001", "9"),
        ("sip:00590000001@pbx.example.com", "0"),
        # Sent without the prefix, which some numbers begin with.
        ("0590000001", "0"),
        ("00390590000001", "0"),
        ("+390590000001", "0"),
        ("+390590000001", "9"),
    ],
)
def test_the_digits_dialled_for_a_line_are_left_out(sent: str, prefix: str) -> None:
    assert caller_number(sent, Exchange("IT", prefix)) == "+390590000001"


def test_an_extension_behind_the_digits_for_a_line_is_none_either() -> None:
    assert caller_number("0204", Exchange("IT", "0")) is NoNumber.UNUSABLE


@given(
    st.one_of(st.text(max_size=60), st.text('+0123456789 ()-./;=<>"\\@:sip%', max_size=60)),
    st.sampled_from(["IT", "DE", None]),
    st.sampled_from(["", "0", "9"]),
)
def test_any_caller_is_a_number_or_none(text: str, region: str | None, prefix: str) -> None:
    number = caller_number(text, Exchange(region, prefix))
    if isinstance(number, str):
        assert e164(number, None) == number
