"""Cases over HTTP, clause by clause."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time

DAY = date(2026, 3, 10)
"""The day on which these tests begin, so that their dates mean the same every day."""

Travel = Callable[[date], None]


def noon(day: date) -> str:
    """An instant of that day, as the wire wants it; the clock of `travel` shows the same."""
    return datetime.combine(day, time(12), UTC).isoformat()
