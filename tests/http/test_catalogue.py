"""The catalogues agree with each other and with the codes that the service uses."""

from typing import get_args

import pytest

from app.errors import InputCode
from app.http.errors.catalogue import (
    CATALOGUES,
    Catalogue,
    CatalogueError,
    check,
    flatten,
    placeholders,
)


def test_every_input_code_has_a_message() -> None:
    for catalogue in CATALOGUES.values():
        keys = {key.removeprefix("input.") for key in catalogue.texts if key.startswith("input.")}
        assert keys == set(get_args(InputCode))


def test_texts_differ_between_languages() -> None:
    # A text left untranslated would pass every other check.
    for one, other in (("en", "it"), ("en", "de"), ("it", "de")):
        same = {
            key
            for key, text in CATALOGUES[one].texts.items()  # type: ignore[index]
            if text == CATALOGUES[other].texts[key]  # type: ignore[index]
        }
        assert not same, same


def test_a_missing_key_is_found() -> None:
    with pytest.raises(CatalogueError, match="only in one"):
        check({"en": Catalogue("en", {"a": "A"}), "it": Catalogue("it", {})})


def test_another_placeholder_is_found() -> None:
    with pytest.raises(CatalogueError, match="other placeholders in it"):
        check({"en": Catalogue("en", {"a": "{n}"}), "it": Catalogue("it", {"a": "{m}"})})


@pytest.mark.parametrize("text", ["{n", "{n!r}", "{n:>9}", "{n.a}", "{}"])
def test_only_plain_placeholders(text: str) -> None:
    with pytest.raises(CatalogueError):
        placeholders(text)


@pytest.mark.parametrize("value", ["", " ", 1, ["a"]])
def test_only_texts(value: object) -> None:
    with pytest.raises(CatalogueError, match=r"a\.b is not a text"):
        flatten({"a": {"b": value}})


def test_only_states_and_types_are_translated() -> None:
    """A text on record may be a word of the catalogues, too."""
    texts = CATALOGUES["de"]
    assert "expired" in texts.text("input.not_edited", stored="expired")
    assert texts.text("input.not_edited", stored=None) == texts.text(
        "input.not_edited", stored=texts.texts["words.empty"]
    )
    assert "abgelaufen" in texts.text("problems.wrong_state.detail", state="expired", wanted="open")


def test_a_value_with_braces_stays_as_it_is() -> None:
    assert Catalogue("en", {"a": "<{n}>"}).text("a", n="{x}") == "<{x}>"
    with pytest.raises(KeyError):
        Catalogue("en", {"a": "<{n}>"}).text("a")
