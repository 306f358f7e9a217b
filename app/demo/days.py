"""Dates of the examples, relative to the day on which they are loaded."""

from collections.abc import Callable
from datetime import date, timedelta

from app.policy.civil import add_months

Day = Callable[[date], date]
"""Takes the day of loading; returns the date."""

_YEAR = 12
_ONE = timedelta(days=1)


def ago(*, months: int = 0, days: int = 0) -> Day:
    return lambda today: add_months(today, -months) - timedelta(days=days)


def today(day: date) -> date:
    return day


def tomorrow(day: date) -> date:
    return day + _ONE


def last_day(day: date) -> date:
    """The first day of twelve months that end with `day`.

    Not simply a year before the next day: on 28 February of a leap year those are over already.
    """
    begins = add_months(day, -_YEAR)
    while add_months(begins, _YEAR) <= day:
        begins += _ONE
    return begins


def day_after(day: date) -> date:
    """The first day of twelve months that ended on the day before `day`."""
    return last_day(day) - _ONE
