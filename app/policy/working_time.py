"""The working time of a help desk: how much of it lies between two instants (R34-R36, R42, R48)."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache

from app.policy.civil import Closure, Schedule, civil_date, open_on
from app.policy.document import Policies

_DAY = timedelta(days=1)
_NOTHING = timedelta()
# Past that a search for a target ends: nobody waits for it.
_LONGEST_SEARCH_DAYS = 3 * 366
# As many days as a case may have stood open; further back an age only says that it is older.
_LONGEST_AGE_DAYS = 20 * 366
# About two hundred years. A cache of days that nobody asks for any more would only grow.
_MOST_DAYS = 75_000

Stretches = list[tuple[datetime, datetime]]


class WorkingTime:
    """The hours of one desk. `schedule_on` gives those of a civil day by the desk's clock."""

    def __init__(
        self, schedule_on: Callable[[date], Schedule], closures: tuple[Closure, ...] = ()
    ) -> None:
        self._schedule_on = schedule_on
        self._closures = closures
        self._days: dict[date, Stretches] = {}

    def between(self, start: datetime, end: datetime) -> timedelta:
        """The working time in [start, end); none if the end is not after the start."""
        worked = _NOTHING
        if start >= end:
            return worked
        last = self._day_of(end)
        for day in self._from(start):
            for opens, closes in self._on(day):
                if opens < end and closes > start:
                    worked += min(closes, end) - max(opens, start)
            if day >= last:
                break
        return worked

    def beyond(self, start: datetime, allowed: timedelta) -> datetime | None:
        """The first instant after which more working time than `allowed` has passed since a start.

        What is used up at the end of a working day is exceeded when the next one begins. None if
        that does not come within three years.
        """
        left = allowed
        for number, day in enumerate(self._from(start)):
            if number > _LONGEST_SEARCH_DAYS:
                return None
            for opens, closes in self._on(day):
                begins = max(opens, start)
                if closes <= begins:
                    continue
                if closes - begins > left:
                    return begins + left
                left -= closes - begins
        return None

    def back(self, end: datetime, worked: timedelta) -> datetime:
        """The last instant from which so much working time has passed until an end.

        For more than in twenty years, the beginning of these.
        """
        left, day = worked, self._day_of(end)
        if not left:
            return end
        for _ in range(_LONGEST_AGE_DAYS):
            for opens, closes in reversed(self._on(day)):
                ends = min(closes, end)
                if ends <= opens:
                    continue
                if ends - opens >= left:
                    return ends - left
                left -= ends - opens
            day -= _DAY
        return end - _LONGEST_AGE_DAYS * _DAY

    def _day_of(self, at: datetime) -> date:
        # The zone of that day's schedule; two versions of a desk differ in it by hours at most.
        return civil_date(at, self._schedule_on(at.date()).zone)

    def _from(self, start: datetime) -> Iterator[date]:
        day = self._day_of(start)
        while True:
            yield day
            day += _DAY

    def _on(self, day: date) -> Stretches:
        found = self._days.get(day)
        if found is None:
            if len(self._days) >= _MOST_DAYS:
                self._days.clear()
            found = self._days[day] = open_on(self._schedule_on(day), day, self._met(day))
        return found

    def _met(self, day: date) -> tuple[Closure, ...]:
        """The closures about that day. A civil day lies within 14 hours of the same day in UTC."""
        return tuple(
            one
            for one in self._closures
            if one.starts_at.date() <= day + _DAY and one.ends_at.date() >= day - _DAY
        )


# The days that one customer's case has made known serve the next one's.
@lru_cache(maxsize=32)
def working_time(policies: Policies, desk: str, closures: tuple[Closure, ...] = ()) -> WorkingTime:
    """The working time of a desk by its id, on each day by the policy in force on it (R35)."""
    return WorkingTime(lambda day: policies.in_force(day).desk_for("", desk).schedule, closures)
