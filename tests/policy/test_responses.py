"""Working time and response times (R42), against a clock on the wall that is read every minute."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.civil import Closure, Hours, Schedule
from app.policy.document import Policies, PolicyError, ResponseTarget, parse
from app.policy.responses import History, measure, target_for
from app.policy.working_time import WorkingTime, working_time
from tests.policy.strategies import PUBLISHED
from tests.policy.test_closures import at_rome, closure, italy
from tests.policy.test_document import TEXT

ROME = ZoneInfo("Europe/Rome")
MINUTE = timedelta(minutes=1)
ITALY = WorkingTime(lambda _: italy())


def minutes(found: timedelta) -> float:
    return found / MINUTE


# --- working time by hand -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "worked"),
    [
        ("2026-11-23T08:30", "2026-11-23T09:15", 45),
        ("2026-11-23T11:50", "2026-11-23T14:10", 20),  # lunch
        ("2026-11-23T12:00", "2026-11-23T14:00", 0),
        ("2026-11-23T07:00", "2026-11-23T20:00", 420),
        ("2026-11-20T17:20", "2026-11-23T08:40", 20),  # a week-end
        ("2026-12-24T17:00", "2026-12-28T09:00", 60),  # Christmas, St Stephen's Day, a week-end
        ("2026-03-27T17:00", "2026-03-30T09:00", 60),  # clocks go forward
        ("2026-10-23T17:00", "2026-10-26T09:00", 60),  # clocks go back
        ("2026-11-23T09:00", "2026-11-23T09:00", 0),
        ("2026-11-23T09:00", "2026-11-23T08:40", 0),
        ("2026-01-01T00:00", "2027-01-01T00:00", 254 * 420),
    ],
)
def test_working_time(start: str, end: str, worked: int) -> None:
    assert minutes(ITALY.between(at_rome(start), at_rome(end))) == worked


def test_a_closure_is_no_working_time() -> None:
    """R48."""
    early = closure("2026-12-22T00:00", "2026-12-23T00:00", "08:30-11:00")
    time = WorkingTime(lambda _: italy(), (early,))
    assert minutes(time.between(at_rome("2026-12-22T10:00"), at_rome("2026-12-23T09:00"))) == 90


@pytest.mark.parametrize(
    ("start", "allowed", "beyond"),
    [
        ("2026-11-23T09:00", 60, "2026-11-23T10:00"),
        # Used up when the desk closes: exceeded when it opens again.
        ("2026-11-23T11:00", 60, "2026-11-23T14:00"),
        ("2026-11-20T16:30", 60, "2026-11-23T08:30"),
        ("2026-11-20T16:30", 61, "2026-11-23T08:31"),
        ("2026-11-21T10:00", 420, "2026-11-24T08:30"),
    ],
)
def test_when_more_has_passed(start: str, allowed: int, beyond: str) -> None:
    assert ITALY.beyond(at_rome(start), allowed * MINUTE) == at_rome(beyond)


def test_a_desk_that_is_always_closed_ends_the_search() -> None:
    always = closure("2026-01-01T00:00", "2036-01-01T00:00")
    time = WorkingTime(lambda _: italy(), (always,))
    assert time.beyond(at_rome("2026-11-23T09:00"), MINUTE) is None


@pytest.mark.parametrize(
    ("reopens", "beyond"),
    [
        # 1098 days after the start, and one more.
        ("2029-11-26T00:00", "2029-11-26T08:31"),
        ("2029-11-27T00:00", None),
    ],
)
def test_the_search_ends_after_three_years(reopens: str, beyond: str | None) -> None:
    time = WorkingTime(lambda _: italy(), (closure("2026-11-24T09:00", reopens),))
    found = time.beyond(at_rome("2026-11-24T09:00"), MINUTE)
    assert found == (None if beyond is None else at_rome(beyond))


def test_a_day_far_in_the_west_is_that_of_the_desk() -> None:
    """In UTC it is tomorrow already while the desk is still open."""
    zone = ZoneInfo("America/New_York")
    evenings = Hours(time(9), time(22))
    desk = WorkingTime(lambda _: Schedule(zone, frozenset(range(5)), (evenings,), "US"))
    start, end = (datetime(2026, 11, 24, hour, tzinfo=zone).astimezone(UTC) for hour in (21, 22))
    assert minutes(desk.between(start, end)) == 60
    assert desk.beyond(start, 59 * MINUTE) == start + 59 * MINUTE
    assert desk.back(end, 60 * MINUTE) == start


@pytest.mark.parametrize(
    ("zone", "closed", "left"),
    [
        # Where it is evening, it is tomorrow in UTC; where it is morning, yesterday.
        ("America/New_York", (20, 23), 11 * 60),
        ("Pacific/Auckland", (8, 10), 12 * 60),
    ],
)
def test_a_closure_on_another_day_in_utc_counts(
    zone: str, closed: tuple[int, int], left: int
) -> None:
    """R48."""
    there = ZoneInfo(zone)

    def at(hour: int) -> datetime:
        return datetime(2026, 11, 24, hour, tzinfo=there).astimezone(UTC)

    begins, ends = map(at, closed)
    schedule = Schedule(there, frozenset(range(5)), (Hours(time(9), time(22)),), "US")
    desk = WorkingTime(lambda _: schedule, (Closure(begins, ends, (), (("en", "Strike"),)),))
    assert minutes(desk.between(at(0), at(23))) == left


@pytest.mark.parametrize(
    ("end", "worked", "back"),
    [
        ("2026-11-23T10:00", 60, "2026-11-23T09:00"),
        ("2026-11-23T10:00", 90, "2026-11-23T08:30"),
        ("2026-11-23T10:00", 91, "2026-11-20T17:29"),
        ("2026-11-23T13:00", 0, "2026-11-23T13:00"),
        ("2026-11-23T13:00", 1, "2026-11-23T11:59"),
    ],
)
def test_back(end: str, worked: int, back: str) -> None:
    assert ITALY.back(at_rome(end), worked * MINUTE) == at_rome(back)


@pytest.mark.parametrize(
    ("closed_from", "back"),
    [
        # The last minute of the first day that is looked at, and the beginning of the years.
        ("2006-11-10T00:00", "2006-11-09T17:29"),
        ("2006-11-09T00:00", "2006-11-08T10:00"),
    ],
)
def test_the_search_back_ends_after_twenty_years(closed_from: str, back: str) -> None:
    end = at_rome("2026-11-23T10:00")
    time = WorkingTime(lambda _: italy(), (closure(closed_from, "2026-11-23T10:00"),))
    assert time.back(end, MINUTE) == at_rome(back)


def test_each_day_has_the_hours_of_its_policy() -> None:
    later = TEXT.replace("2020-01-01", "2026-11-24").replace("opens = 08:30:00", "opens = 09:00:00")
    assert later != TEXT
    policies = Policies([parse(TEXT, "one.toml"), parse(later, "two.toml")])
    time = working_time(policies, "it")
    assert minutes(time.between(at_rome("2026-11-23T00:00"), at_rome("2026-11-24T00:00"))) == 420
    assert minutes(time.between(at_rome("2026-11-24T00:00"), at_rome("2026-11-25T00:00"))) == 390


# --- working time by the minute -----------------------------------------------------------------

_CLOCKS = st.times(min_value=time(0), max_value=time(23, 59)).map(
    lambda one: one.replace(second=0, microsecond=0)
)


@st.composite
def _hours(draw: st.DrawFn) -> tuple[Hours, ...]:
    clocks = sorted(draw(st.sets(_CLOCKS, min_size=2, max_size=6)))
    return tuple(Hours(clocks[place], clocks[place + 1]) for place in range(0, len(clocks) - 1, 2))


# Both clock changes, Easter and Christmas, in a zone with each country's holidays.
_AROUND = st.sampled_from(
    [date(2026, 3, 29), date(2026, 10, 25), date(2026, 4, 6), date(2026, 12, 25), date(2026, 6, 16)]
)
_ZONES = st.sampled_from([("Europe/Rome", "IT"), ("Europe/Berlin", "DE"), ("Europe/Zurich", "CH")])


@st.composite
def _instants(draw: st.DrawFn, day: date, number: int) -> list[datetime]:
    base = datetime.combine(day, time.min, UTC) - timedelta(days=2)
    offsets = st.integers(0, 4 * 24 * 60)
    return sorted(base + draw(offsets) * MINUTE for _ in range(number))


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[Schedule, tuple[Closure, ...], list[datetime]]:
    zone, country = draw(_ZONES)
    weekdays = draw(st.sets(st.integers(0, 6), min_size=1))
    schedule = Schedule(ZoneInfo(zone), frozenset(weekdays), draw(_hours()), country)
    day = draw(_AROUND)
    closures = []
    for _ in range(draw(st.integers(0, 2))):
        starts, ends = draw(_instants(day, 2))
        if starts < ends:
            kept = draw(st.one_of(st.just(()), _hours()))
            closures.append(Closure(starts, ends, kept, (("it", "Ferie"),)))
    return schedule, tuple(closures), draw(_instants(day, 2))


def open_by_the_wall(
    schedule: Schedule, closures: tuple[Closure, ...]
) -> Callable[[datetime], bool]:
    public = holidays.country_holidays(schedule.country, years=range(2025, 2028))

    def is_open(at: datetime) -> bool:
        local = at.astimezone(schedule.zone)
        if local.weekday() not in schedule.weekdays or local.date() in public:
            return False
        kept = [one.hours for one in closures if one.starts_at <= at < one.ends_at]
        clock = local.time()
        return all(
            any(one.opens <= clock < one.closes for one in each)
            for each in kept or [schedule.hours]
        )

    return is_open


@given(_worlds())
def test_working_time_is_what_a_clock_on_the_wall_counts(world: Any) -> None:
    schedule, closures, (start, end) = world
    is_open = open_by_the_wall(schedule, closures)
    number = (end - start) // MINUTE
    counted = sum(is_open(start + n * MINUTE) for n in range(number))
    time = WorkingTime(lambda _: schedule, closures)
    assert minutes(time.between(start, end)) == counted
    # The last instant from which as much has passed, and the first after which more has.
    back = time.back(end, counted * MINUTE)
    assert start <= back or counted == 0
    assert time.between(back, end) == counted * MINUTE
    if counted:
        assert time.between(back + MINUTE, end) < counted * MINUTE
    beyond = time.beyond(start, counted * MINUTE)
    if beyond is not None:
        assert beyond >= end
        assert is_open(beyond)
        assert time.between(start, beyond) == counted * MINUTE


# --- response times -----------------------------------------------------------------------------


def case(*states: str, responded: str | None = None) -> History:
    """States as `09:00 open`, on the Monday 2026-11-23 or on a day named before the clock."""

    def at(text: str) -> datetime:
        return at_rome(text if "T" in text else f"2026-11-23T{text}")

    pairs = [one.split() for one in states]
    history: list[Any] = [(at(instant), state) for instant, state in pairs]
    return History(history, None if responded is None else at(responded))


TARGET = ResponseTarget(priority="high", first_response_minutes=60, resolution_minutes=240)


def test_a_case_that_nobody_has_looked_at() -> None:
    found = measure(case("09:00 open"), ITALY, TARGET)
    assert (found.responded_at, found.response_minutes, found.response_met) == (None, None, None)
    assert found.response_due_at == at_rome("2026-11-23T10:00")
    assert found.resolution_due_at == at_rome("2026-11-23T15:00")
    assert (found.resolution_minutes, found.resolution_met) == (None, None)
    assert (found.aged_from, found.age_minutes) == (at_rome("2026-11-23T09:00"), None)


@pytest.mark.parametrize(
    ("responded", "passed", "met"),
    [("09:59", 59, True), ("10:00", 60, True), ("10:01", 61, False), ("08:00", 0, True)],
)
def test_a_response(responded: str, passed: int, met: bool) -> None:
    found = measure(case("09:00 open", responded=responded), ITALY, TARGET)
    assert (found.response_minutes, found.response_met) == (passed, met)
    assert found.response_due_at == (None if met else at_rome("2026-11-23T10:00"))
    assert found.resolution_due_at is not None


def test_a_second_too_late_is_missed() -> None:
    late = History([(at_rome("2026-11-23T09:00"), "open")], at_rome("2026-11-23T10:00:01"))
    found = measure(late, ITALY, TARGET)
    assert (found.response_minutes, found.response_met) == (60, False)


def test_an_answer_when_the_desk_opens_again_is_in_time() -> None:
    """The target is used up at noon; until two nothing more passes."""
    open_case = case("11:00 open")
    assert measure(open_case, ITALY, TARGET).response_due_at == at_rome("2026-11-23T14:00")
    for clock, met in (("13:00", True), ("14:00", True), ("14:01", False)):
        found = measure(case("11:00 open", responded=clock), ITALY, TARGET)
        assert found.response_met is met


def test_taking_and_closing_are_responses() -> None:
    taken = measure(case("09:00 open", "09:20 in_progress", responded="09:30"), ITALY, None)
    assert taken.response_minutes == 20
    closed = measure(case("09:00 open", "09:40 closed"), ITALY, None)
    assert (closed.response_minutes, closed.resolution_minutes) == (40, 40)
    assert measure(case("09:00 open", "09:40 cancelled"), ITALY, None).responded_at is None


def test_a_response_while_it_waits_for_the_customer() -> None:
    states = ["09:00 open", "09:10 waiting_for_customer", "11:00 open"]
    for clock, passed in (("09:10", 10), ("10:00", 10), ("11:00", 10), ("11:05", 15)):
        assert measure(case(*states, responded=clock), ITALY, TARGET).response_minutes == passed


def test_time_stands_still_while_it_waits_for_the_customer() -> None:
    states = ["09:00 open", "09:10 in_progress", "10:00 waiting_for_customer"]
    waiting = measure(case(*states), ITALY, TARGET)
    assert (waiting.resolution_due_at, waiting.aged_from, waiting.age_minutes) == (None, None, 60)
    again = measure(case(*states, "15:00 in_progress"), ITALY, TARGET)
    # An hour before, and three from 15:00 on.
    assert again.resolution_due_at == at_rome("2026-11-24T09:00")
    assert again.aged_from == at_rome("2026-11-23T14:00")
    for closed, met in (("16:30", True), ("17:30", True), ("2026-11-24T09:00", True)):
        found = measure(case(*states, "15:00 in_progress", f"{closed} closed"), ITALY, TARGET)
        assert found.resolution_met is met
        assert (found.resolution_due_at, found.aged_from) == (None, None)
    late = measure(case(*states, "15:00 in_progress", "2026-11-24T09:01 closed"), ITALY, TARGET)
    assert (late.resolution_minutes, late.resolution_met) == (241, False)
    assert late.resolution_due_at == at_rome("2026-11-24T09:00")


def test_what_was_late_before_it_waited_stays_late() -> None:
    states = ["09:00 open", "09:10 in_progress", "15:10 waiting_for_customer", "16:00 in_progress"]
    found = measure(case(*states), ITALY, TARGET)
    assert found.resolution_due_at == at_rome("2026-11-23T15:00")


def test_a_reopened_case_was_resolved_in_between() -> None:
    states = ["09:00 open", "10:00 closed"]
    reopened = measure(case(*states, "2026-11-26T09:00 in_progress"), ITALY, TARGET)
    assert (reopened.resolution_minutes, reopened.response_minutes) == (None, 60)
    assert reopened.resolution_due_at == at_rome("2026-11-26T14:00")
    states += ["2026-11-26T09:00 in_progress", "2026-11-26T09:30 closed"]
    assert measure(case(*states), ITALY, TARGET).resolution_minutes == 90


def test_targets_by_priority_and_for_priority_support() -> None:
    """R42: the published policy has none; one is that of the day of opening."""
    assert PUBLISHED.versions[0].response_targets == ()
    targets = """
[[response_targets]]
priority = "high"
first_response_minutes = 120
[[response_targets]]
priority = "high"
priority_support = true
first_response_minutes = 30
resolution_minutes = 480
"""
    later = TEXT.replace("2020-01-01", "2026-06-01") + targets
    policies = Policies([parse(TEXT, "one.toml"), parse(later, "two.toml")])

    def first(*case: Any) -> int | None:
        target = target_for(policies, *case)
        return None if target is None else target.first_response_minutes

    day = date(2026, 6, 1)
    assert first(day, "high", False) == 120
    assert first(day, "high", True) == 30
    assert first(day, "normal", True) is None
    # Without one of its own, priority support has that of all.
    general = targets.replace("priority_support = true", "").split("[[", 2)[1]
    of_all = Policies([parse(TEXT + "[[" + general, "all.toml")])
    found = target_for(of_all, day, "high", True)
    assert found is not None
    assert found.first_response_minutes == 120
    assert first(day - timedelta(days=1), "high", True) is None
    with pytest.raises(PolicyError, match="response target 'high' stands twice"):
        parse(TEXT + targets.replace("priority_support = true", ""), "twice.toml")


@st.composite
def _lives(draw: st.DrawFn) -> tuple[Schedule, tuple[Closure, ...], History, datetime]:
    """A random life of a case, and an instant after it."""
    schedule, closures, _ = draw(_worlds())
    number = draw(st.integers(1, 6))
    *instants, end, responded = sorted(draw(_instants(draw(_AROUND), number + 2)))
    following = {
        "open": ["in_progress", "closed", "cancelled"],
        "in_progress": ["waiting_for_customer", "closed", "cancelled"],
        "waiting_for_customer": ["in_progress", "closed", "cancelled"],
        "closed": ["in_progress"],
    }
    state = "open"
    states: list[Any] = [(instants[0], state)]
    for at in instants[1:]:
        if state == "cancelled":
            break
        state = draw(st.sampled_from(following[state]))
        states.append((at, state))
    answered = draw(st.one_of(st.none(), st.sampled_from([*instants, responded])))
    return schedule, closures, History(states, answered), max(end, responded)


@given(_lives(), st.integers(1, 600), st.integers(1, 600))
def test_a_life_by_the_minute(life: Any, first: int, whole: int) -> None:
    schedule, closures, history, end = life
    is_open = open_by_the_wall(schedule, closures)
    target = ResponseTarget(priority="high", first_response_minutes=first, resolution_minutes=whole)
    found = measure(history, WorkingTime(lambda _: schedule, closures), target)

    def state(at: datetime) -> Any:
        return [name for since, name in history.states if since <= at][-1]

    opened = history.states[0][0]
    answers = [at for at, name in history.states if name in ("in_progress", "closed")]
    answers += [] if history.responded_at is None else [history.responded_at]
    answered = min(answers, default=None)
    every = [opened + n * MINUTE for n in range((end - opened) // MINUTE)]
    runs = [at for at in every if is_open(at) and state(at) in ("open", "in_progress")]
    assert found.responded_at == answered
    last = history.states[-1][1]
    if answered is not None:
        response = sum(at < answered for at in runs)
        assert (found.response_minutes, found.response_met) == (response, response <= first)
        runs_unanswered = [at for at in runs if at < answered]
    else:
        runs_unanswered = runs
    for due, running, target_minutes in (
        (found.response_due_at, runs_unanswered, first),
        (found.resolution_due_at, runs, whole),
    ):
        if due is not None and due < end:
            # More than the target has passed once that minute is over.
            assert sum(at < due for at in running) == target_minutes
            assert due in running
        else:
            assert len(running) <= target_minutes
    since = history.states[-1][0]
    before = sum(at < since for at in runs)
    if last == "closed":
        assert (found.resolution_minutes, found.resolution_met) == (before, before <= whole)
    else:
        assert found.resolution_minutes is None
    if last == "waiting_for_customer":
        assert found.age_minutes == before
    if found.aged_from is not None:
        time = WorkingTime(lambda _: schedule, closures)
        assert minutes(time.between(found.aged_from, end)) == len(runs)
