"""What a difference of two standings is told as."""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.civil import add_months
from app.policy.decide import changing_days, decide
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, LengthenedTicket, Licence, Pack
from app.policy.standing_changes import Happened, Step, Stood, steps, stood
from tests.policy import strategies
from tests.policy.strategies import ON, PUBLISHED

_DAY = timedelta(days=1)
CONTRACT = Contract("c1", "SA-1", date(2026, 1, 1), date(2027, 1, 1), None, 1200)
EDITOR = Licence("l1", "S-1", "editor", date(2026, 2, 1))
PACK = Pack("p1", "TP-1", date(2026, 3, 1), date(2027, 3, 1), 3)


def standing(facts: Facts, on: date) -> Stood:
    return stood(decide(PUBLISHED, facts, on))


def passed(facts: Facts, since: date, today: date) -> list[Step]:
    """What time alone brings."""
    return steps(PUBLISHED, facts, standing(facts, since), None, today)


def written(before: Facts, after: Facts, on: date) -> Step:
    """What a write brings on its day."""
    (step,) = steps(PUBLISHED, after, standing(before, on), on, on)
    return step


def types(step: Step) -> list[tuple[str, str | None]]:
    return [(one.type, one.subject) for one in step.happened]


def test_a_write() -> None:
    step = written(Facts(), Facts((EDITOR,)), date(2026, 2, 1))
    assert step.cause == "write"
    assert step.before.columns == ("NO_DEV",)
    assert step.after.columns == ("DEV",)
    assert step.after.valid_until == date(2027, 2, 1)
    assert not step.before.shows(step.after)
    year = {"starts_on": "2026-02-01", "ends_on": "2027-02-01"}
    assert step.happened == (Happened("free_hours.started", None, None, year),)


def test_what_is_kept_of_an_answer() -> None:
    contract = CONTRACT._replace(starts_on=date(2026, 2, 1))
    on = date(2026, 5, 1)
    kept = standing(Facts((EDITOR,), (contract,), (PACK,)), on)
    assert kept == Stood(
        on,
        ("DEV", "SA", "TCK"),
        (
            "web_forum",
            "web_support_portal",
            "support_downloads",
            "email_support",
            "phone_support",
            "remote_access",
            "priority_support",
            "editor_upgrades",
        ),
        date(2027, 1, 1),
        {"c1": False},
        (date(2026, 2, 1), date(2027, 2, 1)),
        {"p1": {date(2027, 3, 1): 3}},
    )
    assert kept.shows(kept._replace(on=on + _DAY, contracts={}, year=None, packs={}))
    assert not kept.shows(kept._replace(columns=("DEV",)))
    assert not kept.shows(kept._replace(services=()))
    assert not kept.shows(kept._replace(valid_until=None))
    without = standing(Facts((), (contract,)), on)
    assert (without.services, without.contracts) == (("web_forum",), {"c1": True})


def test_a_write_that_changes_nothing() -> None:
    facts = Facts((EDITOR,))
    step = written(facts, facts._replace(open_cases=()), date(2026, 5, 1))
    assert step.before == step.after
    assert step.happened == ()


def test_a_contract_that_ends_expires() -> None:
    facts = Facts((EDITOR,), (CONTRACT,))
    (step,) = passed(facts, date(2026, 12, 1), date(2027, 1, 1))
    assert step.cause == "time"
    assert step.after.on == date(2027, 1, 1)
    days = {"number": "SA-1", "starts_on": "2026-01-01", "ends_on": "2027-01-01"}
    assert step.happened == (Happened("contract.expired", "c1", date(2027, 1, 1), days),)


@pytest.mark.parametrize("cancelled_on", [date(2026, 11, 1), date(2026, 12, 31)])
def test_a_cancelled_contract_does_not_expire(cancelled_on: date) -> None:
    facts = Facts((EDITOR,), (CONTRACT._replace(cancelled_on=cancelled_on),))
    (step,) = passed(facts, date(2026, 10, 1), date(2027, 1, 5))
    assert step.after.on == cancelled_on
    assert step.happened == ()


def test_a_contract_without_an_editor_is_suspended_and_resumed() -> None:
    on = date(2026, 6, 1)
    held, given_back = Facts((EDITOR,), (CONTRACT,)), Facts((), (CONTRACT,))
    suspended = written(held, given_back, on)
    assert types(suspended) == [("contract.suspended", "c1"), ("free_hours.ended", None)]
    days = {"number": "SA-1", "starts_on": "2026-01-01", "ends_on": "2027-01-01"}
    assert suspended.happened[0] == Happened("contract.suspended", "c1", None, days)
    resumed = written(given_back, held, on)
    assert types(resumed) == [("contract.resumed", "c1"), ("free_hours.started", None)]
    assert resumed.happened[0] == Happened("contract.resumed", "c1", None, days)
    # One that ends while it is suspended expires.
    (*_, step) = passed(given_back, on, date(2027, 1, 1))
    assert types(step) == [("contract.expired", "c1")]


def test_tickets_expire_by_their_own_ends() -> None:
    lengthened = PACK._replace(
        quantity=6,
        held=1,
        consumed=1,
        lengthened=(LengthenedTicket(1, date(2027, 4, 1)), LengthenedTicket(2, date(2027, 4, 2))),
    )
    found = passed(Facts(packs=(lengthened,)), date(2027, 1, 1), date(2027, 12, 1))
    told = [(one.data["quantity"], one.on) for step in found for one in step.happened]
    assert told == [
        (2, date(2027, 3, 1)),
        (1, date(2027, 4, 1)),
        (1, date(2027, 4, 2)),
    ]


@pytest.mark.parametrize("held", [2, 3])
@pytest.mark.parametrize("on", [date(2027, 3, 1), date(2027, 3, 5)])
def test_a_ticket_that_comes_back_after_its_end_expires_then(held: int, on: date) -> None:
    """R19: also on the very day on which its own year ended, and where none was left unused."""
    step = written(Facts(packs=(PACK._replace(held=held),)), Facts(packs=(PACK,)), on)
    data: dict[str, str | int] = {"number": "TP-1", "quantity": held, "expired_on": "2027-03-01"}
    assert step.happened == (Happened("tickets.expired", "p1", None, data),)


def test_the_tickets_of_each_pack_expire() -> None:
    """R19: of one beside which another is new, or goes on."""
    on = date(2027, 3, 1)
    new = PACK._replace(id="p2", purchased_on=on, expires_on=date(2028, 3, 1))
    lasting = PACK._replace(id="p3", purchased_on=date(2026, 9, 1), expires_on=date(2027, 9, 1))
    before = standing(Facts(packs=(lasting, PACK)), date(2026, 10, 1))
    (step,) = steps(PUBLISHED, Facts(packs=(new, lasting, PACK)), before, on, on)
    data: dict[str, str | int] = {"number": "TP-1", "quantity": 3, "expired_on": "2027-03-01"}
    assert step.happened == (Happened("tickets.expired", "p1", on, data),)


def test_consumed_and_cancelled_tickets_do_not_expire() -> None:
    spent = PACK._replace(consumed=1, cancelled=2)
    assert written(Facts(packs=(PACK,)), Facts(packs=(spent,)), date(2026, 5, 1)).happened == ()


def test_a_pack_recorded_after_its_end_is_not_told_as_expired() -> None:
    assert written(Facts(), Facts(packs=(PACK,)), date(2027, 5, 1)).happened == ()


def test_free_hours_end_where_another_year_starts() -> None:
    another = EDITOR._replace(id="l2", purchased_on=date(2026, 9, 1))
    (first, second) = passed(Facts((EDITOR, another)), date(2026, 8, 1), date(2027, 9, 1))[:2]
    assert first.after.on == date(2026, 9, 1)
    assert [one.type for one in first.happened] == ["free_hours.ended", "free_hours.started"]
    assert first.happened[0].data["ends_on"] == "2027-02-01"
    assert second.after.on == date(2027, 9, 1)
    assert [one.type for one in second.happened] == ["free_hours.ended"]


def test_a_write_before_time_went_on() -> None:
    """The old standing does not follow from the facts: the write came first."""
    before = standing(Facts((EDITOR,)), date(2026, 6, 1))
    after = Facts((EDITOR,), (), (PACK,))
    found = steps(PUBLISHED, after, before, date(2026, 7, 1), date(2027, 3, 2))
    assert [(step.cause, step.after.on) for step in found] == [
        ("write", date(2026, 7, 1)),
        ("time", date(2027, 2, 1)),
        ("time", date(2027, 3, 1)),
    ]


def test_a_write_that_changed_nothing_before_time_went_on() -> None:
    facts = Facts((EDITOR,), (CONTRACT,))
    before = standing(facts, date(2026, 6, 1))
    found = steps(PUBLISHED, facts, before, date(2026, 7, 1), date(2027, 3, 2))
    assert [(step.cause, step.after.on) for step in found] == [
        ("time", date(2027, 1, 1)),
        ("time", date(2027, 2, 1)),
    ]


def test_a_write_after_time_went_on() -> None:
    """Looked at late: one step tells of both, and the contract's end keeps its day."""
    before = standing(Facts((EDITOR,), (CONTRACT,)), date(2026, 6, 1))
    after = Facts((EDITOR,), (CONTRACT,), (PACK._replace(purchased_on=date(2026, 3, 2)),))
    (step,) = steps(PUBLISHED, after, before, date(2027, 1, 9), date(2027, 1, 9))
    assert step.cause == "write"
    assert types(step) == [("contract.expired", "c1")]
    assert step.happened[0].on == date(2027, 1, 1)


@dataclass
class Sums:
    """What a customer's own facts say that time brings from one day to another."""

    contracts: set[tuple[str, date]]
    tickets: dict[tuple[str, date], int]

    @classmethod
    def of(cls, facts: Facts, since: date, today: date) -> "Sums":
        tickets: dict[tuple[str, date], int] = {}
        for pack in facts.packs:
            day = max(since, pack.purchased_on)
            while day < today:
                day += _DAY
                gone = pack.available(day - _DAY) - pack.available(day)
                if gone > 0 and day - _DAY >= pack.purchased_on:
                    tickets[pack.id, day] = gone
        return cls(
            {
                (one.id, one.ends_on)
                for one in facts.contracts
                if one.in_force(max(since, one.ends_on - _DAY)) and since < one.ends_on <= today
            },
            tickets,
        )


@given(strategies.policies, strategies.facts(), st.integers(0, 500))
def test_time_alone(policies: Policies, facts: Facts, length: int) -> None:
    """Every day's answer is told, one after another, with the ends of what ended."""
    today = ON + timedelta(days=length)
    found = steps(policies, facts, stood(decide(policies, facts, ON)), None, today)
    if found and found[0].cause == "write":
        (only,) = found
        assert only.before == only.after._replace(on=ON)
        found = []
    assert all(one.before == before.after for before, one in pairwise(found))
    assert all(not one.before.shows(one.after) for one in found)
    days = {one.after.on for one in found}
    last = stood(decide(policies, facts, ON))
    for day in [day for day in changing_days(policies, facts, ON) if day <= today]:
        now = stood(decide(policies, facts, day))
        if not last.shows(now):
            assert day in days
        last = now
    happened = [one for step in found for one in step.happened]
    sums = Sums.of(facts, ON, today)
    expired = {(one.subject, one.on) for one in happened if one.type == "contract.expired"}
    assert expired == sums.contracts
    tickets = {
        (one.subject, one.on): one.data["quantity"]
        for one in happened
        if one.type == "tickets.expired"
    }
    assert tickets == sums.tickets


def test_a_year_of_another_length_is_another_year() -> None:
    on = date(2026, 6, 1)
    later = EDITOR._replace(purchased_on=add_months(EDITOR.purchased_on, 1))
    step = written(Facts((EDITOR,)), Facts((later,)), on)
    assert types(step) == [("free_hours.ended", None), ("free_hours.started", None)]
