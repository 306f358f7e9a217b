"""Content negotiation: quality values (RFC 9110, 12.4.2) and media types."""

import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.requests import Request

# Longer than any real header. The rest is ignored, so that a huge header costs nothing.
_LONGEST_HEADER = 1_000
_WEIGHT = re.compile(r"0*\.\d+|0+\.?|0*1(\.0*)?", re.ASCII)


def weighted(header: str) -> list[tuple[str, float]]:
    """The members of a list such as `it;q=0.8, de` in lower case, each with its weight.

    A member with an invalid weight (`q=much`, `q=2`) has the weight 0.
    """
    members = []
    for part in header[:_LONGEST_HEADER].split(","):
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
    accept = ",".join(request.headers.getlist("accept"))
    return _best(accept, offered) if accept.strip() else offered[0]
