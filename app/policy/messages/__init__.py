"""What the policy says in words: reasons, steps and the phone system's sentences, in it, en, de.

The texts are in the catalogues beside this file, one for each language; their head says how a text
may vary with the facts present.
"""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Formatter
from typing import Any, NamedTuple, get_args
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.lists import format_list
from babel.units import format_unit

from app.policy.civil import DeskState, civil_date
from app.policy.document import Language
from app.policy.messages import spoken

# British: "15 January 2026", and the 24-hour clock.
_LOCALES = {"en": "en_GB", "it": "it_IT", "de": "de_DE"}
_MODEL = "en"
_SECTIONS = ("reasons", "steps", "say", "words")


class MessagesError(Exception):
    """A catalogue cannot be used. The text names the file, the key and what is wrong."""


class Variant(NamedTuple):
    """One way to say it, for when all that it `needs` is known."""

    one: str
    other: str
    number: str | None
    """The fact that chooses between `one` and `other`."""
    needs: frozenset[str]


Catalogue = dict[str, tuple[Variant, ...]]


def message(code: str, facts: Mapping[str, object], language: str) -> str:
    """The reason with this code, told with those of its facts that are known.

    A fact that is None or zero counts as absent. Dates and whole minutes (`*_minutes`) are put into
    words. Raises LookupError for a code or language without a text.
    """
    return _told("reasons", code, facts, language)


def step(code: str, language: str) -> str:
    """What a customer can do to change the answer (R12), as a phrase: "buy tickets"."""
    return _told("steps", code, {}, language)


def say(situation: str, facts: Mapping[str, object], language: str) -> str:
    """What a phone system says of a situation, in one or two short sentences.

    Facts as for `message`: `service` is the service's name, and the situations are `allowed`,
    `allowed_minutes` (`remaining_minutes`), `allowed_tickets` (`tickets`), `denied`,
    `open_case_only` (`open_cases`), `unknown_caller`, `ambiguous_caller`, `withheld_number`,
    `unusable_number`, `identify`, `not_answered`. Durations come as a voice says them.
    Raises LookupError for a situation or language without a text, or if a fact it needs is missing.
    """
    return _told("say", situation, facts, language)


def say_desk(
    state: DeskState, at: datetime, zone: ZoneInfo, language: str, *, reason: bool = True
) -> str:
    """Open until when, or closed and opening when, by the desk's own clock (R36).

    With the reason of a closure that matters (R48), unless `reason` is False.
    """
    facts: dict[str, object] = {}
    situation = "desk_open" if state.open else "desk_closed"
    if state.open:
        facts["time"] = spoken.clock(state.changes_at.astimezone(zone), language)
    else:
        facts["moment"] = moment_in_words(state.changes_at, at, zone, language)
    if reason and state.closure is not None:
        situation += "_because"
        facts["reason"] = state.closure.because(language).strip().rstrip(" .")
    return _told("say", situation, facts, language)


def moment_in_words(moment: datetime, at: datetime, zone: ZoneInfo, language: str) -> str:
    """A later instant as one says it at another: "today at noon", "on Monday at ..."."""
    local = moment.astimezone(zone)
    match (local.date() - civil_date(at, zone)).days:
        case 0:
            form = "today"
        case 1:
            form = "tomorrow"
        case 2 | 3 | 4 | 5 | 6:
            form = "weekday"
        case _:  # a bare weekday would be taken for the nearest one
            form = "date"
    facts = {
        "weekday": format_date(local, "EEEE", _LOCALES[language]),
        "day": spoken.day(local.date(), language),
        "time": spoken.clock(local, language),
    }
    return _told("words", form, facts, language)


@lru_cache(maxsize=4096)
def minutes_in_words(minutes: int, language: str) -> str:
    """Whole minutes as hours and minutes: "2 hours and 5 minutes", "1 hour", "0 minutes"."""
    locale = _LOCALES[language]
    hours, rest = divmod(minutes, 60)
    units = {"duration-hour": hours, "duration-minute": rest}
    said = [format_unit(n, unit, locale=locale) for unit, n in units.items() if n]
    return format_list(said or [format_unit(0, "duration-minute", locale=locale)], locale=locale)


def _told(section: str, code: str, facts: Mapping[str, object], language: str) -> str:
    return _filled(section, code, tuple(sorted(facts.items())), language)


# Babel takes tens of microseconds for a date; the same few facts come back on every question.
@lru_cache(maxsize=4096)
def _filled(section: str, code: str, facts: tuple[tuple[str, object], ...], language: str) -> str:
    known = {name: value for name, value in facts if value is not None and value != 0}
    for variant in _CATALOGUES[language][f"{section}.{code}"]:
        if variant.needs <= known.keys():
            text = variant.one if variant.number and known[variant.number] == 1 else variant.other
            words = _as_spoken if section == "say" else _in_words
            return text.format_map({n: words(n, known[n], language) for n in variant.needs})
    raise LookupError(
        f"{language}: {section}.{code} has no text for {', '.join(known) or 'no'} facts"
    )


def _in_words(name: str, value: object, language: str) -> str:
    if isinstance(value, date):
        return format_date(value, "long", _LOCALES[language])
    if isinstance(value, int) and name.endswith("_minutes"):
        return minutes_in_words(value, language)
    return str(value)


def _as_spoken(name: str, value: object, language: str) -> str:
    if isinstance(value, int) and name.endswith("_minutes"):
        return spoken.duration(value, language)
    return str(value)


def load(directory: Traversable) -> dict[str, Catalogue]:
    """Every language's catalogue, checked. Raises MessagesError with all that is wrong.

    All have the same keys with the same variants in the same order, each told by the same facts.
    """
    _check_languages()
    read = {language: _read(directory, f"{language}.toml") for language in _LOCALES}
    faults: list[str] = []
    catalogues: dict[str, Catalogue] = {}
    for language, entries in read.items():
        catalogue = catalogues[language] = {}
        for key, entry in entries.items():
            try:
                catalogue[key] = tuple(_variants(key, entry))
            except ValueError as error:
                faults.append(f"{language}.toml: {key}: {error}")
    model = catalogues[_MODEL]
    for language in _LOCALES:
        for key in sorted(read[_MODEL].keys() ^ read[language].keys()):
            lacks, has = (language, _MODEL) if key in read[_MODEL] else (_MODEL, language)
            faults.append(f"{lacks}.toml: {key}: is missing, {has}.toml has it")
        for key in model.keys() & catalogues[language].keys():
            here, there = (_told_by(c[key]) for c in (catalogues[language], model))
            if here != there:
                faults.append(
                    f"{language}.toml: {key}: is told by {here}, in {_MODEL}.toml by {there}"
                )
    if faults:
        raise MessagesError("\n".join(faults))
    return catalogues


def _check_languages() -> None:
    """Raises MessagesError unless every language has a locale and a voice, and no other has."""
    languages = set(get_args(Language))
    for name, known in (("_LOCALES", _LOCALES), ("spoken._VOICES", spoken._VOICES)):
        if known.keys() != languages:
            raise MessagesError(
                f"app.policy.messages: {name} has {', '.join(sorted(known))}, but the languages"
                f" of the policy document are {', '.join(sorted(languages))}"
            )


def _read(directory: Traversable, file: str) -> dict[str, Any]:
    """A catalogue's entries by `section.key`."""
    try:
        raw = tomllib.loads(directory.joinpath(file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise MessagesError(f"{file}: {error}") from error
    for section, entries in raw.items():
        if section not in _SECTIONS or not isinstance(entries, dict):
            raise MessagesError(
                f"{file}: {section}: is none of the sections {', '.join(_SECTIONS)}"
            )
    return {f"{section}.{key}": e for section, entries in raw.items() for key, e in entries.items()}


def _variants(key: str, entry: object) -> Iterator[Variant]:
    """The variants of an entry as read. Raises ValueError saying what is wrong with it."""
    earlier: list[frozenset[str]] = []
    for raw in entry if isinstance(entry, list) else [entry]:
        match raw:
            case str(text):
                variant = Variant(text, text, None, _placeholders(text))
            case {"count": str(count), "one": str(one), "other": str(other), **rest} if not rest:
                needs = _placeholders(one) | _placeholders(other) | {count}
                variant = Variant(one, other, count, needs)
            case _:
                raise ValueError("is neither a text nor { count, one, other }")
        if any(needs <= variant.needs for needs in earlier):
            raise ValueError(
                f"{variant.other!r} is never said, an earlier text needs no more facts"
            )
        earlier.append(variant.needs)
        yield variant
    if not earlier or (key.startswith("reasons.") and earlier[-1]):
        raise ValueError("its last text must need no facts")


def _placeholders(text: str) -> frozenset[str]:
    if not text.strip():
        raise ValueError("is empty")
    found = set()
    for _, name, form, conversion in Formatter().parse(text):
        if name is not None:
            if not name.isidentifier() or form or conversion:
                raise ValueError(f"{text!r} has a placeholder that is no plain {{name}}")
            found.add(name)
    return frozenset(found)


def _told_by(variants: tuple[Variant, ...]) -> str:
    return " | ".join(
        ", ".join(sorted(v.needs)) + (f" (count {v.number})" if v.number else "") or "nothing"
        for v in variants
    )


_CATALOGUES = load(files("app.policy.messages"))
