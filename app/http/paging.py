"""Lists on the wire: `limit`, `cursor`, and one page with the cursor of the next.

A cursor holds the name of its list and the sort keys of the last row shown (`app.store.keyset`).
"""

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, Field, TypeAdapter
from starlette.responses import Response

from app.errors import invalid
from app.http.context import Context
from app.http.fields import Digits, Output, Query
from app.http.responses import json_bytes, ok
from app.store.keyset import Listing

T = TypeVar("T")

DEFAULT_LIMIT, LARGEST_LIMIT = 50, 200
_LONGEST_CURSOR = 1_000
_CHECK_BYTES = 6
# Change it when the meaning of a cursor's content changes: older cursors are then refused.
_VERSION = b"cursor 1"
# Within the bounds that the database takes.
_KEYS: dict[type, Any] = {
    int: Annotated[int, Field(ge=-(2**63), lt=2**63)],
    str: Annotated[str, Field(pattern=r"^[^\x00]*$")],
    datetime: AwareDatetime,
}


class PageQuery(Query):
    """The query string of a list. Subclasses add the filters."""

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


@cache
def _content(types: tuple[type, ...]) -> TypeAdapter[Any]:
    """What a cursor holds: its list's name, and sort keys of these types or None."""
    content: Any = tuple[(str, *(_KEYS.get(one, one) | None for one in types))]  # type: ignore[misc]
    return TypeAdapter(content)


def decode_cursor(kind: str, cursor: str, *types: type) -> list[Any]:
    """The sort keys in a cursor, each of its type (str, int, date, datetime or UUID) or None.

    Raises InvalidInput at `query/cursor` for what is not ours, damaged, or of another list.
    """
    with suppress(ValueError):
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        payload = raw[_CHECK_BYTES:]
        if raw[:_CHECK_BYTES] != _checksum(payload):
            raise ValueError
        found, *keys = _content(types).validate_json(payload, strict=True)
        if found == kind:
            return list(keys)
    raise invalid("query/cursor", "bad_cursor")


async def paginate(
    context: Context, query: PageQuery, listing: Listing, shape: Callable[[Any], Output]
) -> Response:
    """One page of a list, each row turned into what is sent by `shape`."""
    after = None
    if query.cursor is not None:
        after = decode_cursor(listing.name, query.cursor, *listing.key_types)
    rows, last = await listing.page(context.connection, query.limit, after)
    items = [shape(row) for row in rows]
    next_cursor = None if last is None else encode_cursor(listing.name, *last)
    return ok(context, Page[Any](items=items, next_cursor=next_cursor), etag=False)
