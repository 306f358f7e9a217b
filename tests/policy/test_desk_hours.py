"""The help desks' hours, against times worked out by hand and a clock on the wall."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.policy.civil import DeskState, Hours, Schedule, state

ROME, ZURICH, BERLIN = ZoneInfo("Europe/Rome"), ZoneInfo("Europe/Zurich"), ZoneInfo("Europe/Berlin")
WORKING_DAYS = frozenset(range(5))
Desk = Callable[[], Schedule]


def hours(*pairs: str) -> tuple[Hours, ...]:
    both = (pair.split("-") for pair in pairs)
    return tuple(Hours(time.fromisoformat(a), time.fromisoformat(b)) for a, b in both)


def italy() -> Schedule:
    return Schedule(ROME, WORKING_DAYS, hours("08:30-12:00", "14:00-17:30"), "IT")


def abroad() -> Schedule:
    return Schedule(ZURICH, WORKING_DAYS, hours("08:30-12:30", "13:30-17:30"), "CH", "TI")


def germany() -> Schedule:
    return Schedule(BERLIN, WORKING_DAYS, hours("08:30-12:00", "13:00-17:00"), "DE")


def at_rome(text: str) -> datetime:
    """A wall-clock time in Rome, as an instant; all three desks share its clock since 1981."""
    return datetime.fromisoformat(text).replace(tzinfo=ROME).astimezone(UTC)


@pytest.mark.parametrize(
    ("clock", "is_open", "changes"),
    [
        ("2026-11-23T08:29", False, "2026-11-23T08:30"),
        ("2026-11-23T08:29:59.999999", False, "2026-11-23T08:30"),
        ("2026-11-23T08:30", True, "2026-11-23T12:00"),
        ("2026-11-23T11:59", True, "2026-11-23T12:00"),
        ("2026-11-23T12:00", False, "2026-11-23T14:00"),
        ("2026-11-23T13:59", False, "2026-11-23T14:00"),
        ("2026-11-23T14:00", True, "2026-11-23T17:30"),
        ("2026-11-23T17:29", True, "2026-11-23T17:30"),
        ("2026-11-23T17:30", False, "2026-11-24T08:30"),
        ("2026-11-23T00:00", False, "2026-11-23T08:30"),
        # Friday evening to Monday; over the clock change in each direction.
        ("2026-11-27T17:30", False, "2026-11-30T08:30"),
        ("2026-11-28T10:00", False, "2026-11-30T08:30"),
        ("2026-11-29T23:59", False, "2026-11-30T08:30"),
        ("2026-03-27T17:30", False, "2026-03-30T08:30"),
        ("2026-03-29T12:00", False, "2026-03-30T08:30"),
        ("2026-10-23T17:30", False, "2026-10-26T08:30"),
        ("2026-10-25T12:00", False, "2026-10-26T08:30"),
        # Christmas 2026 is a Friday, Saint Stephen's a Saturday; New Year and Epiphany 2027.
        ("2026-12-24T17:30", False, "2026-12-28T08:30"),
        ("2026-12-25T10:00", False, "2026-12-28T08:30"),
        ("2026-12-31T17:30", False, "2027-01-04T08:30"),
        ("2027-01-05T17:30", False, "2027-01-07T08:30"),
        # Good Friday is worked in Italy; Easter Monday is not.
        ("2026-04-03T10:00", True, "2026-04-03T12:00"),
        ("2026-04-03T17:30", False, "2026-04-07T08:30"),
        ("2025-08-14T17:30", False, "2025-08-18T08:30"),
        ("2025-08-15T10:00", False, "2025-08-18T08:30"),
        # San Giuseppe and German Unity are working days here, the Republic's day is not.
        ("2026-03-19T10:00", True, "2026-03-19T12:00"),
        ("2025-10-03T10:00", True, "2025-10-03T12:00"),
        ("2026-06-02T10:00", False, "2026-06-03T08:30"),
    ],
)
def test_italy(clock: str, is_open: bool, changes: str) -> None:
    assert state(italy(), at_rome(clock)) == DeskState(is_open, at_rome(changes))


@pytest.mark.parametrize(
    ("desk", "clock", "is_open", "changes"),
    [
        (abroad, "2026-11-23T12:29", True, "2026-11-23T12:30"),
        (abroad, "2026-11-23T12:30", False, "2026-11-23T13:30"),
        (abroad, "2026-03-18T17:30", False, "2026-03-20T08:30"),
        (abroad, "2026-03-19T10:00", False, "2026-03-20T08:30"),
        (abroad, "2026-04-03T10:00", True, "2026-04-03T12:30"),
        (abroad, "2026-06-29T10:00", False, "2026-06-30T08:30"),
        (abroad, "2025-08-01T10:00", False, "2025-08-04T08:30"),
        (abroad, "2026-06-02T10:00", True, "2026-06-02T12:30"),
        (germany, "2026-11-23T12:59", False, "2026-11-23T13:00"),
        (germany, "2026-11-23T17:00", False, "2026-11-24T08:30"),
        (germany, "2025-10-02T17:00", False, "2025-10-06T08:30"),
        (germany, "2025-10-03T10:00", False, "2025-10-06T08:30"),
        (germany, "2026-04-03T10:00", False, "2026-04-07T08:30"),
        (germany, "2026-05-14T10:00", False, "2026-05-15T08:30"),
        (germany, "2026-06-04T10:00", True, "2026-06-04T12:00"),
        (germany, "2026-12-24T10:00", True, "2026-12-24T12:00"),
        (germany, "2026-12-31T10:00", True, "2026-12-31T12:00"),
    ],
)
def test_abroad_and_germany(desk: Desk, clock: str, is_open: bool, changes: str) -> None:
    assert state(desk(), at_rome(clock)) == DeskState(is_open, at_rome(changes))


def test_hours_that_touch_are_one() -> None:
    desk = Schedule(ROME, WORKING_DAYS, hours("08:00-12:00", "12:00-16:00", "16:00-17:00"), "IT")
    assert state(desk, at_rome("2026-11-23T09:00")) == DeskState(True, at_rome("2026-11-23T17:00"))
    assert state(desk, at_rome("2026-11-23T12:00")) == DeskState(True, at_rome("2026-11-23T17:00"))


@pytest.mark.parametrize(
    ("opening", "instant", "is_open", "changes"),
    [
        # 29 March: 02:00 is followed by 03:00, so that the hours begin and end at the skip.
        ("01:00-02:30", "2026-03-29T00:59Z", True, "2026-03-29T01:00Z"),
        ("02:30-05:00", "2026-03-29T00:59Z", False, "2026-03-29T01:00Z"),
        ("02:30-05:00", "2026-03-29T01:00Z", True, "2026-03-29T03:00Z"),
        ("01:00-05:00", "2026-03-29T00:30Z", True, "2026-03-29T03:00Z"),
        ("02:15-02:45", "2026-03-29T00:00Z", False, "2026-04-05T00:15Z"),
        # 25 October: 02:00 to 03:00 comes twice, and so do the hours within it.
        ("02:15-02:45", "2026-10-25T00:20Z", True, "2026-10-25T00:45Z"),
        ("02:15-02:45", "2026-10-25T00:45Z", False, "2026-10-25T01:15Z"),
        ("02:15-02:45", "2026-10-25T01:15Z", True, "2026-10-25T01:45Z"),
        ("01:00-02:30", "2026-10-25T00:30Z", False, "2026-10-25T01:00Z"),
        ("01:00-05:00", "2026-10-25T00:30Z", True, "2026-10-25T04:00Z"),
        ("03:00-05:00", "2026-10-25T00:30Z", False, "2026-10-25T02:00Z"),
    ],
)
def test_hours_that_a_clock_change_cuts(
    opening: str, instant: str, is_open: bool, changes: str
) -> None:
    sundays = Schedule(ROME, frozenset({6}), hours(opening), "DE")
    expected = DeskState(is_open, datetime.fromisoformat(changes))
    assert state(sundays, datetime.fromisoformat(instant)) == expected


@pytest.mark.parametrize("year", [1990, 2101, 2199])
@pytest.mark.parametrize("desk", [italy, abroad, germany])
def test_far_years_have_an_answer(desk: Desk, year: int) -> None:
    before = datetime(year, 6, 15, 23, tzinfo=UTC)
    answer = state(desk(), before)
    assert not answer.open
    assert before < answer.changes_at <= before + timedelta(days=3)


def test_a_desk_that_never_opens_is_a_value_error() -> None:
    never = Schedule(ROME, frozenset(), hours("08:30-12:00"), "IT")
    with pytest.raises(ValueError, match="never opens"):
        state(never, at_rome("2026-11-23T10:00"))


def test_an_instant_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        state(italy(), datetime.fromisoformat("2026-11-23T10:00"))


@pytest.mark.parametrize("edge", ["0001-01-01T00:00Z", "9999-12-31T23:00Z", "9999-12-31T12:00Z"])
def test_the_calendar_has_ends(edge: str) -> None:
    with pytest.raises(ValueError, match="calendar ends"):
        state(italy(), datetime.fromisoformat(edge))


def test_the_offset_of_the_question_does_not_matter() -> None:
    asked = at_rome("2026-11-23T10:00")
    elsewhere = asked.astimezone(timezone(timedelta(hours=-8)))
    assert state(italy(), elsewhere) == state(italy(), asked)
    assert state(italy(), elsewhere).changes_at.tzinfo is UTC


EASTER_2024, EASTER_2025 = date(2024, 3, 31), date(2025, 4, 20)
# From the laws, not from the package that the implementation asks.
FIXED = {
    "IT": "01-01 01-06 04-25 05-01 06-02 08-15 11-01 12-08 12-25 12-26",
    "CH": "01-01 01-06 03-19 05-01 06-29 08-01 08-15 11-01 12-08 12-25 12-26",
    "DE": "01-01 05-01 10-03 12-25 12-26",
}
# Days after Easter: Good Friday, Easter Monday, Ascension, Whit Monday, Corpus Christi.
MOVING = {"IT": [1], "CH": [1, 39, 50, 60], "DE": [-2, 1, 39, 50]}
MINUTE = timedelta(minutes=1)
FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)


def free_days(country: str) -> set[date]:
    fixed = {
        date.fromisoformat(f"{y}-{day}") for y in (2024, 2025) for day in FIXED[country].split()
    }
    return fixed | {
        easter + timedelta(days=days)
        for easter in (EASTER_2024, EASTER_2025)
        for days in MOVING[country]
    }


def walk(zone: ZoneInfo, free: set[date], open_minutes: set[int]) -> list[bool]:
    """For each minute of the two years, whether the clock on the wall says open."""
    seen = []
    instant = FIRST
    while instant < LAST:
        wall = instant.astimezone(zone)
        working = wall.weekday() < 5 and wall.date() not in free
        seen.append(working and wall.hour * 60 + wall.minute in open_minutes)
        instant += MINUTE
    return seen


def answers(seen: list[bool]) -> list[DeskState]:
    """What was seen at each minute and the next one that differs, up to the last that has one."""
    found = []
    change = None
    for minute in range(len(seen) - 2, -1, -1):
        if seen[minute] != seen[minute + 1]:
            change = FIRST + MINUTE * (minute + 1)
        if change is not None:
            found.append(DeskState(seen[minute], change))
    return found[::-1]


@pytest.mark.parametrize(
    ("desk", "minutes"),
    [
        (italy, {*range(8 * 60 + 30, 12 * 60), *range(14 * 60, 17 * 60 + 30)}),
        (abroad, {*range(8 * 60 + 30, 12 * 60 + 30), *range(13 * 60 + 30, 17 * 60 + 30)}),
        (germany, {*range(8 * 60 + 30, 12 * 60), *range(13 * 60, 17 * 60)}),
    ],
)
def test_every_minute_of_two_years(desk: Desk, minutes: set[int]) -> None:
    schedule = desk()
    expected = answers(walk(schedule.zone, free_days(schedule.country), minutes))
    assert len(expected) > 2 * 365 * 24 * 60 - 3 * 24 * 60
    for minute, answer in enumerate(expected):
        assert state(schedule, FIRST + MINUTE * minute) == answer

    # Asked in any order, also back within a day, a schedule answers as one never asked before.
    dice = Random(42)
    for _ in range(2000):
        later = dice.randrange(720, len(expected))
        for minute in (later, later - dice.randrange(720)):
            instant = FIRST + MINUTE * minute
            assert state(schedule, instant) == state(desk(), instant) == expected[minute]


def test_threads_share_a_schedule() -> None:
    shared = italy()
    dice = Random(7)
    instants = [FIRST + MINUTE * dice.randrange(500_000) for _ in range(2000)]
    alone = [state(italy(), instant) for instant in instants]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda instant: state(shared, instant), instants)) == alone
