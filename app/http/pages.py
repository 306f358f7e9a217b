"""Lists: what they take (`limit`, `cursor`) and how one page leads to the next.

Pages follow each other by keyset, never by offset, so that rows added meanwhile make none skip or
repeat one. A cursor names the list it belongs to and the sort keys of the last row shown.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from pydantic import Field
from sqlalchemy import ColumnElement, literal, tuple_

from app.http.etags import json_bytes
from app.http.fields import Digits, Output, Query
from app.http.problems import InvalidInput, invalid

T = TypeVar("T")
Row = TypeVar("Row")

DEFAULT_LIMIT, LARGEST_LIMIT = 50, 200
_LONGEST_CURSOR = 1_000
_CHECK_BYTES = 6
# To be changed when the meaning of what a cursor holds changes: older ones are then refused.
_VERSION = b"cursor 1"


class PageQuery(Query):
    """The query string of a list; filters are added by inheriting."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_LIMIT), Digits] = DEFAULT_LIMIT
    cursor: Annotated[str, Field(max_length=_LONGEST_CURSOR)] | None = None


class Page(Output, Generic[T]):
    """One page; `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: str | None


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECK_BYTES, person=_VERSION).digest()


def encode_cursor(kind: str, *keys: str | int | date | datetime | UUID | None) -> str:
    """An opaque cursor for the list `kind` after the row with these sort keys."""
    payload = json_bytes([kind, *keys])
    return base64.urlsafe_b64encode(_checksum(payload) + payload).rstrip(b"=").decode()


def _read(value: Any, kind: type) -> Any:
    """A sort key, of a type and within bounds that the database takes. Raises ValueError."""
    if value is None:
        return None
    # bool is an int to Python and would be one to the database.
    if kind is int and type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is not str or "\x00" in value:
        raise ValueError
    if kind is str:
        return value
    if kind is UUID:
        return UUID(value)
    if kind is date:
        return date.fromisoformat(value)
    if kind is datetime and (instant := datetime.fromisoformat(value)).tzinfo is not None:
        return instant
    raise ValueError


def decode_cursor(kind: str, cursor: str, *types: type) -> list[Any]:
    """The sort keys in a cursor, each of its type (str, int, date, datetime or UUID) or None.

    Raises InvalidInput at `query/cursor` for what is not ours, damaged, or of another list.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        payload = raw[_CHECK_BYTES:]
        if raw[:_CHECK_BYTES] != _checksum(payload):
            raise ValueError
        found, *keys = orjson.loads(payload)
        if found != kind or len(keys) != len(types):
            raise ValueError
        return [_read(value, type_) for value, type_ in zip(keys, types, strict=True)]
    except (ValueError, TypeError):
        raise bad_cursor() from None


def bad_cursor() -> InvalidInput:
    return invalid("query/cursor", "bad_cursor")


def beyond(
    columns: Sequence[ColumnElement[Any]], keys: Sequence[Any], *, descending: bool = False
) -> ColumnElement[bool]:
    """The rows after the one with these keys, in the order of the columns (all one way)."""
    row = tuple_(*columns)
    last = tuple_(*(literal(key, column.type) for key, column in zip(keys, columns, strict=True)))
    return row < last if descending else row > last


def page_of(
    rows: Sequence[Row], limit: int, cursor_of: Callable[[Row], str]
) -> tuple[Sequence[Row], str | None]:
    """The rows to show and the cursor after them, of rows fetched with `LIMIT limit + 1`."""
    if len(rows) <= limit:
        return rows, None
    shown = rows[:limit]
    return shown, cursor_of(shown[-1])
