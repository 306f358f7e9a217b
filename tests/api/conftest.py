"""What the tests over HTTP share."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time

import pytest

from app import clock


@pytest.fixture
def travel(monkeypatch: pytest.MonkeyPatch) -> Callable[[date], None]:
    """Makes it noon (UTC) of a day for every request that follows."""

    def to(day: date) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.combine(day, time(12), UTC))

    return to
