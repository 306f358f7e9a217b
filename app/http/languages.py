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
    anything_else = weights.pop("*", 0.0)
    wanted = [*weights, *(language for language in LANGUAGES if language not in weights)]
    best: Language = "en"
    best_weight = 0.0
    for name in wanted:
        weight = weights.get(name, anything_else)
        for language in LANGUAGES:
            if language == name and weight > best_weight:
                best, best_weight = language, weight
    return best
