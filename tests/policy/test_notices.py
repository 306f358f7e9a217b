"""R41, sentence by sentence: what is announced of an allowance, and when."""

from datetime import date, timedelta

import pytest

from app.policy.allowance_standings import AllowanceStanding, allowance_standings
from app.policy.document import Policy
from app.policy.facts import Contract, Facts, LengthenedTicket, Licence, Pack
from app.policy.notices import Announced, Notice, announce, moved_years, next_look, silently
from tests.policy.strategies import PUBLISHED

POLICY = PUBLISHED.versions[0]
ENDS = date(2027, 1, 1)
CONTRACT = Contract("c1", "SA-1", date(2026, 1, 1), ENDS, None, 1200)
PACK = Pack("p1", "TP-1", date(2026, 1, 1), ENDS, 4)
EDITOR = Licence("l1", "S-1", "editor", date(2026, 1, 1))
NEW = Announced()


def before_end(days: int) -> date:
    return ENDS - timedelta(days)


def contract(used: int = 0, overrun: int = 0, **fields: object) -> AllowanceStanding:
    (one,) = allowance_standings(
        PUBLISHED,
        Facts(contracts=(CONTRACT._replace(used_minutes=used, overrun_minutes=overrun),)),
        CONTRACT.starts_on,
    )
    return one._replace(**fields)  # type: ignore[arg-type]


def told(found: list[Notice]) -> list[tuple[str, int | None, int]]:
    return [
        (one.kind or one.type.removeprefix("allowance."), one.level, one.episode) for one in found
    ]


class Life:
    """An allowance that is looked at again and again."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.known = NEW

    def look(self, one: AllowanceStanding, on: date) -> list[tuple[str, int | None, int]]:
        found, self.known = announce(self.policy, one, self.known, on)
        return told(found)


# --- days before the end --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "level"),
    [
        (61, None),
        (60, 60),
        (59, 60),
        (31, 60),
        (30, 30),
        (8, 30),
        (7, 7),
        (1, 7),
        (0, None),
        (-1, None),
    ],
)
def test_a_contract_is_announced_before_it_ends(days: int, level: int | None) -> None:
    """The level that stands is announced alone, from its day to the last one."""
    expected = [] if level is None else [("ending", level, 1)]
    assert Life().look(contract(), before_end(days)) == expected


@pytest.mark.parametrize(
    ("days", "level"), [(31, None), (30, 30), (8, 30), (7, 7), (1, 7), (0, None)]
)
def test_so_are_tickets_and_free_hours(days: int, level: int | None) -> None:
    expected = [] if level is None else [("ending", level, 1)]
    facts = Facts((EDITOR,), (), (PACK,))
    for one in allowance_standings(PUBLISHED, facts, EDITOR.purchased_on):
        assert Life().look(one, before_end(days)) == expected


def test_each_level_once() -> None:
    life = Life()
    days = [life.look(contract(), before_end(day)) for day in range(70, -3, -1)]
    assert [one for one in days if one] == [
        [("ending", 60, 1)],
        [("ending", 30, 1)],
        [("ending", 7, 1)],
    ]


def test_nothing_is_announced_before_the_first_day() -> None:
    one = contract(starts_on=before_end(20), used=1200)
    assert Life().look(one, before_end(21)) == []
    assert next_look(POLICY, one, before_end(21)) == before_end(20)
    assert Life().look(one, before_end(20)) == [
        ("used", 100, 1),
        ("exhausted", None, 1),
        ("ending", 30, 1),
    ]


def test_nothing_is_announced_as_ending_once_a_successor_exists() -> None:
    life = Life()
    assert life.look(contract(), before_end(60)) == [("ending", 60, 1)]
    renewed = contract(renewed_by="c2")
    assert [life.look(renewed, before_end(day)) for day in (30, 20)] == [[], []]
    # It was cancelled: 30 days stand now. They are not announced twice, nor are the 60.
    assert life.look(contract(), before_end(10)) == [("ending", 30, 1)]
    assert life.look(renewed, before_end(9)) == []
    assert life.look(contract(), before_end(8)) == []
    assert life.look(contract(), before_end(7)) == [("ending", 7, 1)]


def test_an_end_that_moved_away_is_announced_anew() -> None:
    life = Life()
    assert life.look(contract(), before_end(30)) == [("ending", 30, 1)]
    later = contract(stops_on=ENDS + timedelta(20), ends_on=ENDS + timedelta(20))
    # The 60 days stand as they did.
    assert life.look(later, before_end(29)) == []
    assert life.look(later, before_end(10)) == [("ending", 30, 2)]


def test_a_cancelled_contract_ends_on_the_day_of_its_cancellation() -> None:
    facts = Facts(contracts=(CONTRACT._replace(cancelled_on=date(2026, 6, 1)),))
    (one,) = allowance_standings(PUBLISHED, facts, CONTRACT.starts_on)
    assert Life().look(one, date(2026, 5, 2)) == [("ending", 30, 1)]
    assert Life().look(one, date(2026, 6, 1)) == []


def test_tickets_end_while_one_is_neither_consumed_nor_cancelled() -> None:
    def ending(pack: Pack, days: int) -> list[tuple[str, int | None, int]]:
        (one,) = allowance_standings(PUBLISHED, Facts(packs=(pack,)), pack.purchased_on)
        found = Life().look(one, before_end(days))
        return [notice for notice in found if notice[0] == "ending"]

    assert ending(PACK._replace(consumed=3, held=1), 7) == [("ending", 7, 1)]
    assert ending(PACK._replace(consumed=3, cancelled=1), 7) == []
    # The last one ends later than the pack.
    lengthened = PACK._replace(lengthened=(LengthenedTicket(1, ENDS + timedelta(10)),))
    assert ending(lengthened, 7) == [("ending", 30, 1)]
    assert ending(lengthened, -3) == [("ending", 7, 1)]


def test_what_is_known_after_the_days_that_were_passed() -> None:
    life = Life()
    found, life.known = announce(POLICY, contract(), NEW, before_end(60))
    assert found == [Notice("allowance.notice", 1, "ending", 60, before_end(60))]
    assert life.known == Announced(ending=(60,), days=60)
    # Looked at again on the same day, and on the next one.
    for day in (60, 59):
        assert life.look(contract(), before_end(day)) == []
        assert life.known == Announced(ending=(60,), days=60)
    # Late: the notice names the day on which its level was reached.
    found, life.known = announce(POLICY, contract(), life.known, before_end(20))
    assert found == [Notice("allowance.notice", 1, "ending", 30, before_end(30))]
    assert life.known == Announced(ending=(60, 30), days=30)
    # The end moves so far away that 30 days stand again, on their very day, and 7 do not.
    assert life.look(contract(), before_end(7)) == [("ending", 7, 1)]
    later = contract(stops_on=ENDS + timedelta(23), ends_on=ENDS + timedelta(23))
    assert life.look(later, before_end(7)) == []
    assert life.known == Announced(episode=2, ending=(60, 30), days=30)
    # Further: no level stands.
    later = contract(stops_on=ENDS + timedelta(100), ends_on=ENDS + timedelta(100))
    assert life.look(later, before_end(7)) == []
    assert life.known == Announced(episode=3)
    assert life.look(later, before_end(-40)) == [("ending", 60, 3)]


# --- free hours -----------------------------------------------------------------------------------


def test_free_hours_that_an_anniversary_renews_are_not_announced() -> None:
    bought_on = before_end(2)
    facts = Facts((EDITOR, Licence("l2", "S-2", "runtime", bought_on)))
    (year,) = allowance_standings(PUBLISHED, facts, bought_on)
    assert Life().look(year, bought_on) == []
    assert next_look(POLICY, year, bought_on) is None
    # The next year stops when DEV ends.
    (_, year) = allowance_standings(PUBLISHED, facts, ENDS)
    assert year.stops_on == date(2027, 12, 30)
    assert Life().look(year, date(2027, 11, 30)) == [("ending", 30, 1)]
    assert Life().look(year, date(2027, 11, 29)) == []


def test_a_purchase_that_keeps_dev_renews_free_hours() -> None:
    life = Life()
    (year,) = allowance_standings(PUBLISHED, Facts((EDITOR,)), before_end(30))
    assert life.look(year, before_end(30)) == [("ending", 30, 1)]
    bought = Facts((EDITOR, Licence("l2", "S-2", "other", before_end(20))))
    (year,) = allowance_standings(PUBLISHED, bought, before_end(20))
    assert [life.look(year, before_end(day)) for day in (20, 7, 1, 0)] == [[]] * 4


def test_a_year_that_sleeps_is_announced_as_used_alone() -> None:
    facts = Facts((EDITOR._replace(purchased_on=date(2025, 6, 1)),))
    # DEV ended, and with it the year; a runtime brings the next one.
    runtime = Licence("l2", "S-2", "runtime", date(2025, 9, 1))
    year = allowance_standings(
        PUBLISHED, facts._replace(licences=(*facts.licences, runtime)), date(2026, 6, 1)
    )[-1]
    assert (year.starts_on, year.stops_on) == (date(2026, 6, 1), date(2026, 9, 1))
    spent = year._replace(used=230)
    assert Life().look(spent, date(2026, 12, 1)) == [("used", 75, 1)]
    assert Life().look(spent, date(2027, 5, 31)) == [("used", 75, 1)]
    assert Life().look(spent, date(2027, 6, 1)) == []


# --- shares used ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (899, []),
        (900, [("used", 75, 1)]),
        (1079, [("used", 75, 1)]),
        (1080, [("used", 90, 1)]),
        (1199, [("used", 90, 1)]),
        (1200, [("used", 100, 1), ("exhausted", None, 1)]),
    ],
)
def test_the_highest_share_alone(used: int, expected: list[object]) -> None:
    on = date(2026, 6, 1)
    life = Life()
    assert life.look(contract(used), on) == expected
    assert life.look(contract(used), on) == []


def test_held_tickets_are_used_and_cancelled_ones_are_not_there() -> None:
    (one,) = allowance_standings(
        PUBLISHED, Facts(packs=(PACK._replace(held=1, consumed=1, cancelled=2),)), date(2026, 6, 1)
    )
    assert Life().look(one, date(2026, 6, 1)) == [("used", 100, 1), ("exhausted", None, 1)]
    void = one._replace(held=0, used=0, cancelled=4, ends={})
    assert Life().look(void, date(2026, 12, 30)) == []


def test_each_share_once_in_an_episode() -> None:
    on = date(2026, 6, 1)
    life = Life()
    seen = [life.look(contract(used), on) for used in (900, 1080, 1200, 1000, 1200, 900, 1100)]
    assert seen == [
        [("used", 75, 1)],
        [("used", 90, 1)],
        [("used", 100, 1), ("exhausted", None, 1)],
        *[[]] * 4,
    ]


def test_recovered_under_the_lowest_level_that_was_announced() -> None:
    on = date(2026, 6, 1)
    life = Life()
    assert life.look(contract(1100), on) == [("used", 90, 1)]
    assert life.look(contract(1080), on) == []
    # 75 per cent was passed with the 90, not announced.
    assert life.look(contract(1079), on) == [("recovered", None, 1)]
    assert life.look(contract(950), on) == []
    assert life.look(contract(1080), on) == [("used", 90, 2)]
    assert life.look(contract(100), on) == [("recovered", None, 2)]
    assert life.look(contract(100), on) == []
    assert life.look(contract(900), on) == [("used", 75, 3)]


def test_recovery_does_not_repeat_the_days() -> None:
    life = Life()
    assert life.look(contract(900), before_end(60)) == [("used", 75, 1), ("ending", 60, 1)]
    assert life.look(contract(0), before_end(50)) == [("recovered", None, 1)]
    assert life.look(contract(0), before_end(30)) == [("ending", 30, 2)]


def test_nothing_is_announced_as_used_after_the_end() -> None:
    life = Life()
    assert life.look(contract(800), before_end(1)) == [("ending", 7, 1)]
    assert life.look(contract(1200), ENDS) == []
    assert life.look(contract(0), ENDS) == []


def test_exhausted_without_a_level_of_100_per_cent() -> None:
    notices = POLICY.notices.model_copy(update={"used_percent": ()})
    life = Life(POLICY.model_copy(update={"notices": notices}))
    on = date(2026, 6, 1)
    assert life.look(contract(1200), on) == [("exhausted", None, 1)]
    assert life.look(contract(1100), on) == [("recovered", None, 1)]
    assert life.look(contract(1200), on) == [("exhausted", None, 2)]


def test_a_share_that_was_passed_is_not_told_twice_in_an_episode() -> None:
    on = date(2026, 6, 1)
    life = Life()
    seen = [life.look(contract(used), on) for used in (900, 1080, 1000, 1080)]
    assert seen == [[("used", 75, 1)], [("used", 90, 1)], [], []]
    assert life.known == Announced(used=(75, 90), percent=90)


def test_what_is_known_after_shares() -> None:
    on = date(2026, 6, 1)
    life = Life()
    assert life.look(contract(), on) == []
    assert life.known == NEW
    found, life.known = announce(POLICY, contract(1200), NEW, on)
    assert found == [
        Notice("allowance.notice", 1, "used", 100),
        Notice("allowance.exhausted", 1),
    ]
    assert life.known == Announced(used=(100,), exhausted=True, percent=100)
    found, life.known = announce(POLICY, contract(950), life.known, on)
    assert found == [Notice("allowance.recovered", 1)]
    assert life.known == Announced(episode=2, percent=75)
    assert life.known.exhausted is False


# --- overrun --------------------------------------------------------------------------------------


def test_overrun_is_announced_when_it_begins() -> None:
    on = date(2026, 6, 1)
    life = Life()
    full = [("used", 100, 1), ("exhausted", None, 1), ("overrun", None, 1)]
    assert life.look(contract(1200, 5), on) == full
    assert life.look(contract(1200, 50), on) == []
    assert life.look(contract(1200, 0), on) == []
    assert life.look(contract(1200, 1), on) == [("overrun", None, 1)]
    assert life.look(contract(1200, 1), on) == []


def test_overrun_is_announced_after_the_end_too() -> None:
    assert Life().look(contract(1200, 5), ENDS) == [("overrun", None, 1)]


# --- the first look, and the next ----------------------------------------------------------------


def test_what_stood_before_notices_were_kept_is_not_announced() -> None:
    life = Life()
    on = before_end(40)
    found, after = announce(POLICY, contract(1100, 5), NEW, on)
    assert told(found) == [("used", 90, 1), ("ending", 60, 1), ("overrun", None, 1)]
    life.known = silently(NEW, after)
    assert life.look(contract(1100, 5), on) == []
    # Nothing was announced that could recover. What comes is announced.
    assert life.look(contract(300), on) == []
    assert life.look(contract(900), on) == [("used", 75, 1)]
    assert life.look(contract(900), before_end(30)) == [("ending", 30, 1)]


def test_a_silent_look_keeps_what_was_announced() -> None:
    before = Announced(1, (60,), (75,), True, True, 60, 75)
    after = Announced(2, (60, 30), (75, 90), False, False, 30, 90)
    assert silently(before, after) == Announced(2, (60,), (75,), True, False, 30, 90)


def test_there_is_no_next_look_at_what_is_not_announced_as_ending() -> None:
    on = before_end(300)
    assert next_look(POLICY, contract(renewed_by="c2"), on) is None
    assert next_look(POLICY, contract(begun=False), on) is None
    assert next_look(POLICY, contract(), CONTRACT.starts_on) == before_end(60)


def test_the_next_look_is_that_of_the_next_level() -> None:
    looks = {day: next_look(POLICY, contract(), before_end(day)) for day in (300, 61, 60, 8, 7, 0)}
    assert looks == {
        300: before_end(60),
        61: before_end(60),
        60: before_end(30),
        8: before_end(7),
        7: None,
        0: None,
    }


def test_a_level_that_was_added_is_announced_where_it_stands() -> None:
    life = Life()
    assert life.look(contract(), before_end(70)) == []
    days = POLICY.notices.days_before_end.model_copy(update={"contract": (90, 30)})
    notices = POLICY.notices.model_copy(update={"days_before_end": days})
    life.policy = POLICY.model_copy(update={"notices": notices})
    assert life.look(contract(), before_end(69)) == [("ending", 90, 1)]


def test_a_service_year_that_moved_is_the_same_one() -> None:
    days = [date(year, 3, 1) for year in (2024, 2025, 2026)]
    later = [day + timedelta(40) for day in days[:2]]
    assert moved_years(days, later) == dict(zip(later, days, strict=False))
    assert moved_years([], days) == {}
    # The nearest one, of two that are as near the older one.
    new = date(2026, 1, 1)
    assert moved_years(days, [new]) == {new: days[2]}
    near = [new - timedelta(5), new + timedelta(5)]
    assert moved_years(near, [new]) == {new: near[0]}
