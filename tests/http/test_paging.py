"""Cursors come back as they went, and nothing else is taken for one."""

import base64
from datetime import UTC, date, datetime
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.http.cursors import Cursors

instants = st.datetimes(datetime(1990, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
integers = st.integers(-(2**63), 2**63 - 1)

ours = Cursors(b"k" * 32)
theirs = Cursors(b"j" * 32)


def raw_of(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


def cursor_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@given(texts, texts, integers, instants, st.uuids(), st.dates())
def test_there_and_back(of: str, text: str, number: int, at: datetime, id_: UUID, on: date) -> None:
    cursor = ours.encode(of, text, number, at, id_, on, None)
    assert ours.decode(of, cursor, (str, int, datetime, UUID, date, str)) == [
        text, number, at, id_, on, None,
    ]  # fmt: skip


def refused(cursor: str, of: str = "list", *types: type, cursors: Cursors = ours) -> None:
    with pytest.raises(InvalidInput) as caught:
        cursors.decode(of, cursor, types)
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == ("query/cursor", "bad_cursor")


@given(st.text())
def test_no_text_is_a_cursor(text: str) -> None:
    refused(text, "list", int)


@given(st.binary(max_size=200))
def test_no_bytes_are_a_cursor(raw: bytes) -> None:
    refused(cursor_of(raw), "list", int)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_found(position: int, byte: int) -> None:
    cursor = ours.encode("list", 7)
    raw = bytearray(raw_of(cursor))
    position %= len(raw)
    if raw[position] != byte:
        raw[position] = byte
        refused(cursor_of(bytes(raw)), "list", int)


def test_another_text_of_the_same_bytes_is_refused() -> None:
    # The last character of a base64 text has bits that no byte uses.
    cursor = ours.encode("list", 7)
    others = [cursor[:-1] + chr(ord(cursor[-1]) + step) for step in (-1, 1)] + [cursor + "="]
    assert any(raw_of(other) == raw_of(cursor) for other in others if other[-1].isalnum())
    for other in others:
        refused(other, "list", int)


def test_of_another_list_or_shape() -> None:
    cursor = ours.encode("cases", 7)
    refused(cursor, "customers", int)
    refused(cursor, "cases", str)
    refused(cursor, "cases", datetime)
    refused(cursor, "cases", UUID)
    refused(cursor, "cases")
    refused(cursor, "cases", int, int)


def test_of_another_installation() -> None:
    refused(ours.encode("list", 7), "list", int, cursors=theirs)


def test_it_does_not_show_what_it_holds() -> None:
    """The number of an event tells how much other customers do."""
    shown = raw_of(ours.encode("list", 1234567, "a text"))
    assert b"1234567" not in shown
    assert b"a text" not in shown
    # Neither does the difference of two.
    other = raw_of(ours.encode("list", 1234568, "a text"))
    mixed = bytes(one ^ two for one, two in zip(shown[16:], other[16:], strict=True))
    plain = (orjson.dumps([number, "a text"]) for number in (1234567, 1234568))
    assert mixed != bytes(one ^ two for one, two in zip(*plain, strict=True))
