"""Texts of the pages in each language, and dates, numbers and durations as people write them.

A text is `section.name` of `texts/<language>.toml`, or of the same file in `texts/staff/`. One that
depends on a number is a table with `one` and `other`. Texts are plain: templates escape them with
all else.
"""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_decimal

from app.http.languages import LANGUAGES, Language

_LOCALES: Mapping[Language, str] = {"it": "it_IT", "en": "en_GB", "de": "de_DE"}
_FOLDER = Path(__file__).parent / "texts"


Day = date | str
"""A date, or its ISO form."""


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


@cache
def catalogue(language: Language) -> Mapping[str, str]:
    """Every text of a language by its name."""
    texts: dict[str, str] = {}
    for file in sorted(_FOLDER.rglob(f"{language}.toml")):
        texts |= _flat(tomllib.loads(file.read_text("utf-8")))
    return texts


class Wording:
    """How to say things in one language: `t` in templates."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = catalogue(language)
        self._locale = Locale.parse(_LOCALES[language])
        self.own_name = str(self._locale.language_name).capitalize()

    def __call__(self, name: str, **values: object) -> str:
        """The text with this name, its placeholders filled. Raises KeyError."""
        text = self._texts[name]
        return text.format_map(values) if values else text

    def known(self, name: str, default: str) -> str:
        """The text with this name, or `default`: for codes that later versions may add."""
        return self._texts.get(name, default)

    def many(self, name: str, number: int, **values: object) -> str:
        """The form of a text that a number asks for; `{n}` is the number."""
        form = "one" if self._locale.plural_form(number) == "one" else "other"
        return self._texts[f"{name}.{form}"].format_map({"n": self.number(number), **values})

    def number(self, value: float) -> str:
        return format_decimal(value, locale=self._locale)

    def duration(self, minutes: int) -> str:
        """Minutes as `12 h 30 min`. Never negative: callers say what is over."""
        hours, rest = divmod(abs(minutes), 60)
        if hours and rest:
            return self("unit.both", hours=self.number(hours), minutes=rest)
        if hours:
            return self("unit.hours", hours=self.number(hours))
        return self("unit.minutes", minutes=rest)

    def date(self, value: Day) -> str:
        """`21 June 2027`."""
        return format_date(_day(value), "long", locale=self._locale)

    def short_date(self, value: Day) -> str:
        """`21 Jun 2027`."""
        return format_date(_day(value), "medium", locale=self._locale)

    def last_day(self, end: Day) -> str:
        """The last day of a period that holds up to, not including, `end`."""
        return self.date(_day(end) - timedelta(days=1))

    def month(self, value: Day) -> str:
        """`Jun`, for the axis of a chart."""
        return format_date(_day(value), "LLL", locale=self._locale)

    def instant(self, value: datetime | str, zone: str) -> str:
        """`21 Jun 2027, 14:30`, by the clock of a zone."""
        local = _instant(value).astimezone(ZoneInfo(zone))
        return f"{self.short_date(local.date())}, {self.clock(local, zone)}"

    def clock(self, value: datetime | time | str, zone: str | None = None) -> str:
        """`14:30`."""
        if isinstance(value, str):
            value = _instant(value) if "T" in value else time.fromisoformat(value)
        tzinfo = ZoneInfo(zone) if zone and isinstance(value, datetime) else None
        return format_time(value, "short", tzinfo=tzinfo, locale=self._locale)

    def weekday_and_clock(self, value: datetime | str, zone: str) -> str:
        """`Monday 23 November, 08:30`."""
        local = _instant(value).astimezone(ZoneInfo(zone))
        day = format_datetime(local, "EEEE d MMMM", tzinfo=ZoneInfo(zone), locale=self._locale)
        return self("unit.day_and_clock", day=day, clock=self.clock(local, zone))

    def until(self, instant: datetime | str, zone: str) -> str:
        """The last day before an instant: `21 June 2027` for the midnight after it."""
        local = _instant(instant).astimezone(ZoneInfo(zone))
        return self.date((local - timedelta(microseconds=1)).date())

    def days_of_week(self, weekdays: Sequence[int]) -> str:
        """Days of the week in order, 0 is Monday: `Monday–Friday`, or one after the other."""
        names = [str(self._locale.days["stand-alone"]["wide"][one]) for one in weekdays]
        if len(names) > 2 and weekdays[-1] - weekdays[0] == len(names) - 1:
            return f"{names[0]}–{names[-1]}"
        return self.joined(names)

    def joined(self, words: Sequence[str]) -> str:
        """`a, b and c`."""
        if len(words) < 2:
            return "".join(words)
        return self("unit.joined", first=", ".join(words[:-1]), last=words[-1])


def _day(value: Day) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _instant(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


WORDINGS: Mapping[Language, Wording] = {language: Wording(language) for language in LANGUAGES}
