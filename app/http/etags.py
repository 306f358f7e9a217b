"""Entity tags and conditional requests (RFC 9110, 8.8.3 and 13)."""

import hashlib
import re

from starlette.requests import Request

from app.errors import PreconditionFailed

_MEMBER = re.compile(r'[\s,]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?=,|$)')
CACHING = {
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Accept, Accept-Language",
}


RAW_CACHING = tuple(
    (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in CACHING.items()
)


def strong_etag(body: bytes) -> str:
    """A tag that differs whenever a byte does."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def weak_etag(essence: bytes) -> str:
    """A tag for answers with the same meaning, whose bytes may differ."""
    return "W/" + strong_etag(essence)


def _tags(request: Request, header: str) -> list[str] | None:
    """The tags of a conditional header; None without one, `["*"]` for the asterisk.

    A malformed member matches nothing, and neither does anything after it: its end is unknown.
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


def if_none_match(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names this tag (weak comparison): the caller has the answer."""
    tags = _tags(request, "if-none-match") or []
    return tags == ["*"] or etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in tags}


def check_if_match(request: Request, current: str | None) -> None:
    """Raises PreconditionFailed unless `If-Match` is absent or names the current tag.

    `current` is None if nothing exists yet. The comparison is strong: weak tags never match.
    """
    tags = _tags(request, "if-match")
    if tags is None:
        return
    if current is None or not (tags == ["*"] or (current in tags and not current.startswith("W/"))):
        raise PreconditionFailed


def check_if_none_match(request: Request, current: str | None) -> None:
    """For PUT: raises PreconditionFailed if `If-None-Match` names what exists."""
    if current is not None and if_none_match(request, current):
        raise PreconditionFailed
