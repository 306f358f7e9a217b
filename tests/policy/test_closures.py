"""Closures of help desks (R48), against times worked out by hand and a clock on the wall."""

from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import pytest

from app.policy import civil
from app.policy.civil import Closure, DeskState, Hours, Schedule, state
from app.policy.messages import say_desk

ROME = ZoneInfo("Europe/Rome")
WORKING_DAYS = frozenset(range(5))
REASON = (("it", "Ferie"), ("en", "Summer holidays"), ("de", "Betriebsferien"))


def hours(*pairs: str) -> tuple[Hours, ...]:
    both = (pair.split("-") for pair in pairs)
    return tuple(Hours(time.fromisoformat(a), time.fromisoformat(b)) for a, b in both)


USUAL = hours("08:30-12:00", "14:00-17:30")


def italy() -> Schedule:
    return Schedule(ROME, WORKING_DAYS, USUAL, "IT")


def at_rome(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ROME).astimezone(UTC)


def closure(starts_at: str, ends_at: str, *open_: str) -> Closure:
    return Closure(at_rome(starts_at), at_rome(ends_at), hours(*open_), REASON)


AUGUST = closure("2026-08-08T00:00", "2026-08-24T00:00")
STRIKE = closure("2026-11-27T12:00", "2026-11-27T18:00")
EVE = closure("2026-12-24T00:00", "2026-12-25T00:00", "09:00-11:00", "11:30-13:00")
OVERNIGHT = closure("2026-11-23T17:00", "2026-11-24T10:00")
SPRING = closure("2026-03-29T00:00", "2026-03-30T12:00")
INVENTORY = closure("2026-11-28T00:00", "2026-11-30T10:00")


@pytest.mark.parametrize(
    ("closures", "clock", "is_open", "changes", "cause"),
    [
        # Weeks in summer: closed on each day, and before, on the last evening.
        ((AUGUST,), "2026-08-07T17:29", True, "2026-08-07T17:30", None),
        ((AUGUST,), "2026-08-07T17:30", False, "2026-08-24T08:30", AUGUST),
        ((AUGUST,), "2026-08-12T10:00", False, "2026-08-24T08:30", AUGUST),
        ((AUGUST,), "2026-08-24T00:00", False, "2026-08-24T08:30", None),
        ((AUGUST,), "2026-08-24T08:30", True, "2026-08-24T12:00", None),
        # A strike on a Friday afternoon, which begins in the lunch break.
        ((STRIKE,), "2026-11-27T11:59", True, "2026-11-27T12:00", None),
        ((STRIKE,), "2026-11-27T12:00", False, "2026-11-30T08:30", STRIKE),
        ((STRIKE,), "2026-11-27T15:00", False, "2026-11-30T08:30", STRIKE),
        ((STRIKE,), "2026-11-27T17:45", False, "2026-11-30T08:30", None),
        ((STRIKE,), "2026-11-28T10:00", False, "2026-11-30T08:30", None),
        # Other hours on a day: they take the place of the desk's own.
        ((EVE,), "2026-12-23T17:30", False, "2026-12-24T09:00", EVE),
        ((EVE,), "2026-12-24T08:30", False, "2026-12-24T09:00", EVE),
        ((EVE,), "2026-12-24T09:00", True, "2026-12-24T11:00", EVE),
        ((EVE,), "2026-12-24T11:15", False, "2026-12-24T11:30", EVE),
        ((EVE,), "2026-12-24T12:30", True, "2026-12-24T13:00", EVE),
        ((EVE,), "2026-12-24T13:00", False, "2026-12-28T08:30", EVE),
        # Across midnight.
        ((OVERNIGHT,), "2026-11-23T16:00", True, "2026-11-23T17:00", OVERNIGHT),
        ((OVERNIGHT,), "2026-11-23T17:00", False, "2026-11-24T10:00", OVERNIGHT),
        ((OVERNIGHT,), "2026-11-24T10:00", True, "2026-11-24T12:00", None),
        # Over the week-end on which the clocks change.
        ((SPRING,), "2026-03-29T12:00", False, "2026-03-30T14:00", SPRING),
        # On a week-end nothing opens, whatever the hours of a closure; two closures that meet.
        (
            (closure("2026-11-28T00:00", "2026-11-30T00:00", "09:00-12:00"),),
            "2026-11-28T10:00",
            False,
            "2026-11-30T08:30",
            None,
        ),
        ((STRIKE, INVENTORY), "2026-11-27T15:00", False, "2026-11-30T10:00", STRIKE),
        ((STRIKE, INVENTORY), "2026-11-27T18:00", False, "2026-11-30T10:00", INVENTORY),
        # The closure of the week-end changes nothing; the one after it does.
        (
            (
                closure("2026-11-28T00:00", "2026-11-29T00:00"),
                closure("2026-11-30T08:00", "2026-11-30T10:00"),
            ),
            "2026-11-28T10:00",
            False,
            "2026-11-30T10:00",
            closure("2026-11-30T08:00", "2026-11-30T10:00"),
        ),
        # What begins only when the desk would open anyway is not why it opens sooner.
        (
            (
                closure("2026-11-27T14:00", "2026-11-27T18:00"),
                closure("2026-11-27T12:00", "2026-11-27T14:00", "13:00-14:00"),
            ),
            "2026-11-27T12:15",
            False,
            "2026-11-27T13:00",
            closure("2026-11-27T12:00", "2026-11-27T14:00", "13:00-14:00"),
        ),
        # Where two overlap, the desk is open only when both allow it.
        (
            (EVE, closure("2026-12-24T00:00", "2026-12-24T12:00", "10:00-12:00")),
            "2026-12-24T09:00",
            False,
            "2026-12-24T10:00",
            EVE,
        ),
    ],
)
def test_by_hand(
    closures: tuple[Closure, ...], clock: str, is_open: bool, changes: str, cause: Closure | None
) -> None:
    found = state(italy(), at_rome(clock), closures)
    assert found == DeskState(is_open, at_rome(changes), cause)


def test_closures_of_years_on_end_are_searched_to_their_end() -> None:
    closures = tuple(
        closure(f"20{year}-01-01T00:00", f"20{year + 1}-01-01T00:00") for year in (27, 28)
    )
    found = state(italy(), at_rome("2027-01-04T10:00"), closures)
    assert found == DeskState(False, at_rome("2029-01-02T08:30"), closures[0])


def test_many_overlapping_closures_are_searched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """99 of them have hours in common, which the last excludes: closed for the whole year."""
    year = ("2027-01-01T00:00", "2028-01-01T00:00")
    closures = (
        *(
            closure(*year, *(f"{hour:02}:00-{hour:02}:{30 - place % 7}" for hour in range(8, 18)))
            for place in range(99)
        ),
        closure(*year, "06:00-06:30"),
    )
    days: list[date] = []
    open_on = civil.open_on

    def counted(schedule: Schedule, day: date, closures: tuple[Closure, ...]) -> Any:
        days.append(day)
        return open_on(schedule, day, closures)

    monkeypatch.setattr(civil, "open_on", counted)
    found = state(italy(), at_rome("2027-01-04T10:00"), closures)
    assert len(days) < 10
    assert found == DeskState(False, at_rome("2028-01-03T08:30"), closures[0])


def open_by_the_wall(closures: tuple[Closure, ...], instant: datetime) -> bool:
    local = instant.astimezone(ROME)
    if local.weekday() > 4 or local.date() in _HOLIDAYS:
        return False
    standing = [one for one in closures if one.starts_at <= instant < one.ends_at]
    kept = [one.hours for one in standing] or [USUAL]
    clock = local.time()
    return all(any(h.opens <= clock < h.closes for h in some) for some in kept)


_HOLIDAYS = holidays.country_holidays("IT", years=[2026, 2027])


@pytest.mark.parametrize("seed", range(60))
def test_against_a_clock_on_the_wall(seed: int) -> None:
    random = Random(seed)
    # Around the days on which the clocks change, and around Christmas.
    around = random.choice([date(2026, 3, 27), date(2026, 10, 23), date(2026, 12, 22)])
    begins = datetime.combine(around, time(), ROME).astimezone(UTC)

    def moment() -> datetime:
        return begins + timedelta(minutes=15 * random.randrange(6 * 96))

    closures = []
    for _ in range(random.randint(1, 4)):
        start, end = sorted({moment(), moment(), begins})[-2:]
        own = random.choice([(), hours("09:00-12:30"), hours("07:15-10:00", "10:00-18:45")])
        closures.append(Closure(start, end, own, REASON))
    closures.sort(key=lambda one: one.starts_at)
    schedule = italy()
    for _ in range(40):
        at = moment() + timedelta(seconds=random.randrange(900))
        found = state(schedule, at, tuple(closures))
        assert found.open == open_by_the_wall(tuple(closures), at)
        step = at.replace(second=0) + timedelta(minutes=1)
        while open_by_the_wall(tuple(closures), step) == found.open:
            step += timedelta(minutes=1)
        assert found.changes_at == step
        # What is remembered from other instants changes nothing.
        assert found == state(italy(), at, tuple(closures))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("it", "L'help desk è chiuso: Ferie. Riapre lunedì 24 agosto alle 8 e 30."),
        (
            "en",
            (
                "The help desk is closed: Summer holidays. It opens again on Monday the 24th of"
                " August at half past 8 in the morning."
            ),
        ),
        (
            "de",
            (
                "Der Help Desk ist geschlossen: Betriebsferien. Er öffnet am Montag, dem 24."
                " August, um 8 Uhr 30 wieder."
            ),
        ),
    ],
)
def test_the_reason_is_spoken(language: str, said: str) -> None:
    at = at_rome("2026-08-10T10:00")
    assert say_desk(state(italy(), at, (AUGUST,)), at, ROME, language) == said
    later = at_rome("2026-08-24T10:00")
    assert "Summer" not in say_desk(state(italy(), later, (AUGUST,)), later, ROME, "en")


# --- days by the desk's own clock -----------------------------------------------------------------

NEW_YORK = ZoneInfo("America/New_York")


def test_a_day_far_in_the_west_is_that_of_the_desk() -> None:
    """In UTC it is tomorrow already while the desk is still open."""
    desk = Schedule(NEW_YORK, WORKING_DAYS, hours("09:00-22:00"), "US")
    evening = datetime(2026, 11, 24, 21, 0, tzinfo=NEW_YORK)
    closes = datetime(2026, 11, 24, 22, 0, tzinfo=NEW_YORK)
    assert state(desk, evening) == DeskState(True, closes)
    # Closed for days, until nine on the last evening.
    start = datetime(2026, 11, 16, 0, 0, tzinfo=NEW_YORK).astimezone(UTC)
    shut = Closure(start, evening.astimezone(UTC), (), REASON)
    assert state(desk, start, (shut,)) == DeskState(False, evening, shut)


def test_a_closure_that_begins_early_in_the_day_leaves_what_comes_before() -> None:
    desk = Schedule(ROME, WORKING_DAYS, hours("00:00-00:30", "08:30-12:00"), "IT")
    shut = closure("2026-11-24T00:30", "2026-11-27T00:00")
    at = at_rome("2026-11-23T13:00")
    opens, closes = at_rome("2026-11-24T00:00"), at_rome("2026-11-24T00:30")
    assert state(desk, at, (shut,)) == DeskState(False, opens)
    assert state(desk, opens, (shut,)) == DeskState(True, closes)
    assert state(desk, closes, (shut,)) == DeskState(False, at_rome("2026-11-27T00:00"), shut)
