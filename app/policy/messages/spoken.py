"""Times, days and durations as a voice says them: in words and whole numbers, nothing abbreviated.

Each language has its own way to tell the time, so these are functions and not texts of a catalogue.
"""

from collections.abc import Callable
from datetime import date, datetime
from typing import NamedTuple

from babel.dates import format_date


def _english_clock(hour: int, minute: int) -> str:
    if minute == 0 and hour in (0, 12):
        return "noon" if hour else "midnight"
    if hour == 0 or hour >= 22:
        part = "at night"
    elif hour < 12:
        part = "in the morning"
    else:
        part = "in the afternoon" if hour < 18 else "in the evening"
    this, following = (hour - 1) % 12 + 1, hour % 12 + 1
    match minute:
        case 0:
            told = f"{this} o'clock"
        case 15:
            told = f"a quarter past {this}"
        case 30:
            told = f"half past {this}"
        case 45:
            told = f"a quarter to {following}"
        case _ if minute < 30:
            told = f"{_ENGLISH.minutes(minute)} past {this}"
        case _:
            told = f"{_ENGLISH.minutes(60 - minute)} to {following}"
    return f"{told} {part}"


def _italian_clock(hour: int, minute: int) -> str:
    told = {0: "a mezzanotte", 1: "all'una"}.get(hour, f"alle {hour}")
    return f"{told} e {minute}" if minute else told


def _german_clock(hour: int, minute: int) -> str:
    told = "ein Uhr" if hour == 1 else f"{hour} Uhr"
    return f"{told} {minute}" if minute else told


def _english_day(day: date) -> str:
    ending = "th" if 11 <= day.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return f"{day.day}{ending} of {format_date(day, 'MMMM', 'en_GB')}"


def _italian_day(day: date) -> str:
    return f"{'primo' if day.day == 1 else day.day} {format_date(day, 'MMMM', 'it_IT')}"


def _german_day(day: date) -> str:
    return format_date(day, "d. MMMM", "de_DE")


class _Voice(NamedTuple):
    clock: Callable[[int, int], str]
    day: Callable[[date], str]
    one_hour: str
    several_hours: str
    one_minute: str
    several_minutes: str
    conjunction: str

    def hours(self, count: int) -> str:
        return self.one_hour if count == 1 else f"{count} {self.several_hours}"

    def minutes(self, count: int) -> str:
        return self.one_minute if count == 1 else f"{count} {self.several_minutes}"


_ENGLISH = _Voice(_english_clock, _english_day, "one hour", "hours", "one minute", "minutes", "and")
_VOICES = {
    "en": _ENGLISH,
    "it": _Voice(_italian_clock, _italian_day, "un'ora", "ore", "un minuto", "minuti", "e"),
    "de": _Voice(
        _german_clock, _german_day, "eine Stunde", "Stunden", "eine Minute", "Minuten", "und"
    ),
}


def clock(local: datetime, language: str) -> str:
    """The time of day: "half past 8 in the morning", "8 Uhr 30", or with its preposition "alle 8".

    Raises KeyError for a language without a voice.
    """
    return _VOICES[language].clock(local.hour, local.minute)


def day(local: date, language: str) -> str:
    """A day of the coming months: "1st of December", "primo dicembre", "1. Dezember"."""
    return _VOICES[language].day(local)


def duration(minutes: int, language: str) -> str:
    """Whole minutes as hours and minutes: "one hour and 5 minutes"."""
    voice = _VOICES[language]
    hours, rest = divmod(minutes, 60)
    said = [voice.hours(hours)] if hours else []
    if rest or not hours:
        said.append(voice.minutes(rest))
    return f" {voice.conjunction} ".join(said)
