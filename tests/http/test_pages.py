"""Cursors come back as they went, and nothing else is taken for one."""

import base64
from datetime import UTC, date, datetime
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, DateTime, MetaData, Table, Uuid, select
from sqlalchemy.dialects import postgresql

from app.http import pages
from app.http.problems import InvalidInput

instants = st.datetimes(datetime(1990, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
integers = st.integers(-(2**63), 2**63 - 1)


@given(texts, integers, instants, st.uuids(), st.dates())
def test_there_and_back(text: str, number: int, at: datetime, id_: UUID, on: date) -> None:
    cursor = pages.encode_cursor("list", text, number, at, id_, on, None)
    assert pages.decode_cursor("list", cursor, str, int, datetime, UUID, date, str) == [
        text, number, at, id_, on, None,
    ]  # fmt: skip


def refused(cursor: str, kind: str = "list", *types: type) -> None:
    with pytest.raises(InvalidInput) as caught:
        pages.decode_cursor(kind, cursor, *types)
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == ("query/cursor", "bad_cursor")


@given(st.text())
def test_no_text_is_a_cursor(text: str) -> None:
    refused(text, "list", int)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_found(position: int, byte: int) -> None:
    cursor = pages.encode_cursor("list", 7)
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    position %= len(raw)
    if raw[position] != byte:
        raw[position] = byte
        refused(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), "list", int)


def test_of_another_list_or_shape() -> None:
    cursor = pages.encode_cursor("cases", 7)
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
    forged = base64.urlsafe_b64encode(pages._checksum(payload) + payload).rstrip(b"=").decode()
    for kind in (str, int, datetime):
        refused(forged, "list", kind)


def test_a_forged_instant_without_offset() -> None:
    refused(pages.encode_cursor("list", "2026-01-01T00:00:00"), "list", datetime)


def test_pages_follow_each_other() -> None:
    rows = list(range(5))
    seen: list[int] = []
    after: int | None = -1
    while after is not None:
        fetched = [row for row in rows if row > after][: 2 + 1]
        shown, cursor = pages.page_of(fetched, 2, lambda row: pages.encode_cursor("n", row))
        seen += shown
        after = None if cursor is None else pages.decode_cursor("n", cursor, int)[0]
    assert seen == rows
    assert pages.page_of([1, 2], 2, str) == ([1, 2], None)


def test_keyset_comparison() -> None:
    table = Table(
        "t", MetaData(), Column("at", DateTime(timezone=True)), Column("id", Uuid(as_uuid=True))
    )
    keys = [datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1)]

    def sql(*, descending: bool) -> str:
        where = pages.beyond([table.c.at, table.c.id], keys, descending=descending)
        return str(select(table.c.id).where(where).compile(dialect=postgresql.dialect()))

    assert "(t.at, t.id) > (" in sql(descending=False)
    assert "(t.at, t.id) < (" in sql(descending=True)
