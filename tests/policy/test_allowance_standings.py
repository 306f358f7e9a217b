"""Each allowance as it is kept: until when it runs and pays, and what goes on after it."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.allowance_standings import AllowanceStanding, allowance_standings
from app.policy.decide import decide
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, LengthenedTicket, Licence, Pack, ServiceYear
from app.policy.standing import service_year
from app.policy.usage import every_allowance
from app.policy.year_spans import year_spans
from app.policy.years import running_year
from tests.policy import strategies
from tests.policy.strategies import ON, PUBLISHED

_DAY = timedelta(days=1)
EDITOR = Licence("l1", "S-1", "editor", date(2026, 2, 1))
RUNTIME = Licence("l2", "S-2", "runtime", date(2026, 6, 1))


def standings(facts: Facts, on: date) -> dict[str, AllowanceStanding]:
    return {one.key: one for one in allowance_standings(PUBLISHED, facts, on)}


def test_a_year_ends_on_its_anniversary_which_renews_it() -> None:
    facts = Facts((EDITOR, RUNTIME))
    found = standings(facts, date(2027, 2, 1))
    first, second = found["2026-02-01"], found["2027-02-01"]
    assert (first.ends_on, first.stops_on) == (date(2027, 2, 1), date(2027, 2, 1))
    assert first.renewed_by == "2027-02-01"
    # DEV ends a year after the runtime was bought.
    assert (second.ends_on, second.stops_on) == (date(2028, 2, 1), date(2027, 6, 1))
    assert second.renewed_by is None
    assert standings(facts, date(2027, 1, 31)).keys() == {"2026-02-01"}


def test_a_year_that_the_next_editor_cut_short_ends_on_that_day() -> None:
    another = EDITOR._replace(id="l2", purchased_on=date(2026, 9, 1))
    found = standings(Facts((EDITOR, another)), date(2026, 9, 1))
    assert found["2026-02-01"].ends_on == date(2026, 9, 1)
    assert found["2026-02-01"].renewed_by == "2026-09-01"
    assert found["2026-09-01"].ends_on == date(2027, 9, 1)


def test_a_year_goes_on_when_that_editor_is_withdrawn() -> None:
    another = EDITOR._replace(
        id="l2", purchased_on=date(2026, 9, 1), withdrawn_on=date(2026, 10, 1)
    )
    found = standings(Facts((EDITOR, another)), date(2026, 11, 1))
    assert found["2026-02-01"].ends_on == date(2027, 2, 1)
    assert found["2026-09-01"].ends_on == date(2026, 10, 1)
    assert found["2026-09-01"].renewed_by == "2026-02-01"


def test_a_year_goes_on_when_its_editor_comes_back() -> None:
    """R44."""
    earlier = ((EDITOR.purchased_on, date(2026, 4, 1)),)
    back = EDITOR._replace(held_from=date(2026, 6, 1), earlier=earlier)
    (span,) = year_spans(PUBLISHED, Facts((back,))).values()
    assert (span.pays_from, span.pays_until) == (date(2026, 2, 1), date(2027, 2, 1))
    gone = back._replace(withdrawn_on=date(2026, 9, 1))
    (span,) = year_spans(PUBLISHED, Facts((gone,))).values()
    assert (span.pays_until, span.runs_until) == (date(2026, 9, 1), date(2026, 9, 1))


def test_a_year_ends_with_the_last_editor() -> None:
    withdrawn = EDITOR._replace(withdrawn_on=date(2026, 12, 24))
    (year,) = allowance_standings(PUBLISHED, Facts((withdrawn,)), date(2026, 11, 26))
    assert (year.ends_on, year.stops_on, year.renewed_by) == (
        date(2026, 12, 24),
        date(2026, 12, 24),
        None,
    )


def test_a_year_that_no_purchase_begins() -> None:
    recorded = ServiceYear(date(2026, 3, 1), date(2027, 3, 1), 300, 20)
    (year,) = allowance_standings(
        PUBLISHED, Facts(service_years={recorded.starts_on: recorded}), date(2026, 11, 26)
    )
    assert year.begun is False
    assert (year.ends_on, year.stops_on, year.used) == (date(2027, 3, 1), date(2027, 3, 1), 20)
    assert year.ends == {}


CONTRACT = Contract("c1", "SA-1", date(2026, 1, 1), date(2027, 1, 1), None, 1200)


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "cancelled_on", "renews"),
    [
        (date(2026, 12, 31), date(2027, 12, 31), None, True),
        (date(2027, 1, 1), date(2028, 1, 1), None, True),
        (date(2027, 1, 2), date(2028, 1, 2), None, False),
        # Cancelled as of its first day, or before the other one ends.
        (date(2026, 12, 1), date(2027, 12, 1), date(2026, 12, 1), False),
        (date(2026, 12, 1), date(2027, 12, 1), date(2027, 1, 1), False),
        (date(2026, 12, 1), date(2027, 12, 1), date(2027, 1, 2), True),
    ],
)
def test_a_contract_is_renewed_where_no_day_is_left_uncovered(
    starts_on: date, ends_on: date, cancelled_on: date | None, renews: bool
) -> None:
    other = Contract("c2", "SA-2", starts_on, ends_on, cancelled_on, 1200)
    found = standings(Facts(contracts=(CONTRACT, other)), date(2026, 12, 1))
    assert found["c1"].renewed_by == ("c2" if renews else None)
    assert found["c2"].renewed_by is (None if renews or cancelled_on != starts_on else "c1")


PACK = Pack("p1", "TP-1", date(2026, 3, 1), date(2027, 3, 1), 3)


def test_a_pack_is_renewed_by_a_ticket_that_ends_later() -> None:
    other = PACK._replace(id="p2", purchased_on=date(2026, 3, 2), expires_on=date(2027, 3, 2))
    on = date(2026, 11, 26)
    assert standings(Facts(packs=(PACK, other)), on)["p1"].renewed_by == "p2"
    for taken in (other._replace(held=3), other._replace(consumed=3), other._replace(cancelled=3)):
        assert standings(Facts(packs=(PACK, taken)), on)["p1"].renewed_by is None


def test_a_pack_ends_with_its_last_ticket() -> None:
    pack = PACK._replace(consumed=1, lengthened=(LengthenedTicket(2, date(2027, 4, 1)),))
    found = standings(Facts(packs=(pack,)), date(2026, 11, 26))["p1"]
    assert found.ends_on == date(2027, 4, 1)
    assert found.ends == {date(2027, 3, 1): 1, date(2027, 4, 1): 1}


def test_the_share_used() -> None:
    pack = PACK._replace(quantity=5, held=1, consumed=1, cancelled=2)
    used = {
        key: one.used_percent
        for key, one in standings(
            Facts(
                contracts=(CONTRACT._replace(used_minutes=899),),
                packs=(pack, PACK._replace(id="p2", cancelled=3)),
            ),
            date(2026, 11, 26),
        ).items()
    }
    assert used == {"c1": 74, "p1": 66, "p2": None}


def test_what_can_still_pay_on_a_date() -> None:
    """R5, R19: nothing from the end on, and no ticket from its own end on."""
    on = date(2026, 11, 26)
    contract = CONTRACT._replace(used_minutes=1100)
    pack = PACK._replace(
        quantity=9, held=1, consumed=1, cancelled=1, lengthened=(LengthenedTicket(2, ON + _DAY),)
    )
    pack = pack._replace(expires_on=ON, purchased_on=ON - timedelta(days=365))
    found = standings(Facts(contracts=(contract,), packs=(pack,)), on)
    hours, tickets = found["c1"], found["p1"]
    assert (hours.number, tickets.number) == ("SA-1", "TP-1")
    assert [hours.left_on(day) for day in (date(2026, 12, 31), date(2027, 1, 1))] == [100, 0]
    assert hours._replace(used=1300).left_on(on) == 0
    days = (ON - _DAY, ON, ON + _DAY)
    assert [tickets.left_on(day) for day in days] == [6, 1, 0]


# --- properties ----------------------------------------------------------------------------------


@given(strategies.policies, strategies.facts(), st.integers(-500, 500))
def test_years_run_and_pay_as_on_each_day(policies: Policies, facts: Facts, days: int) -> None:
    """The last day on which a year runs, and that on which it pays, by looking at each."""
    on = ON + timedelta(days=days)
    year = service_year(policies, facts, on)
    spans = year_spans(policies, facts)
    if year is not None:
        span = spans[year.starts_on]
        assert span.pays_from <= on < span.pays_until
    running = running_year(policies, facts, on)
    for starts_on, span in spans.items():
        runs = running is not None and running.starts_on == starts_on
        pays = year is not None and year.starts_on == starts_on
        assert not runs or on < span.runs_until
        assert not pays or on < span.pays_until
        for last in (
            running_year(policies, facts, span.runs_until - _DAY),
            service_year(policies, facts, span.pays_until - _DAY),
        ):
            assert last is not None
            assert last.starts_on == starts_on
        after = service_year(policies, facts, span.pays_until)
        assert span.followed_by == (None if after is None else after.starts_on)


@given(strategies.policies, strategies.facts(), st.integers(-500, 500))
def test_time_alone_changes_them_with_the_answer(
    policies: Policies, facts: Facts, days: int
) -> None:
    on = ON + timedelta(days=days)
    until = decide(policies, facts, on).valid_until
    found = allowance_standings(policies, facts, on)
    later = on + timedelta(days=400) if until is None else until - _DAY
    assert allowance_standings(policies, facts, later) == found


@given(strategies.policies, strategies.facts(), st.integers(-500, 500))
def test_they_are_those_of_the_usage(policies: Policies, facts: Facts, days: int) -> None:
    on = ON + timedelta(days=days)
    kept = {one.key: one for one in allowance_standings(policies, facts, on)}
    usage = {one.key: one for one in every_allowance(policies, facts, on)}
    assert kept.keys() == usage.keys()
    for key, one in kept.items():
        other = usage[key]
        assert (one.granted, one.used, one.held, one.overrun, one.cancelled, one.starts_on) == (
            other.granted,
            other.used,
            other.held,
            other.overrun,
            other.cancelled,
            other.starts_on,
        )
        assert one.begun is not other.never_began
        if one.kind != "free_hours":
            assert one.ends_on == one.stops_on == other.ends_on
        elif one.begun:
            # One that has ended today goes on if the next Editor will be withdrawn.
            assert on < one.ends_on or other.state == "expired"
            assert on < one.stops_on or other.state != "in_force"
