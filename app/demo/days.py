"""Days of the examples, said as seen from the day on which they are loaded."""

from collections.abc import Callable
from datetime import date, timedelta

from app.policy.civil import add_months

Day = Callable[[date], date]
"""From the day of loading to the day meant."""

_YEAR = 12
_ONE = timedelta(days=1)


def ago(*, months: int = 0, days: int = 0) -> Day:
    return lambda today: add_months(today, -months) - timedelta(days=days)


def today(day: date) -> date:
    return day


def tomorrow(day: date) -> date:
    return day + _ONE


def last_day(day: date) -> date:
    """Where twelve months begin of which this is the last day.

    Not simply a year ago tomorrow: on 28 February the twelve months since either end may be over.
    """
    begins = add_months(day, -_YEAR)
    while add_months(begins, _YEAR) <= day:
        begins += _ONE
    return begins


def day_after(day: date) -> date:
    """Where the latest twelve months begin that are over on this day."""
    return last_day(day) - _ONE
