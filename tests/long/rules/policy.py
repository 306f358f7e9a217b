"""The published numbers and the matrix, as the clauses state them."""

import calendar
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

Column = Literal["NO_DEV", "DEV", "SA", "TCK"]
Pay = Literal["nothing", "hours", "ticket"]

ROME = ZoneInfo("Europe/Rome")
TERM_MONTHS = 12  # R3, R5, R14, R15, R16
FREE_MINUTES = 300  # R14
CONTRACT_MINUTES = 1200  # R15
REOPEN_WITHIN_DAYS = 30  # R29

COLUMNS: tuple[Column, ...] = ("NO_DEV", "DEV", "SA", "TCK")

# The cells that say yes, with what pays there.
MATRIX: dict[str, dict[Column, Pay]] = {
    "web_forum": {"NO_DEV": "nothing", "DEV": "nothing", "SA": "nothing", "TCK": "nothing"},
    "web_support_portal": {"DEV": "nothing", "SA": "nothing", "TCK": "nothing"},
    "support_downloads": {"DEV": "nothing", "SA": "nothing"},
    "email_support": {"DEV": "hours", "SA": "hours", "TCK": "ticket"},
    "phone_support": {"SA": "hours", "TCK": "ticket"},
    "remote_access": {"SA": "hours", "TCK": "ticket"},
    "priority_support": {"SA": "nothing"},
    "editor_upgrades": {"SA": "nothing"},
}

CHANNELS = ("email", "phone", "remote")
SERVICE_OF_CHANNEL = {
    "email": "email_support",
    "phone": "phone_support",
    "remote": "remote_access",
}
CHANNELS_OF_FREE_HOURS = ("email",)  # R14; contracts and tickets cover all three (R15, R16)
PRIORITIES = ("high", "normal", "low")  # R31, first the most urgent
DESKS = {"IT": "it", "DE": "de"}  # R35


def desk(country: str, named: str | None = None) -> str:
    """R35: the customer's own desk, else the one of its country, else the one abroad."""
    return named or DESKS.get(country, "intl")


def civil_date(instant: datetime) -> date:
    """The civil date of an instant in the vendor's time zone."""
    return instant.astimezone(ROME).date()


def midnight(day: date) -> datetime:
    """The instant, in UTC, at which a civil date begins in the vendor's time zone."""
    return datetime.combine(day, time(), ROME).astimezone(UTC)


def local_instant(day: date, hour: int, minute: int) -> datetime:
    """The instant, in UTC, of a wall clock reading; the first of the two where clocks go back."""
    return datetime.combine(day, time(hour, minute), ROME).astimezone(UTC)


@lru_cache(maxsize=4096)
def add_months(day: date, months: int) -> date:
    """The like day so many months later; twelve after 29 February is 28 February."""
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def term_end(day: date) -> date:
    """The first day after the twelve months that begin on a day."""
    return add_months(day, TERM_MONTHS)
