"""Identifiers made by the application."""

import os
import re
import time
from uuid import UUID

UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_uuid = re.compile(UUID_PATTERN)


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562): milliseconds since 1970, then 74 random bits."""
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80
    value |= int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def looks_like_id(text: str) -> bool:
    """Whether a text has the form of an id. Codes, serial numbers and numbers never have it."""
    return _uuid.fullmatch(text) is not None


def as_id(key: str) -> UUID | None:
    """The id that a path or a command names, or None if it names a code or number."""
    return UUID(key) if looks_like_id(key) else None
