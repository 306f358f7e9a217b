"""The language in which a request is answered."""

from functools import lru_cache
from typing import get_args

from starlette.requests import HTTPConnection

from app.http.negotiation import sent, weighted
from app.policy.document import Language

__all__ = ["LANGUAGES", "Language"]

LANGUAGES: tuple[Language, ...] = ("en", *(one for one in get_args(Language) if one != "en"))
"""English first: callers who state no preference get it."""


def language_of(request: HTTPConnection) -> Language:
    """The supported language that `Accept-Language` prefers (RFC 9110, 12.5.4), else English."""
    return parse(sent(request, "accept-language"))


def asked_language(request: HTTPConnection) -> Language | None:
    """The supported language that the caller names, or None if it names none of them."""
    header = sent(request, "accept-language")
    named = any(
        weight > 0 and name.partition("-")[0] in LANGUAGES for name, weight in weighted(header)
    )
    return parse(header) if named else None


@lru_cache(maxsize=256)
def parse(header: str) -> Language:
    """The supported language that a header prefers; of equally preferred ones the first named.

    `it-CH` asks for Italian, `*` stands for every language that is not named (English first), and
    `q=0` excludes a language.
    """
    weights: dict[str, float] = {}
    for name, weight in weighted(header):
        primary = name.partition("-")[0]
        weights[primary] = max(weight, weights.get(primary, 0.0))

    def weight_of(language: Language) -> float:
        return weights.get(language, weights.get("*", 0.0))

    named_first = sorted(LANGUAGES, key=[*weights, *LANGUAGES].index)
    best = max(named_first, key=weight_of)
    return best if weight_of(best) > 0 else "en"
