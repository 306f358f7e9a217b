"""Cursors: sealed with a key of the installation, so that only a cursor that it made gets through.

A cursor holds the sort keys of the last row shown. Its seal covers them, the name of the list and
its filters. The sort keys are hidden: the numbers of a list's rows can tell what other customers
do, and clients must not come to depend on what a cursor contains.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from starlette.datastructures import State

from app.errors import invalid
from app.http.encoding import json_bytes
from app.store.installation import secret_key

LONGEST = 1_000
_SEAL_BYTES = 16
# Change it when the meaning of a cursor's content changes: older cursors are then refused.
_VERSION = b"cursor 2"

SortKey = str | int | date | datetime | UUID | None


@cache
def _content(types: tuple[type, ...]) -> TypeAdapter[Any]:
    """What a cursor holds: sort keys of these types, or None."""
    content: Any = tuple[(*(one | None for one in types),)]  # type: ignore[misc]
    return TypeAdapter(content)


class Cursors:
    """Makes and reads cursors, with a secret key of at least 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._sealing, self._hiding = (
            hmac.digest(key, purpose, "sha256") for purpose in (b"seal", b"hide")
        )

    def encode(self, of: str, *keys: SortKey) -> str:
        """A cursor for the list `of`, its filters included, after the row with these sort keys."""
        payload = json_bytes(keys)
        seal = self._seal(of, payload)
        raw = seal + self._hide(seal, payload)
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def decode(
        self, of: str, cursor: str, types: Sequence[type], pointer: str = "query/cursor"
    ) -> list[Any]:
        """The sort keys in a cursor, each of its type or None.

        Raises InvalidInput at `pointer` for a cursor that is not ours, damaged, or of another
        list or other filters.
        """
        with suppress(ValueError):
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            seal = raw[:_SEAL_BYTES]
            payload = self._hide(seal, raw[_SEAL_BYTES:])
            # Refuse other spellings of the same bytes too.
            ours = hmac.compare_digest(seal, self._seal(of, payload))
            if ours and base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == cursor:
                return list(_content(tuple(types)).validate_json(payload, strict=True))
        raise invalid(pointer, "bad_cursor")

    def _seal(self, of: str, payload: bytes) -> bytes:
        # JSON has no line break outside a text, where it is escaped: the parts cannot be confused.
        sealed = b"\n".join((_VERSION, json_bytes(of), payload))
        return hmac.digest(self._sealing, sealed, "sha256")[:_SEAL_BYTES]

    def _hide(self, seal: bytes, payload: bytes) -> bytes:
        """The payload hidden, or a hidden one shown: a key stream that its own seal chooses."""
        stream = hashlib.shake_256(self._hiding + seal).digest(len(payload))
        return bytes(one ^ other for one, other in zip(payload, stream, strict=True))


async def cursors_of(state: State) -> Cursors:
    """The cursors of an application's installation; its key is read once, when first needed."""
    if not hasattr(state, "cursors"):
        state.cursors = Cursors(await secret_key(state.database, "cursors"))
    cursors: Cursors = state.cursors
    return cursors
