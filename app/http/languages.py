"""The language in which a request is answered."""

from functools import lru_cache
from typing import Literal

from starlette.requests import HTTPConnection

from app.http.negotiation import weighted

Language = Literal["it", "en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "it", "de")


def language_of(request: HTTPConnection) -> Language:
    """The supported language that `Accept-Language` prefers (RFC 9110, 12.5.4), else English."""
    headers = request.headers.getlist("accept-language")
    return parse(headers[0] if len(headers) == 1 else ",".join(headers)) if headers else "en"


def asked_language(request: HTTPConnection) -> Language | None:
    """The supported language that the caller names, or None if it names none of them."""
    for header in request.headers.getlist("accept-language"):
        if any(
            weight > 0 and name.partition("-")[0] in LANGUAGES for name, weight in weighted(header)
        ):
            return language_of(request)
    return None


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
