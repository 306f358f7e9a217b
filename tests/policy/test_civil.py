"""Civil dates: months that clamp, and the date of an instant."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.civil import add_months, civil_date, start_of_day

ROME = ZoneInfo("Europe/Rome")


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [
        ("2026-01-15", 12, "2027-01-15"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2023-02-28", 12, "2024-02-28"),
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2026-03-31", -1, "2026-02-28"),
        ("2026-12-01", 1, "2027-01-01"),
        ("2026-01-01", -1, "2025-12-01"),
        ("2026-05-31", 0, "2026-05-31"),
        ("9999-12-31", 0, "9999-12-31"),
        ("9998-12-31", 12, "9999-12-31"),
    ],
)
def test_months_clamp_to_the_end_of_the_month(day: str, months: int, then: str) -> None:
    assert add_months(date.fromisoformat(day), months) == date.fromisoformat(then)


@pytest.mark.parametrize(("day", "months"), [("9999-12-01", 1), ("0001-01-31", -1)])
def test_months_past_the_calendar_are_a_value_error(day: str, months: int) -> None:
    with pytest.raises(ValueError):
        add_months(date.fromisoformat(day), months)


days = st.dates(date(1900, 1, 1), date(2199, 12, 31))
spans = st.integers(-600, 600)


@given(days, spans)
def test_months_keep_the_day_or_clamp_it(day: date, months: int) -> None:
    then = add_months(day, months)
    assert then.year * 12 + then.month == day.year * 12 + day.month + months
    assert then.day == day.day or (
        then.day < day.day and (then + timedelta(days=1)).month != then.month
    )


@given(days, days, spans)
def test_months_never_turn_two_days_round(one: date, other: date, months: int) -> None:
    earlier, later = sorted((one, other))
    assert add_months(earlier, months) <= add_months(later, months)


@given(days, spans)
def test_months_and_back_lose_three_days_at_most(day: date, months: int) -> None:
    back = add_months(add_months(day, months), -months)
    assert timedelta() <= day - back <= timedelta(days=3)
    assert back == day or day.day > 28


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        ("2026-01-14T22:59:59Z", "2026-01-14"),
        ("2026-01-14T23:00:00Z", "2026-01-15"),
        ("2026-07-14T21:59:59Z", "2026-07-14"),
        ("2026-07-14T22:00:00Z", "2026-07-15"),
        ("2026-07-14T23:30:00-05:00", "2026-07-15"),
    ],
)
def test_an_instant_has_its_date_in_the_zone(instant: str, day: str) -> None:
    assert civil_date(datetime.fromisoformat(instant), ROME) == date.fromisoformat(day)


def test_an_instant_without_an_offset_is_refused() -> None:
    naive = datetime.fromisoformat("2026-01-15T12:00")
    with pytest.raises(ValueError, match=r"^an instant needs an offset$"):
        civil_date(naive, ROME)


@pytest.mark.parametrize(
    ("day", "zone", "begins"),
    [
        ("2026-01-15", "Europe/Rome", "2026-01-14T23:00Z"),
        ("2026-07-15", "Europe/Rome", "2026-07-14T22:00Z"),
        ("2026-03-29", "Europe/Rome", "2026-03-28T23:00Z"),
        ("2026-03-30", "Europe/Rome", "2026-03-29T22:00Z"),
        ("2026-10-25", "Europe/Rome", "2026-10-24T22:00Z"),
        ("2026-10-26", "Europe/Rome", "2026-10-25T23:00Z"),
        # Clocks that skip midnight, repeat it, or skip from before it to after it.
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00Z"),
        ("2024-11-03", "America/Havana", "2024-11-03T04:00Z"),
        ("1919-03-31", "America/Toronto", "1919-03-31T04:30Z"),
        ("1990-06-01", "Europe/Rome", "1990-05-31T22:00Z"),
        ("2199-01-01", "Europe/Rome", "2198-12-31T23:00Z"),
    ],
)
def test_a_day_begins_at_its_first_instant(day: str, zone: str, begins: str) -> None:
    start = start_of_day(date.fromisoformat(day), ZoneInfo(zone))
    assert start == datetime.fromisoformat(begins)
    assert start.tzinfo is UTC
    assert civil_date(start, ZoneInfo(zone)) == date.fromisoformat(day)
    assert civil_date(start - timedelta(microseconds=1), ZoneInfo(zone)) < date.fromisoformat(day)
