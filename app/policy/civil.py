"""Civil dates and working hours: the calendar arithmetic under every clause that names a date."""

from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache, reduce
from itertools import pairwise
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
class Closure:
    """A period in which a desk is closed or keeps other hours (R48), half-open, in UTC.

    `hours` take the place of the desk's own on its working days; empty: closed. They are in order
    and do not overlap. Where several closures meet, the desk is open during the hours that all of
    them allow.
    """

    starts_at: datetime
    ends_at: datetime
    hours: tuple[Hours, ...]
    reason: tuple[tuple[str, str], ...]
    """Each language with the reason in it; not a mapping, so that it can be hashed."""

    def because(self, language: str) -> str:
        """The reason in a language."""
        return dict(self.reason)[language]


Closures = Mapping[str, tuple[Closure, ...]]
"""The closures of each desk, by its id, in the order in which they start."""


@dataclass(frozen=True, slots=True)
class DeskState:
    """Whether a desk is open, and the instant (UTC) at which that next changes (R36)."""

    open: bool
    changes_at: datetime
    closure: Closure | None = None
    """The closure without which the desk would be in another state, or change at another instant
    (R48)."""


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
    # The last answers without and with closures, and since when each holds; replaced whole, so
    # that a reader sees old or new.
    _last: dict[bool, tuple[tuple[Closure, ...], datetime, DeskState]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )


def state(schedule: Schedule, at: datetime, closures: tuple[Closure, ...] = ()) -> DeskState:
    """Open or closed at an instant, and until when (R36).

    Past lunch, week-ends, holidays and `closures` (R48). Raises ValueError for an instant without
    an offset, and where no change follows within 400 days after the last closure: the hours never
    come, or the calendar ends.
    """
    usual = _state(schedule, at, ())
    standing = tuple(one for one in closures if one.ends_at > at)
    if not standing:
        return usual
    found = _state(schedule, at, standing)
    if found == usual:
        return usual
    until = max(found.changes_at, usual.changes_at)
    met = [one for one in standing if one.starts_at < until]
    # Of several, the first that changes the answer by itself. One does: where each by itself leaves
    # the desk as it is, so does what they have in common.
    cause = (
        met[0]
        if len(met) == 1
        else next(one for one in met if _look_up(schedule, at, (one,))[1] != usual)
    )
    return DeskState(found.open, found.changes_at, cause)


def _state(schedule: Schedule, at: datetime, closures: tuple[Closure, ...]) -> DeskState:
    last = schedule._last.get(bool(closures))
    if last is not None:
        for_closures, since, answer = last
        if since <= at < answer.changes_at and for_closures == closures:
            return answer
    since, answer = _look_up(schedule, at, closures)
    schedule._last[bool(closures)] = (closures, since, answer)
    return answer


def _look_up(
    schedule: Schedule, at: datetime, closures: tuple[Closure, ...]
) -> tuple[datetime, DeskState]:
    """The answer at an instant, and an instant not after it from which the same answer holds."""
    try:
        today = civil_date(at, schedule.zone)
        since = start_of_day(today, schedule.zone)
        closed_for = max((one.ends_at - at for one in closures), default=timedelta())
        day, last = today, today + _LONGEST_CLOSURE_DAYS * _DAY + closed_for
        while day < last:
            for opens, closes in open_on(schedule, day, closures):
                if at < opens:
                    return since, DeskState(open=False, changes_at=opens)
                if at < closes:
                    return opens, DeskState(open=True, changes_at=closes)
                since = closes
            next_day = day + _DAY
            closed_until = _closed_until(start_of_day(next_day, schedule.zone), closures)
            day = max(next_day, civil_date(closed_until, schedule.zone))
    except OverflowError as error:
        raise ValueError(f"the calendar ends before the desk's next change after {at}") from error
    raise ValueError(f"the desk never opens within {_LONGEST_CLOSURE_DAYS} days of {at}")


def _closed_until(instant: datetime, closures: tuple[Closure, ...]) -> datetime:
    """The end of the days that need no look at their hours: from `instant` to there the closures
    leave no hours in common. `instant` itself if they leave some.
    """
    covering = [one for one in closures if one.starts_at <= instant < one.ends_at]
    if not covering or _common(frozenset(one.hours for one in covering)):
        return instant
    return min(one.ends_at for one in covering)


def open_on(
    schedule: Schedule, day: date, closures: tuple[Closure, ...]
) -> list[tuple[datetime, datetime]]:
    """The stretches of a civil day during which the desk is open, in UTC; touching ones merged."""
    if day.weekday() not in schedule.weekdays:
        return []
    if day in _public_holidays(schedule.country, schedule.subdivision, day.year):
        return []
    stretches: list[tuple[datetime, datetime]] = []
    pieces = (
        (*piece, offset)
        for begins, ends, offset in _even_pieces(day, schedule.zone)
        for piece in _worked_pieces(schedule.hours, begins, ends, closures)
    )
    for begins, ends, worked, offset in pieces:
        for hours in worked:
            opens = max(begins, datetime.combine(day, hours.opens, UTC) - offset)
            closes = min(ends, datetime.combine(day, hours.closes, UTC) - offset)
            if opens >= closes:
                continue
            if stretches and stretches[-1][1] == opens:
                opens = stretches.pop()[0]
            stretches.append((opens, closes))
    return stretches


def _worked_pieces(
    usual: tuple[Hours, ...], begins: datetime, ends: datetime, closures: tuple[Closure, ...]
) -> Iterator[tuple[datetime, datetime, tuple[Hours, ...]]]:
    """A stretch of time cut where a closure starts or ends: each piece with its hours (R48)."""
    met = [one for one in closures if one.starts_at < ends and one.ends_at > begins]
    bounds = {instant for one in met for instant in (one.starts_at, one.ends_at)}
    cuts = [begins, *sorted(one for one in bounds if begins < one < ends), ends]
    for start, end in pairwise(cuts):
        covering = frozenset(
            one.hours for one in met if one.starts_at <= start and one.ends_at >= end
        )
        yield start, end, _common(covering) if covering else usual


# Without the cache every day of a long closure would intersect the same hours again.
@lru_cache(maxsize=1024)
def _common(several: frozenset[tuple[Hours, ...]]) -> tuple[Hours, ...]:
    """The hours that all have."""
    return reduce(_both, several)


def _both(some: tuple[Hours, ...], others: tuple[Hours, ...]) -> tuple[Hours, ...]:
    both = (
        Hours(max(one.opens, other.opens), min(one.closes, other.closes))
        for one in some
        for other in others
    )
    return tuple(hours for hours in both if hours.opens < hours.closes)


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
