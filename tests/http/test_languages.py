"""Accept-Language and Accept, read as RFC 9110 has them."""

import re
import tracemalloc
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import CheckConstraint
from starlette.requests import Request

from app.connectors.asterisk import APOLOGIES
from app.http import erasure_texts
from app.http.languages import LANGUAGES, language_of, parse
from app.http.negotiation import media_type_of
from app.policy.document import Texts
from app.routers.help_desks import GivenReason
from app.store.tables import customers


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("it", "it"),
        ("it-CH", "it"),
        ("IT", "it"),
        ("fr, de;q=0.3, it;q=0.7", "it"),
        ("fr", "en"),
        ("fr, *;q=0.1", "en"),
        ("en;q=0, *", "it"),
        ("en;q=0", "en"),
        ("de;q=0.5, *", "en"),
        ("de, it", "de"),
        ("it, de", "it"),
        ("it;q=much, de;q=0.1", "de"),
        ("it;q=7, de;q=0.1", "de"),
        ("it ; Q=0.2 , de;q=0.1", "it"),
        (",,;q=1,-,de", "de"),
    ],
)
def test_language(header: str, language: str) -> None:
    assert parse(header) == language


@given(st.text())
def test_any_header_gives_a_language(header: str) -> None:
    assert parse(header) in LANGUAGES


@given(
    st.permutations(LANGUAGES),
    st.lists(st.integers(1, 1_000), min_size=3, max_size=3, unique=True),
)
def test_the_heaviest_wins_wherever_it_stands(languages: list[str], weights: list[int]) -> None:
    pairs = list(zip(languages, weights, strict=True))
    header = ", ".join(f"{language};q={weight / 1000}" for language, weight in pairs)
    assert parse(header) == max(pairs, key=lambda pair: pair[1])[0]


def request(*headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "headers": list(headers)})


def test_several_headers_are_one_list() -> None:
    both = request((b"accept-language", b"de;q=0.1"), (b"accept-language", b"it"))
    assert language_of(both) == "it"
    assert language_of(request()) == "en"


def test_only_the_beginning_of_a_long_header_is_read_and_cached() -> None:
    assert language_of(request((b"accept-language", b"x" * 5_000 + b",it"))) == "en"
    headers = [(b"accept", b"%d" % n + b"x" * 50_000 + b",*/*") for n in range(1_000)]
    tracemalloc.start()
    for header in headers:
        media_type_of(request(header), "application/json")
    for n in range(1_000):
        language_of(request((b"accept-language", b"%d" % n + b"y" * 50_000)))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (b"", "application/json"),
        (b"*/*", "application/json"),
        (b"text/csv", "text/csv"),
        (b"text/*", "text/csv"),
        (b"text/csv;q=0.5, application/json;q=0.4", "text/csv"),
        (b"application/json;q=0, */*", "text/csv"),
        (b"image/png", None),
        (b"text/csv;q=0", None),
    ],
)
def test_media_type(accept: bytes, chosen: str | None) -> None:
    assert media_type_of(request((b"accept", accept)), "application/json", "text/csv") == chosen


def test_every_table_of_languages_has_the_same() -> None:
    """A language that is added in one place alone is found."""
    check = next(
        str(one.sqltext)
        for one in customers.constraints
        if isinstance(one, CheckConstraint) and str(one.name).endswith("language")
    )
    catalogues = files("app.http.errors") / "messages"
    tables = {
        "policy document": Texts.model_fields,
        "error messages": [one.name.removesuffix(".toml") for one in catalogues.iterdir()],
        "texts of an erasure": erasure_texts._TEXTS,
        "reason of a closure": GivenReason.model_fields,
        "customers.language": re.findall(r"'(\w+)'", check),
        "script for Asterisk": APOLOGIES,
    }
    others = {place: table for place, table in tables.items() if set(table) != set(LANGUAGES)}
    assert others == {}
    assert LANGUAGES[0] == "en"
