"""What a corrected licence does to its service years and to the cases bound to them (R40)."""

from datetime import date, timedelta

import pytest

from app.policy.allocate import Source
from app.policy.civil import add_months
from app.policy.corrections import Moves, moved_years, rebound
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Licence, Pack, ServiceYear
from tests.policy.strategies import ANY_ANCHORS, CHANGED, PUBLISHED

_DAY = timedelta(days=1)
BOUGHT = date(2024, 3, 1)
EDITOR = Licence("l1", "S-1", "editor", BOUGHT)
OTHER = Licence("l2", "S-2", "editor", date(2025, 9, 1))


def year(starts_on: date, minutes: int = 300, used: int = 0) -> ServiceYear:
    return ServiceYear(starts_on, add_months(starts_on, 12), minutes, used)


def moves(
    before: Licence,
    after: Licence,
    *recorded: date,
    others: tuple[Licence, ...] = (),
    policies: Policies = PUBLISHED,
) -> Moves:
    """What becomes of the recorded years when one licence changes, beside others that do not."""
    years = {day: year(day, used=60) for day in recorded}
    known, corrected = (Facts((*others, one), service_years=years) for one in (before, after))
    return moved_years(policies, known, corrected, before.id)


# --- years that move ------------------------------------------------------------------------------


def test_each_anniversary_moves_to_the_like_one() -> None:
    days = [BOUGHT, date(2025, 3, 1), date(2026, 3, 1)]
    moved = EDITOR._replace(purchased_on=date(2024, 5, 15))
    assert moves(EDITOR, moved, *days) == {
        BOUGHT: year(date(2024, 5, 15)),
        date(2025, 3, 1): year(date(2025, 5, 15)),
        date(2026, 3, 1): year(date(2026, 5, 15)),
    }
    # Of years that were never charged none is recorded, and none moves.
    assert moves(EDITOR, moved, days[2]) == {days[2]: year(date(2026, 5, 15))}


def test_a_day_that_stays_moves_nothing() -> None:
    assert moves(EDITOR, EDITOR._replace(serial_number="S-9"), BOUGHT) == {}


def test_upgrades_keep_their_days() -> None:
    upgrade = date(2025, 6, 1)
    before = EDITOR._replace(paid_upgrades=(upgrade,))
    after = before._replace(purchased_on=date(2024, 4, 1))
    assert moves(before, after, BOUGHT, upgrade) == {BOUGHT: year(date(2024, 4, 1))}


def test_an_upgrade_that_never_was_undoes_its_years() -> None:
    upgrade = date(2025, 6, 1)
    before = EDITOR._replace(paid_upgrades=(upgrade,))
    assert moves(before, EDITOR, BOUGHT, upgrade, date(2026, 6, 1)) == {
        upgrade: None,
        date(2026, 6, 1): None,
    }


def test_a_purchase_that_moves_to_the_day_of_its_upgrade() -> None:
    """The licence moves to another day, its paid upgrade stays: the upgrade's day does not count as
    the purchase of the licence."""
    upgrade = date(2025, 6, 1)
    before = EDITOR._replace(paid_upgrades=(upgrade,))
    after = before._replace(purchased_on=upgrade)
    assert moves(before, after, BOUGHT, upgrade) == {BOUGHT: year(upgrade)}


def test_years_are_undone_where_the_kind_was_wrong_or_the_editor_never_was() -> None:
    second = date(2025, 3, 1)
    for after in (EDITOR._replace(kind="runtime"), EDITOR._replace(withdrawn_on=BOUGHT)):
        assert moves(EDITOR, after, BOUGHT, second) == {BOUGHT: None, second: None}
    # Withdrawn later it was, and its years stand.
    assert moves(EDITOR, EDITOR._replace(withdrawn_on=BOUGHT + _DAY), BOUGHT) == {}


def test_a_corrected_licence_of_another_kind_moves_what_it_anchors_alone() -> None:
    """R14: by `anchor` any licence begins years."""
    runtime = EDITOR._replace(kind="runtime")
    moved = runtime._replace(purchased_on=date(2024, 4, 1))
    assert moves(runtime, moved, BOUGHT) == {}
    assert moves(runtime, moved, BOUGHT, policies=ANY_ANCHORS) == {BOUGHT: year(date(2024, 4, 1))}


def test_years_of_other_licences_stay() -> None:
    moved = EDITOR._replace(purchased_on=date(2024, 4, 1))
    recorded = (BOUGHT, OTHER.purchased_on, date(2026, 9, 1))
    assert moves(EDITOR, moved, *recorded, others=(OTHER,)) == {BOUGHT: year(date(2024, 4, 1))}
    # A year that no purchase begins.
    assert moves(EDITOR, moved, date(2024, 7, 7)) == {}


def test_a_year_belongs_to_the_latest_purchase_from_which_it_can_be_counted() -> None:
    second = EDITOR._replace(id="l2", purchased_on=date(2025, 3, 1))
    moved = EDITOR._replace(purchased_on=date(2024, 4, 1))
    assert moves(EDITOR, moved, second.purchased_on, others=(second,)) == {}
    later = second._replace(purchased_on=date(2025, 4, 1))
    recorded = (second.purchased_on, date(2026, 3, 1))
    # The older one begins a year on that day too, which does not keep this one's there.
    assert moves(second, later, *recorded, others=(EDITOR,)) == {
        second.purchased_on: year(date(2025, 4, 1)),
        date(2026, 3, 1): year(date(2026, 4, 1)),
    }


def test_a_held_licence_comes_before_one_that_was_withdrawn() -> None:
    """The year is that of the purchase whose licence was held on its first day."""
    withdrawn = EDITOR._replace(
        id="l2", purchased_on=date(2025, 3, 1), withdrawn_on=date(2025, 9, 1)
    )
    moved = EDITOR._replace(purchased_on=date(2024, 4, 1))
    third = date(2026, 3, 1)
    assert moves(EDITOR, moved, third, others=(withdrawn,)) == {third: year(date(2026, 4, 1))}


def test_two_years_that_begin_on_one_day_become_one() -> None:
    """R14: the other Editor's year stands there already, whatever moves to it."""
    moved = EDITOR._replace(purchased_on=OTHER.purchased_on)
    found = moves(EDITOR, moved, BOUGHT, OTHER.purchased_on, others=(OTHER,))
    assert found == {BOUGHT: year(OTHER.purchased_on)}


def test_what_another_editor_begins_on_the_same_day_stays() -> None:
    twin = EDITOR._replace(id="l2")
    recorded = (BOUGHT, date(2025, 3, 1))
    for after in (EDITOR._replace(kind="other"), EDITOR._replace(withdrawn_on=BOUGHT)):
        assert moves(EDITOR, after, *recorded, others=(twin,)) == {}
    # Moved ahead of the other's day, its year never began, and what is recorded stays (R40).
    earlier = EDITOR._replace(purchased_on=date(2024, 2, 1))
    found = moves(EDITOR, earlier, BOUGHT, others=(twin,))
    assert found == {BOUGHT: year(date(2024, 2, 1))}


def test_a_year_that_begins_on_the_same_day_after_the_correction_does_not_move() -> None:
    """A year after 29 February comes 28 February."""
    leap = EDITOR._replace(purchased_on=date(2024, 2, 29))
    moved = leap._replace(purchased_on=date(2024, 2, 28))
    recorded = (date(2024, 2, 29), date(2025, 2, 28))
    expected = ServiceYear(date(2024, 2, 28), date(2025, 2, 28), 300)
    assert moves(leap, moved, *recorded) == {recorded[0]: expected}


def test_an_anniversary_moves_past_another_editor_unless_a_year_stays_on_its_day() -> None:
    later = OTHER._replace(purchased_on=date(2025, 4, 1))
    moved = EDITOR._replace(purchased_on=date(2024, 5, 15))
    second = date(2025, 3, 1)
    assert moves(EDITOR, moved, second, others=(later,)) == {second: year(date(2025, 5, 15))}
    # Its twin begins a year on that day still, and on the new one none begins.
    twin, ahead = EDITOR._replace(id="l3"), EDITOR._replace(purchased_on=date(2024, 2, 1))
    assert moves(EDITOR, ahead, second, others=(twin,)) == {}


def test_a_moved_year_is_granted_by_the_policy_of_its_first_day() -> None:
    """R17: also how long it lasts, and so which is the like anniversary."""
    day = date(2026, 2, 1)
    moved = EDITOR._replace(purchased_on=date(2026, 4, 1))
    found = moves(EDITOR._replace(purchased_on=day), moved, day, policies=CHANGED)
    assert found == {day: ServiceYear(date(2026, 4, 1), date(2026, 10, 1), 120)}


def test_where_years_get_shorter_the_like_one_is_counted_by_number() -> None:
    before = EDITOR._replace(purchased_on=date(2025, 1, 1))
    after = EDITOR._replace(purchased_on=date(2025, 2, 1))
    # From 2025-01-01: a year to 2026-01-01, another to 2027-01-01, then half years (R17).
    days = (date(2025, 1, 1), date(2026, 1, 1), date(2027, 1, 1), date(2027, 7, 1))
    assert moves(before, after, *days, policies=CHANGED) == {
        days[0]: ServiceYear(date(2025, 2, 1), date(2026, 2, 1), 300),
        days[1]: ServiceYear(date(2026, 2, 1), date(2027, 2, 1), 300),
        days[2]: ServiceYear(date(2027, 2, 1), date(2027, 8, 1), 120),
        days[3]: ServiceYear(date(2027, 8, 1), date(2028, 2, 1), 120),
    }


# --- cases that were bound to them ----------------------------------------------------------------

MOVED = date(2024, 5, 15)


def bound(
    opened_on: date,
    facts: Facts,
    target: ServiceYear | None,
) -> Source | None:
    return rebound(PUBLISHED, facts, {BOUGHT: target}, BOUGHT, "email", opened_on)


@pytest.mark.parametrize("opened_on", [MOVED, date(2024, 8, 1), date(2025, 5, 14)])
def test_a_case_stays_bound_to_the_year_that_moved(opened_on: date) -> None:
    facts = Facts((EDITOR._replace(purchased_on=MOVED),))
    assert bound(opened_on, facts, year(MOVED)) == Source("free_hours", starts_on=MOVED)


def test_it_is_bound_to_the_year_of_its_opening_if_the_moved_one_does_not_cover_that() -> None:
    facts = Facts((EDITOR._replace(purchased_on=MOVED), Licence("l9", "S", "runtime", MOVED)))
    # The day after the moved year's end: DEV lapsed with it.
    assert bound(date(2025, 5, 15), facts, year(MOVED)) == Source("free_hours", starts_on=MOVED)
    # A later purchase keeps DEV: the next year pays on that day.
    keeps = Licence("l9", "S", "runtime", date(2025, 1, 1))
    developing = facts._replace(licences=(facts.licences[0], keeps))
    assert bound(date(2025, 5, 15), developing, year(MOVED)) == Source(
        "free_hours", starts_on=date(2025, 5, 15)
    )
    # Before the moved year nothing pays.
    assert bound(MOVED - _DAY, facts, year(MOVED)) == Source("free_hours", starts_on=MOVED)


def test_a_case_of_an_undone_year_is_bound_to_hours_or_to_nothing() -> None:
    """R18, R29: as of the day of opening, never to a ticket."""
    contract = Contract("c1", "SA-1", date(2024, 1, 1), date(2025, 1, 1), None, 1200)
    pack = Pack("p1", "TP-1", date(2024, 1, 1), date(2025, 1, 1), 1)
    last = date(2024, 12, 31)
    facts = Facts((EDITOR,), (contract,), (pack,))
    without = Facts((EDITOR._replace(kind="runtime"),), (contract,), (pack,))
    assert bound(last, facts, None) == Source("free_hours", starts_on=BOUGHT)
    held = without._replace(licences=(EDITOR._replace(purchased_on=date(2020, 1, 1)),))
    assert bound(last, held, None) == Source("contract", "c1")
    assert bound(last + _DAY, held, None) is None
    assert bound(last, without, None) is None
