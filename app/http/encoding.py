"""JSON as bytes, for answers, events and webhooks."""

from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel


def json_bytes(content: bytes | BaseModel | Any) -> bytes:
    """JSON in UTF-8. Bytes pass unchanged, pydantic renders models, orjson everything else.

    Both write an instant in UTC as `2026-11-22T10:15:00Z`.
    """
    if isinstance(content, bytes):
        return content
    if isinstance(content, BaseModel):
        return content.__pydantic_serializer__.to_json(content)
    return orjson.dumps(content, default=_driver_uuid, option=orjson.OPT_UTC_Z)


def _driver_uuid(value: object) -> str:
    # The driver returns a subclass of UUID, which orjson does not render by itself.
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
