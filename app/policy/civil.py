"""Civil dates and working hours: the calendar arithmetic under every clause that names a date."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# A desk that opens at all opens within a year; past that the search ends instead of running away.
_LONGEST_CLOSURE_DAYS = 400


@lru_cache(maxsize=16384)
def add_months(day: date, months: int) -> date:
    """The same day of the month, `months` later (earlier if negative).

    A day which that month lacks becomes its last: twelve months after 29 February is 28 February.
    Raises ValueError past the years 1 to 9999.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    try:
        return day.replace(year=year, month=month + 1)
    except ValueError:
        return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def civil_date(instant: datetime, zone: ZoneInfo) -> date:
    """The date on a wall calendar in `zone` at an instant.

    Raises ValueError for an instant without an offset, OverflowError past the years 1 to 9999.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs an offset")
    return instant.astimezone(zone).date()


@lru_cache(maxsize=4096)
def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, of that civil day; where clocks skip midnight, after the skip."""
    earlier, later = sorted(
        datetime.combine(day, time.min, zone).replace(fold=fold).astimezone(UTC) for fold in (0, 1)
    )
    if earlier == later or civil_date(earlier, zone) == day:
        return earlier
    return _clock_change(earlier, later, zone)


@dataclass(frozen=True, slots=True)
class Hours:
    """Wall-clock times of one day, half-open: open at `opens`, closed again at `closes`."""

    opens: time
    closes: time


@dataclass(frozen=True, slots=True)
class DeskState:
    """Whether a desk is open, and the instant (UTC) at which that next changes (R36)."""

    open: bool
    changes_at: datetime


@dataclass(frozen=True)
class Schedule:
    """When a desk works: its hours on weekdays (0 is Monday) that are no public holiday (R34).

    `hours` are in order and do not overlap; the policy document's validation sees to it.
    """

    zone: ZoneInfo
    weekdays: frozenset[int]
    hours: tuple[Hours, ...]
    country: str
    subdivision: str | None = None
    # The last answer and since when it holds; replaced whole, so that a reader sees old or new.
    _last: list[tuple[datetime, DeskState]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )


def state(schedule: Schedule, at: datetime) -> DeskState:
    """Open or closed at an instant, and until when, past lunch, week-ends and holidays (R36).

    Raises ValueError for an instant without an offset, and where no change follows within 400 days:
    the hours never come, or the calendar ends.
    """
    for since, answer in schedule._last:
        if since <= at < answer.changes_at:
            return answer
    since, answer = _look_up(schedule, at)
    schedule._last[:] = ((since, answer),)
    return answer


def _look_up(schedule: Schedule, at: datetime) -> tuple[datetime, DeskState]:
    """The answer at an instant, and an instant not after it from which the same answer holds."""
    try:
        today = civil_date(at, schedule.zone)
        since = start_of_day(today, schedule.zone)
        for days in range(_LONGEST_CLOSURE_DAYS):
            for opens, closes in _open_on(schedule, today + days * _DAY):
                if at < opens:
                    return since, DeskState(open=False, changes_at=opens)
                if at < closes:
                    return opens, DeskState(open=True, changes_at=closes)
                since = closes
    except OverflowError as error:
        raise ValueError(f"the calendar ends before the desk's next change after {at}") from error
    raise ValueError(f"the desk never opens within {_LONGEST_CLOSURE_DAYS} days of {at}")


def _open_on(schedule: Schedule, day: date) -> list[tuple[datetime, datetime]]:
    """The stretches of a civil day during which the desk is open, in UTC; touching ones merged."""
    if day.weekday() not in schedule.weekdays:
        return []
    if day in _public_holidays(schedule.country, schedule.subdivision, day.year):
        return []
    stretches: list[tuple[datetime, datetime]] = []
    for begins, ends, offset in _even_pieces(day, schedule.zone):
        for hours in schedule.hours:
            opens = max(begins, datetime.combine(day, hours.opens, UTC) - offset)
            closes = min(ends, datetime.combine(day, hours.closes, UTC) - offset)
            if opens >= closes:
                continue
            if stretches and stretches[-1][1] == opens:
                opens = stretches.pop()[0]
            stretches.append((opens, closes))
    return stretches


def _even_pieces(day: date, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """A civil day cut, in UTC, where the clocks change: each piece with its one offset from UTC.

    Without the cut, working hours on such a day would be off by the hour that the clock change
    skips or repeats.
    """
    begins, ends = start_of_day(day, zone), start_of_day(day + _DAY, zone)
    before, after = _offset(begins, zone), _offset(ends, zone)
    if before == after:
        yield begins, ends, before
        return
    change = _clock_change(begins, ends, zone)
    yield begins, change, before
    yield change, ends, after


def _clock_change(earlier: datetime, later: datetime, zone: ZoneInfo) -> datetime:
    """The first second of the new offset, given two instants with one change of offset between."""
    before = _offset(earlier, zone)
    while later - earlier > _SECOND:
        middle = earlier + (later - earlier) // (2 * _SECOND) * _SECOND
        if _offset(middle, zone) == before:
            earlier = middle
        else:
            later = middle
    return later


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


@lru_cache(maxsize=512)
def _public_holidays(country: str, subdivision: str | None, year: int) -> frozenset[date]:
    """The public holidays; half days and merely customary ones are worked.

    Years that the package does not know (Germany's before 1991, any after 2100) have none.
    """
    return frozenset(
        holidays.country_holidays(
            country, subdiv=subdivision, years=year, categories=holidays.PUBLIC
        )
    )
