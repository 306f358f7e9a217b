"""Why an allowance needs attention, and which step would help (R12, R24)."""

from collections.abc import Collection
from datetime import date, timedelta

import pytest

from app.policy.allowance_standings import AllowanceStanding, allowance_standings
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Licence, Pack
from app.policy.remedies import Why, reasons, remedy
from tests.policy.strategies import ANY_ANCHORS, CHANGED, PUBLISHED

_DAY = timedelta(days=1)
STARTS, ENDS = date(2026, 3, 1), date(2027, 3, 1)
ON = date(2026, 11, 23)
EDITOR = Licence("l1", "S-1", "editor", STARTS)
CONTRACT = Contract("c1", "SA-1", STARTS, ENDS, None, 1200)
PACK = Pack("p1", "TP-1", STARTS, ENDS, 4)


def standing_of(*, facts: Facts, on: date = ON) -> AllowanceStanding:
    (one,) = allowance_standings(PUBLISHED, facts, on)
    return one


def contract(used: int = 0, overrun: int = 0, **fields: object) -> AllowanceStanding:
    recorded = CONTRACT._replace(used_minutes=used, overrun_minutes=overrun)
    one = standing_of(facts=Facts(contracts=(recorded,)))
    return one._replace(**fields)  # type: ignore[arg-type]


def year(used: int = 0, **fields: object) -> AllowanceStanding:
    one = standing_of(facts=Facts(licences=(EDITOR,)))
    return one._replace(used=used, **fields)  # type: ignore[arg-type]


def pack(**changes: int) -> AllowanceStanding:
    return standing_of(facts=Facts(packs=(PACK._replace(**changes),)))  # type: ignore[arg-type]


# --- why ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "why"),
    [
        (ENDS - 31 * _DAY, ()),
        (ENDS - 30 * _DAY, ("ending",)),
        (ENDS - _DAY, ("ending",)),
        (ENDS, ()),
    ],
)
def test_it_ends_within_so_many_days(on: date, why: tuple[Why, ...]) -> None:
    for one in (contract(), year(), pack()):
        assert reasons(one, on, 30, 80) == why


def test_nothing_of_what_has_not_begun() -> None:
    one = contract(1200)
    assert reasons(one, STARTS, 1000, 80) == ("ending", "spent")
    assert reasons(one, STARTS - _DAY, 1000, 80) == ()
    assert reasons(one._replace(begun=False), ON, 1000, 80) == ()


@pytest.mark.parametrize(
    ("used", "why"),
    [
        (959, ()),
        (960, ("nearly_spent",)),
        (1199, ("nearly_spent",)),
        (1200, ("spent",)),
        (1201, ("spent",)),
    ],
)
def test_a_share_of_it_is_used(used: int, why: tuple[Why, ...]) -> None:
    assert reasons(contract(used), ON, 30, 80) == why


def test_a_pack_ends_while_a_ticket_is_neither_consumed_nor_cancelled() -> None:
    last = ENDS - _DAY
    assert reasons(pack(consumed=3), last, 30, 80) == ("ending",)
    assert reasons(pack(consumed=3, held=1), last, 30, 80) == ("ending", "spent")
    assert reasons(pack(consumed=4), last, 30, 80) == ("spent",)
    assert reasons(pack(cancelled=4), last, 30, 80) == ()


def test_overrun_counts_after_the_end_too() -> None:
    assert reasons(contract(1200, 1), ENDS - _DAY, 30, 80) == ("ending", "spent", "overrun")
    assert reasons(contract(1200, 1), ENDS, 30, 80) == ("overrun",)


# --- what would help ------------------------------------------------------------------------------


def helps(
    one: AllowanceStanding,
    *why: Why,
    contracts: tuple[Contract, ...] = (CONTRACT,),
    licences: tuple[Licence, ...] = (EDITOR,),
    on: date = ON,
    policies: Policies = PUBLISHED,
) -> str | None:
    given: Collection[Why] = why or ("spent",)
    return remedy(policies, Facts(licences, contracts), one, given, on)


def test_what_is_followed_by_another_needs_nothing_at_its_end() -> None:
    assert helps(contract(renewed_by="c2"), "ending") is None
    assert helps(contract(renewed_by="c2"), "ending", "spent") == "renew_contract"
    assert helps(contract(), "ending") == "renew_contract"


def test_tickets_need_no_editor() -> None:
    assert helps(pack(), licences=()) == "buy_tickets"


def test_hours_need_an_editor_first() -> None:
    """R4, R14."""
    assert helps(contract(), licences=()) == "buy_editor_licence"
    assert helps(year(), licences=()) == "buy_editor_licence"
    withdrawn = EDITOR._replace(withdrawn_on=ON)
    assert helps(contract(), licences=(withdrawn,)) == "buy_editor_licence"
    assert helps(contract(), licences=(withdrawn,), on=ON - _DAY) == "renew_contract"


def test_a_contract_is_renewed_or_another_one_is_signed() -> None:
    """R24: neither cancelled nor renewed, from its first day until a new term would be over."""
    other = CONTRACT._replace(id="c0", renewed=True)
    assert helps(contract(), contracts=(other, CONTRACT)) == "renew_contract"
    renewed = CONTRACT._replace(renewed=True)
    assert helps(contract(), contracts=(renewed,)) == "sign_contract"
    cancelled = CONTRACT._replace(cancelled_on=ENDS)
    assert helps(contract(), contracts=(cancelled,)) == "sign_contract"
    later = CONTRACT._replace(starts_on=ON)
    assert helps(contract(), contracts=(later,)) == "renew_contract"
    assert helps(contract(), contracts=(later,), on=ON - _DAY) == "sign_contract"
    editor = EDITOR._replace(purchased_on=date(2020, 1, 1))
    days = (date(2028, 2, 29), date(2028, 3, 1))
    found = [helps(contract(), "overrun", licences=(editor,), on=day) for day in days]
    assert found == ["renew_contract", None]


def test_a_new_contract_is_signed_beside_one_that_has_not_ended() -> None:
    renewed = CONTRACT._replace(renewed=True)
    found = [helps(contract(), contracts=(renewed,), on=day) for day in (ENDS - _DAY, ENDS)]
    assert found == ["sign_contract", None]


def test_a_renewal_follows_the_policy_of_the_day_on_which_it_would_start() -> None:
    """R17, R24."""
    first = PUBLISHED.versions[0]
    terms = first.allowances.contract.model_copy(update={"months": 1})
    allowances = first.allowances.model_copy(update={"contract": terms})
    second = first.model_copy(update={"effective_from": ENDS, "allowances": allowances})
    policies = Policies([first, second])
    days = (date(2027, 3, 31), date(2027, 4, 1))
    found = [helps(contract(), "overrun", on=day, policies=policies) for day in days]
    assert found == ["renew_contract", None]


def test_free_hours_are_kept_by_any_licence_and_refilled_by_an_editor() -> None:
    """R12, R14."""
    assert helps(year(299), "ending") == "buy_any_licence"
    assert helps(year(300)) == "buy_editor_licence"
    assert helps(year(300), policies=ANY_ANCHORS) == "buy_any_licence"
    # By the policy in force today (R17).
    older = year(300, starts_on=date(2025, 6, 1))
    days = (date(2026, 2, 28), date(2026, 3, 1))
    licences = (EDITOR._replace(purchased_on=date(2025, 6, 1)),)
    found = [helps(older, licences=licences, policies=CHANGED, on=day) for day in days]
    assert found == ["buy_editor_licence", "buy_any_licence"]
    # Of two years that begin on one day there is one.
    assert helps(year(300), on=STARTS) is None
    assert helps(year(300), on=STARTS + _DAY) == "buy_editor_licence"


def test_a_new_contract_takes_over_the_overrun_of_a_year_that_has_ended() -> None:
    """R24."""
    days = (ENDS - _DAY, ENDS)
    found = [helps(year(300, overrun=5), "overrun", on=day) for day in days]
    assert found == ["buy_editor_licence", "sign_contract"]
