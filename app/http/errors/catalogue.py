"""The texts of errors, in one TOML file per language in `messages/`, which translators edit.

`[problems.<code>]` has the title and detail of an error, and `about` for its page: what it means
and what to do. `[input]` has the messages of single faults, `[words]` the names of states and types
that texts contain, `[page]` the texts of the page itself. A text may contain placeholders in
braces. The service does not start unless all languages have the same keys and placeholders.
"""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from string import Formatter

from app.http.languages import LANGUAGES, Language

_WORDS = frozenset({"state", "wanted", "expected", "kind"})
"""The placeholders whose values are keys of `[words]`."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The texts of one language, by dotted key: `problems.not_found.title`."""

    language: Language
    texts: dict[str, str]

    def text(self, key: str, /, **values: object) -> str:
        """The text of a key, its placeholders filled. None is "empty"; states and types are
        translated. Other values may be texts on record, which stay as they are.

        Raises KeyError for an unknown key or a placeholder without a value.
        """
        template = self.texts[key]
        if "{" not in template:
            return template
        return template.format_map({name: self._shown(name, it) for name, it in values.items()})

    def _shown(self, name: str, value: object) -> str:
        if value is None:
            return self.texts["words.empty"]
        return self.texts.get(f"words.{value}", str(value)) if name in _WORDS else str(value)


class CatalogueError(Exception):
    """The catalogues of two languages differ, or a value is not a text."""


def flatten(table: dict[str, object], prefix: str = "") -> dict[str, str]:
    """The texts of a TOML table by dotted key. Raises CatalogueError for any other value."""
    texts: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            texts |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, str) and value.strip():
            texts[prefix + key] = value.strip()
        else:
            raise CatalogueError(f"{prefix}{key} is not a text")
    return texts


def placeholders(text: str) -> set[str]:
    """The names in braces. Raises CatalogueError for anything but a plain `{name}`."""
    try:
        fields = [part for part in Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        raise CatalogueError(f"unbalanced braces in: {text}") from error
    for _, name, specification, conversion in fields:
        if not (name or "").isidentifier() or specification or conversion:
            raise CatalogueError(f"not a plain placeholder in: {text}")
    return {name or "" for _, name, _, _ in fields}


def check(catalogues: dict[Language, Catalogue]) -> None:
    """Raises CatalogueError unless all languages have the same keys and placeholders."""
    first, *others = catalogues.values()
    for other in others:
        if missing := first.texts.keys() ^ other.texts.keys():
            raise CatalogueError(
                f"only in one of {first.language} and {other.language}: {sorted(missing)}"
            )
        for key, text in first.texts.items():
            if placeholders(text) != placeholders(other.texts[key]):
                raise CatalogueError(
                    f"{key}: other placeholders in {other.language} than in {first.language}"
                )


CATALOGUES: dict[Language, Catalogue] = {
    language: Catalogue(
        language,
        flatten(
            tomllib.loads(
                (files("app.http.errors") / "messages" / f"{language}.toml").read_text("utf-8")
            )
        ),
    )
    for language in LANGUAGES
}
check(CATALOGUES)
