"""Cursors come back as they went, and nothing else is taken for one."""

import base64
from datetime import UTC, date, datetime
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.http import paging

instants = st.datetimes(datetime(1990, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
integers = st.integers(-(2**63), 2**63 - 1)


@given(texts, integers, instants, st.uuids(), st.dates())
def test_there_and_back(text: str, number: int, at: datetime, id_: UUID, on: date) -> None:
    cursor = paging.encode_cursor("list", text, number, at, id_, on, None)
    assert paging.decode_cursor("list", cursor, str, int, datetime, UUID, date, str) == [
        text, number, at, id_, on, None,
    ]  # fmt: skip


def refused(cursor: str, kind: str = "list", *types: type) -> None:
    with pytest.raises(InvalidInput) as caught:
        paging.decode_cursor(kind, cursor, *types)
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == ("query/cursor", "bad_cursor")


@given(st.text())
def test_no_text_is_a_cursor(text: str) -> None:
    refused(text, "list", int)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_found(position: int, byte: int) -> None:
    cursor = paging.encode_cursor("list", 7)
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    position %= len(raw)
    if raw[position] != byte:
        raw[position] = byte
        refused(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), "list", int)


def test_of_another_list_or_shape() -> None:
    cursor = paging.encode_cursor("cases", 7)
    refused(cursor, "customers", int)
    refused(cursor, "cases", str)
    refused(cursor, "cases", datetime)
    refused(cursor, "cases", UUID)
    refused(cursor, "cases")
    refused(cursor, "cases", int, int)


@pytest.mark.parametrize("value", [True, "a\x00", 2**63, 1.5, [], {}])
def test_a_forged_cursor_cannot_upset_the_database(value: object) -> None:
    # The checksum is no secret: what it lets through is checked all the same.
    payload = orjson.dumps(["list", value])
    forged = base64.urlsafe_b64encode(paging._checksum(payload) + payload).rstrip(b"=").decode()
    for kind in (str, int, datetime):
        refused(forged, "list", kind)


def test_a_forged_instant_without_offset() -> None:
    refused(paging.encode_cursor("list", "2026-01-01T00:00:00"), "list", datetime)
