"""Entity tags, conditional requests (RFC 9110, 8.8.3 and 13), and answers that carry them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.http.problems import PreconditionFailed

_MEMBER = re.compile(r'[\s,]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?=,|$)')
CACHING = {
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Accept, Accept-Language",
}


def strong_etag(body: bytes) -> str:
    """A tag that differs whenever a byte does."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def weak_etag(essence: bytes) -> str:
    """A tag for answers that say the same, though not byte for byte."""
    return "W/" + strong_etag(essence)


def _tags(request: Request, header: str) -> list[str] | None:
    """The tags of a conditional header; None without one, `["*"]` for the asterisk.

    A member that is no tag matches nothing and neither does what follows it: its end is unknown.
    """
    values = request.headers.getlist(header)
    if not values:
        return None
    text = ",".join(values)
    if text.strip() == "*":
        return ["*"]
    tags, position = [], 0
    while match := _MEMBER.match(text, position):
        tags.append(match[1])
        position = match.end()
    return tags


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")


def if_none_match(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names this tag, by weak comparison: the caller has it already."""
    tags = _tags(request, "if-none-match")
    if tags is None:
        return False
    return tags == ["*"] or _opaque(etag) in {_opaque(tag) for tag in tags}


def check_if_match(request: Request, current: str | None) -> None:
    """Raises PreconditionFailed unless `If-Match` is absent or names the current tag.

    `current` is None where nothing exists yet. The comparison is strong: weak tags never match.
    """
    tags = _tags(request, "if-match")
    if tags is None:
        return
    if current is None or not (tags == ["*"] or (current in tags and not current.startswith("W/"))):
        raise PreconditionFailed


def check_if_none_match(request: Request, current: str | None) -> None:
    """For PUT: raises PreconditionFailed when `If-None-Match` names what is there already."""
    if current is not None and if_none_match(request, current):
        raise PreconditionFailed


def json_bytes(content: bytes | BaseModel | Any) -> bytes:
    """JSON in UTF-8: bytes as they are, models by pydantic, all else by orjson.

    Both write an instant in UTC as `2026-11-22T10:15:00Z`.
    """
    if isinstance(content, bytes):
        return content
    if isinstance(content, BaseModel):
        return content.__pydantic_serializer__.to_json(content)
    return orjson.dumps(content, default=_driver_uuid, option=orjson.OPT_UTC_Z)


def _driver_uuid(value: object) -> str:
    # The driver's ids are a subclass of UUID, which orjson leaves to us.
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def json_response(
    request: Request,
    content: bytes | BaseModel | Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    etag: bool | str = True,
    media_type: str = "application/json",
) -> Response:
    """The answer with `content`, rendered once; 304 to a GET that has it already.

    `etag=True` makes a strong tag of what is sent, a text is used as it is, False sends none.
    """
    body = json_bytes(content)
    sent = {**CACHING, **(headers or {})}
    if etag:
        tag = etag if isinstance(etag, str) else strong_etag(body)
        sent["ETag"] = tag
        if (
            status == 200
            and request.method in ("GET", "HEAD")
            and "if-none-match" in request.headers
            and if_none_match(request, tag)
        ):
            return Response(status_code=304, headers=sent)
    return Response(body, status, sent, media_type)
