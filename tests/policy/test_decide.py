"""One answer of a date, and until when each service in it holds (R13)."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given

from app.policy.allocate import refusal
from app.policy.decide import (
    answer_on,
    changing_days,
    continuing,
    decide,
    service_valid_until,
)
from app.policy.document import PaidBy, Policies
from app.policy.facts import (
    Contract,
    Facts,
    Grant,
    LengthenedTicket,
    Licence,
    OpenCase,
    Pack,
    Reason,
    ServiceAnswer,
    ServiceYear,
)
from tests.policy import strategies as some
from tests.policy.strategies import PUBLISHED

_DAY = timedelta(days=1)
ON = date(2026, 11, 23)
EDITOR = Licence("l1", "S-1", "editor", date(2026, 3, 1))
CONTRACT = Contract("c1", "SA-1", date(2026, 1, 1), date(2027, 1, 1), None, 1200)
PACK = Pack("p1", "TP-1", date(2026, 12, 1) - timedelta(days=365), date(2026, 12, 1), 1)


@given(some.policies, some.facts(), some.days)
def test_the_answer_alone_is_that_of_the_decision(
    policies: Policies, facts: Facts, on: date
) -> None:
    assert answer_on(policies, facts, on) == decide(policies, facts, on).answer


@pytest.mark.parametrize(
    ("service", "until"),
    [
        # Granted by each column in which the customer stands: one grant less.
        ("web_forum", date(2026, 12, 1)),
        ("web_support_portal", date(2026, 12, 1)),
        ("email_support", date(2026, 12, 1)),
        ("phone_support", date(2026, 12, 1)),
        ("support_downloads", date(2027, 1, 1)),
        ("priority_support", date(2027, 1, 1)),
        ("editor_upgrades", date(2027, 1, 1)),
    ],
)
def test_a_service_holds_until_its_own_next_change(service: str, until: date) -> None:
    facts = Facts((EDITOR,), (CONTRACT,), (PACK,))
    decision = decide(PUBLISHED, facts, ON)
    found = next(one for one in decision.answer.services if one.service == service)
    assert service_valid_until(PUBLISHED, facts, decision, found) == until
    assert decision.valid_until == date(2026, 12, 1)


def test_a_service_of_which_nothing_changes() -> None:
    decision = decide(PUBLISHED, Facts(), ON)
    for service in decision.answer.services:
        assert service_valid_until(PUBLISHED, Facts(), decision, service) is None


def test_an_open_case_goes_on_on_the_channels_of_what_pays_for_it() -> None:
    """R11, R23, R29: on its own channel alone where nothing pays."""
    facts = Facts(
        open_cases=(
            OpenCase("2026-000001", "email", "free_hours"),
            OpenCase("2026-000002", "email", "contract"),
            OpenCase("2026-000003", "phone", "ticket"),
            OpenCase("2026-000004", "remote", "none"),
        )
    )
    assert continuing(PUBLISHED.versions[0], facts) == {
        "email_support": ["2026-000001", "2026-000002", "2026-000003"],
        "phone_support": ["2026-000002", "2026-000003"],
        "remote_access": ["2026-000002", "2026-000003", "2026-000004"],
    }
    assert continuing(PUBLISHED.versions[0], Facts()) == {}


# --- what an answer says --------------------------------------------------------------------------


def service_of(facts: Facts, service: str, on: date = ON) -> ServiceAnswer:
    return next(one for one in answer_on(PUBLISHED, facts, on).services if one.service == service)


def reasons(facts: Facts, service: str = "phone_support") -> dict[str, tuple[str, Any]]:
    return {
        reason.column: (reason.code, reason.facts) for reason in service_of(facts, service).reasons
    }


def test_an_answer_names_its_policy_and_what_pays() -> None:
    year = ServiceYear(date(2026, 3, 1), date(2027, 3, 1), 300, 100)
    second = CONTRACT._replace(id="c2", used_minutes=200)
    facts = Facts((EDITOR,), (CONTRACT, second), (PACK,), {year.starts_on: year})
    answer = answer_on(PUBLISHED, facts, ON)
    assert answer.policy == "progea/2020-01-01"
    assert answer.columns == ("DEV", "SA", "TCK")
    assert answer.service_year == year
    assert answer.contracts == (CONTRACT, second)
    assert answer.suspended is False
    assert answer.packs == ((PACK, 1),)
    assert service_of(facts, "email_support").granted_by == (
        Grant("DEV", "free_hours", 200),
        Grant("SA", "contract", 2200),
        Grant("TCK", "ticket", 1),
    )
    assert service_of(facts, "priority_support").granted_by == (Grant("SA", None, None),)


def test_a_contract_is_suspended_without_an_editor() -> None:
    """R4."""
    assert answer_on(PUBLISHED, Facts(contracts=(CONTRACT,)), ON).suspended is True
    assert answer_on(PUBLISHED, Facts(), ON).suspended is False
    assert answer_on(PUBLISHED, Facts((EDITOR,)), ON).suspended is False
    facts = Facts(contracts=(CONTRACT._replace(used_minutes=1200),))
    assert reasons(facts)["SA"] == (
        "contract_suspended",
        {"number": "SA-1", "ends_on": date(2027, 1, 1)},
    )
    # Of several, that which would pay first.
    sooner = CONTRACT._replace(id="c2", number="SA-2", cancelled_on=date(2026, 12, 1))
    assert reasons(Facts(contracts=(CONTRACT, sooner)))["SA"][1] == {
        "number": "SA-2",
        "ends_on": date(2026, 12, 1),
    }


def test_why_there_are_no_free_hours() -> None:
    """R6, R12, R14."""
    assert reasons(Facts(), "email_support")["DEV"] == ("no_editor_licence", {})
    lapsed = EDITOR._replace(purchased_on=date(2025, 11, 23))
    assert reasons(Facts((lapsed,)), "email_support")["DEV"] == (
        "last_purchase_lapsed",
        {"last_purchase_on": date(2025, 11, 23), "lapsed_on": ON},
    )
    got = EDITOR._replace(bought=False, held_from=date(2026, 9, 1))
    assert reasons(Facts((got,)), "email_support")["DEV"] == (
        "last_purchase_lapsed",
        {"last_purchase_on": None, "lapsed_on": None},
    )
    year = ServiceYear(date(2026, 3, 1), date(2027, 3, 1), 300, 300, 20)
    facts = Facts((EDITOR,), service_years={year.starts_on: year})
    assert reasons(facts, "email_support")["DEV"] == (
        "hours_exhausted",
        {"granted_minutes": 300, "used_minutes": 300, "overrun_minutes": 20},
    )


def test_dev_without_a_year_names_the_editor_that_was_got_last() -> None:
    """R14, R44."""
    runtime = Licence("r", "S-9", "runtime", date(2026, 9, 1))
    got = EDITOR._replace(bought=False, held_from=date(2026, 5, 1))
    later = got._replace(id="l0", purchased_on=date(2025, 1, 1), held_from=date(2026, 6, 1))
    same_day = later._replace(id="l2", purchased_on=date(2025, 2, 1))
    gone = later._replace(id="l9", held_from=date(2026, 7, 1), withdrawn_on=ON)
    for licences in ((runtime, got, later, gone), (gone, later, got, runtime)):
        assert reasons(Facts(licences), "email_support")["DEV"] == (
            "no_free_hours",
            {"purchased_on": date(2025, 1, 1), "transferred_on": date(2026, 6, 1)},
        )
    for three in ((runtime, later, same_day), (same_day, later, runtime)):
        found = reasons(Facts(three), "email_support")["DEV"][1]
        assert found["purchased_on"] == date(2025, 2, 1)


def test_the_hours_of_all_contracts_are_summed() -> None:
    spent = CONTRACT._replace(used_minutes=1200, overrun_minutes=30)
    second = spent._replace(id="c2", granted_minutes=60, used_minutes=60, overrun_minutes=1)
    assert reasons(Facts((EDITOR,), (spent, second)))["SA"] == (
        "hours_exhausted",
        {"granted_minutes": 1260, "used_minutes": 1260, "overrun_minutes": 31},
    )


def test_why_there_is_no_ticket() -> None:
    """R5, R12, R19, R45: the latest pack says why; packs of one day are taken together."""
    void = PACK._replace(id="p9", cancelled=1)
    coming = PACK._replace(id="p8", purchased_on=ON + _DAY)
    for packs in ((), (void,), (coming,), (void, coming)):
        assert reasons(Facts(packs=packs))["TCK"] == ("no_tickets", {})
    assert reasons(Facts(packs=(PACK._replace(cancelled_later=((ON, 1),)),)))["TCK"] == (
        "no_tickets",
        {},
    )
    consumed = PACK._replace(quantity=3, consumed=3)
    assert reasons(Facts(packs=(consumed,)))["TCK"] == ("tickets_consumed", {"consumed": 3})
    today = PACK._replace(id="p7", purchased_on=ON, consumed=1)
    assert reasons(Facts(packs=(today,)))["TCK"] == ("tickets_consumed", {"consumed": 1})
    held = PACK._replace(id="p2", quantity=3, consumed=1, held=2)
    another = held._replace(id="p3", quantity=1, consumed=0, held=1)
    assert reasons(Facts(packs=(consumed, held, another)))["TCK"] == (
        "tickets_all_in_use",
        {"held": 3, "consumed": 4},
    )
    old = Pack("p0", "TP-0", date(2024, 5, 1), date(2025, 5, 1), 4)
    twin = old._replace(id="p1", quantity=3, consumed=1)
    expired = {"expired_on": date(2025, 5, 1), "expired": 6}
    assert reasons(Facts(packs=(old, twin)))["TCK"] == ("tickets_expired", expired)
    # An earlier pack is not asked.
    before = old._replace(id="pa", purchased_on=date(2024, 4, 1), expires_on=date(2025, 4, 1))
    assert reasons(Facts(packs=(before, old, twin)))["TCK"] == ("tickets_expired", expired)
    assert reasons(Facts(packs=(old, consumed)))["TCK"] == ("tickets_consumed", {"consumed": 3})
    # A ticket that got days back ended later than its pack; one that was consumed says nothing.
    longer = (
        LengthenedTicket(1, date(2025, 6, 1)),
        LengthenedTicket(2, date(2025, 7, 1), "consumed"),
    )
    lengthened = old._replace(consumed=1, lengthened=longer)
    later = twin._replace(consumed=3, expires_on=date(2025, 8, 1))
    assert reasons(Facts(packs=(lengthened, later)))["TCK"] == (
        "tickets_expired",
        {"expired_on": date(2025, 6, 1), "expired": 3},
    )


@pytest.mark.parametrize(
    ("kind", "reason", "steps"),
    [
        ("free_hours", Reason("DEV", "no_editor_licence"), ("buy_editor_licence",)),
        ("contract", Reason("SA", "no_contract_in_force", {}), ()),
        ("ticket", Reason("TCK", "no_tickets"), ("buy_tickets",)),
    ],
)
def test_a_refusal_of_one_kind_speaks_of_that_kind_alone(
    kind: PaidBy, reason: Reason, steps: tuple[str, ...]
) -> None:
    """R12, R18."""
    facts = Facts()
    found = refusal(PUBLISHED, facts, decide(PUBLISHED, facts, ON), "email", kind)
    assert found == ServiceAnswer("email_support", (), (reason,), steps)  # type: ignore[arg-type]


def test_a_kind_that_does_not_pay_for_a_channel_is_not_in_the_matrix() -> None:
    facts = Facts((EDITOR,))
    found = refusal(PUBLISHED, facts, decide(PUBLISHED, facts, ON), "phone", "free_hours")
    reason = Reason("DEV", "not_in_matrix")
    assert found == ServiceAnswer("phone_support", (), (reason,), ())


def test_an_editor_is_not_advised_where_the_year_that_it_begins_is_spent() -> None:
    """R12, R14: it would still bring what counts nothing."""
    spent = ServiceYear(ON, date(2027, 11, 23), 300, 300)
    facts = Facts(service_years={ON: spent})
    assert service_of(facts, "email_support").unlocked_by == ("buy_tickets",)
    portal = service_of(facts, "web_support_portal").unlocked_by
    assert portal == ("buy_editor_licence", "buy_tickets")
    left = Facts(service_years={ON: spent._replace(used_minutes=299)})
    found = service_of(left, "email_support").unlocked_by
    assert found == ("buy_editor_licence", "buy_tickets")


# --- the days on which an answer may change (R13) -------------------------------------------------


def test_days_that_have_passed_or_are_today_change_nothing() -> None:
    withdrawn = EDITOR._replace(withdrawn_on=ON)
    assert changing_days(PUBLISHED, Facts((withdrawn,)), ON) == []
    assert ON in changing_days(PUBLISHED, Facts((withdrawn,)), ON - _DAY)
    assert date(2027, 1, 1) not in changing_days(
        PUBLISHED, Facts(contracts=(CONTRACT,)), date(2027, 1, 1)
    )


def test_a_licence_that_came_back_changes_the_answer_on_each_of_its_days() -> None:
    """R44."""
    earlier = ((date(2026, 4, 1), date(2026, 5, 1)),)
    licence = EDITOR._replace(held_from=date(2026, 6, 1), earlier=earlier)
    facts = Facts((licence,), (CONTRACT,))
    ends = [
        decide(PUBLISHED, facts, day).valid_until
        for day in (date(2026, 3, 15), date(2026, 4, 15), date(2026, 5, 15), date(2026, 6, 15))
    ]
    assert ends == [date(2026, 4, 1), date(2026, 5, 1), date(2026, 6, 1), date(2027, 1, 1)]


def test_tickets_that_are_cancelled_later_change_the_answer_then() -> None:
    """R13, R45."""
    pack = PACK._replace(quantity=2, cancelled_later=((ON, 1),))
    facts = Facts(packs=(pack,))
    assert decide(PUBLISHED, facts, ON - _DAY).valid_until == ON
    assert decide(PUBLISHED, facts, ON).valid_until == pack.expires_on


def test_a_pack_whose_tickets_count_after_its_end_changes_nothing_on_that_day() -> None:
    """R5, R13, R19: a held ticket counts while its case is open, a lengthened one until its own
    end.
    """
    longer = PACK.expires_on + 30 * _DAY
    held = PACK._replace(quantity=1, held=1)
    lengthened = PACK._replace(quantity=2, consumed=1, lengthened=(LengthenedTicket(1, longer),))
    assert decide(PUBLISHED, Facts(packs=(held,)), ON).valid_until is None
    assert decide(PUBLISHED, Facts(packs=(lengthened,)), ON).valid_until == longer


def test_a_year_that_sleeps_ends_as_its_own_purchase_says() -> None:
    """R13, R14: not on the day that an earlier purchase gave it when it was recorded. With years
    longer than DEV a purchase's first year can sleep.
    """
    first = PUBLISHED.versions[0]
    terms = first.allowances.free_hours.model_copy(update={"months": 24})
    allowances = first.allowances.model_copy(update={"free_hours": terms})
    policies = Policies([first.model_copy(update={"allowances": allowances})])
    begins = date(2026, 2, 28)
    leapling = EDITOR._replace(purchased_on=date(2024, 2, 29))
    second = EDITOR._replace(id="l2", purchased_on=begins)
    spent = ServiceYear(begins, date(2028, 2, 29), 300, 300)
    facts = Facts((leapling, second), service_years={begins: spent})
    ends = date(2028, 2, 28)
    assert decide(policies, facts, date(2027, 6, 1)).valid_until == ends
    found = [
        next(
            one
            for one in answer_on(policies, facts, day).services
            if one.service == "email_support"
        )
        for day in (ends - _DAY, ends)
    ]
    assert [one.unlocked_by for one in found] == [
        ("buy_editor_licence", "sign_contract", "buy_tickets"),
        ("buy_any_licence", "sign_contract", "buy_tickets"),
    ]
