"""Service years: which one a day lies in, and until when it pays (R14, R20)."""

from datetime import date, timedelta

import pytest

from app.policy.facts import Facts, Licence, ServiceYear
from app.policy.years import covers, periods, year_from, year_of
from tests.policy.strategies import PUBLISHED

_DAY = timedelta(days=1)
LEAPLING = Licence("l1", "S-1", "editor", date(2024, 2, 29))
BOUGHT = date(2027, 2, 28)
"""An anniversary of the one above, too: its year has a day more."""
SECOND = Licence("l2", "S-2", "editor", BOUGHT)
RECORDED = ServiceYear(BOUGHT, date(2028, 2, 29), 300, 100, 20)


@pytest.mark.parametrize(
    ("first", "until", "years"),
    [
        (date(2024, 1, 1), date(2025, 2, 28), [2024]),
        (date(2025, 2, 27), date(2025, 3, 1), [2024, 2025]),
        (date(2025, 2, 28), date(2026, 2, 28), [2025]),
        (date(2025, 2, 28), date(2025, 2, 28), []),
    ],
)
def test_years_from_one_day_to_before_another(first: date, until: date, years: list[int]) -> None:
    days = {2024: date(2024, 2, 29), 2025: date(2025, 2, 28), 2026: date(2026, 2, 28)}
    found = list(periods(PUBLISHED, LEAPLING.purchased_on, first, until))
    assert found == [(days[year], days[year + 1]) for year in years]


def test_a_recorded_year_ends_as_the_purchase_says_that_anchors_it_now() -> None:
    facts = Facts((LEAPLING, SECOND), service_years={BOUGHT: RECORDED})
    on = date(2027, 6, 1)
    assert year_of(PUBLISHED, facts, LEAPLING.purchased_on, on) == RECORDED
    assert year_of(PUBLISHED, facts, BOUGHT, on) == RECORDED._replace(ends_on=date(2028, 2, 28))


def test_the_year_that_begins_on_a_day_or_would() -> None:
    bought_today = ServiceYear(BOUGHT, date(2028, 2, 28), 300)
    assert year_from(PUBLISHED, Facts(), BOUGHT) == bought_today
    # An anniversary begins one already.
    anniversary = ServiceYear(BOUGHT, date(2028, 2, 29), 300)
    assert year_from(PUBLISHED, Facts((LEAPLING,)), BOUGHT) == anniversary
    # One on record whose purchase was withdrawn since keeps its end.
    facts = Facts(service_years={BOUGHT: RECORDED})
    assert year_from(PUBLISHED, facts, BOUGHT) == RECORDED


def test_a_year_covers_its_days_until_the_next_editor_is_bought() -> None:
    """Whether DEV stands then or not."""
    first = Licence("l1", "S-1", "editor", date(2026, 3, 1))
    following = Licence("l2", "S-2", "editor", date(2026, 9, 1))
    withdrawn = following._replace(withdrawn_on=date(2026, 10, 1))

    def covered(*licences: Licence) -> list[bool]:
        days = (
            date(2026, 2, 28),
            date(2026, 3, 1),
            date(2026, 8, 31),
            date(2026, 9, 1),
            date(2026, 10, 1),
            date(2027, 2, 28),
            date(2027, 3, 1),
        )
        return [covers(PUBLISHED, Facts(licences), first.purchased_on, day) for day in days]

    assert covered(first) == [False, True, True, True, True, True, False]
    for licences in ((first, following), (following, first)):
        assert covered(*licences) == [False, True, True, False, False, False, False]
    # While the next one is withdrawn, the older year goes on.
    assert covered(first, withdrawn) == [False, True, True, False, True, True, False]
    assert not covers(PUBLISHED, Facts((first,)), first.purchased_on + _DAY, date(2026, 8, 1))
