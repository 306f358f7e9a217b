"""Content negotiation: quality values (RFC 9110, 12.4.2) and media types."""

import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.requests import HTTPConnection, Request

from app.errors import NotAcceptable

_LONGEST_HEADER = 500
_WEIGHT = re.compile(r"0*\.\d+|0+\.?|0*1(\.0*)?", re.ASCII)


def sent(request: HTTPConnection, name: str) -> str:
    """The header's value, its repeated lines joined by commas, "" if it is absent.

    Only the beginning of a header longer than any real one: it is the key of a cache.
    """
    lines = request.headers.getlist(name)
    value = lines[0] if len(lines) == 1 else ",".join(lines)
    return value[:_LONGEST_HEADER]


def weighted(header: str) -> list[tuple[str, float]]:
    """The members of a list such as `it;q=0.8, de` in lower case, each with its weight.

    A member with an invalid weight (`q=much`, `q=2`) has the weight 0.
    """
    members = []
    for part in header.split(","):
        name, *parameters = (piece.strip() for piece in part.lower().split(";"))
        if name:
            members.append((name, _weight(parameters)))
    return members


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
    return 1.0


@lru_cache(maxsize=256)
def _best(accept: str, offered: tuple[str, ...]) -> str | None:
    ranges = weighted(accept)
    best, best_weight = None, 0.0
    for media_type in offered:
        # The most specific range that covers a type decides its weight (RFC 9110, 12.5.1).
        for covering in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
            weights = [weight for name, weight in ranges if name == covering]
            if weights:
                if max(weights) > best_weight:
                    best, best_weight = media_type, max(weights)
                break
    return best


def media_type_of(request: Request, *offered: str) -> str | None:
    """The media type of `offered` that the `Accept` header prefers, the first if several are equal.

    None if the header excludes all of them.
    """
    accept = sent(request, "accept")
    return _best(accept, offered) if accept.strip() else offered[0]


def negotiated(request: Request, *offered: str) -> str:
    """As `media_type_of`. Raises NotAcceptable if the header excludes everything offered."""
    chosen = media_type_of(request, *offered)
    if chosen is None:
        raise NotAcceptable(offered)
    return chosen
