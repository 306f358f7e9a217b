"""What follows from licences, and the order in which allowances pay, at their boundaries."""

from datetime import date, timedelta

import pytest

from app.policy.allocate import Source, bind
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Licence, Pack, ServiceYear
from app.policy.standing import Possession, counting, holds_editor, possession, stand
from tests.policy.strategies import CHANGED, PUBLISHED

_DAY = timedelta(days=1)
BOUGHT = date(2026, 3, 1)
EDITOR = Licence("l1", "S-1", "editor", BOUGHT)
RUNTIME = Licence("l2", "S-2", "runtime", BOUGHT)
ON = date(2026, 11, 23)


# --- holding an Editor (R1) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("licences", "on", "holds"),
    [
        ((), ON, False),
        ((EDITOR,), BOUGHT - _DAY, False),
        ((EDITOR,), BOUGHT, True),
        ((EDITOR._replace(withdrawn_on=ON),), ON - _DAY, True),
        ((EDITOR._replace(withdrawn_on=ON),), ON, False),
        ((RUNTIME,), ON, False),
        ((RUNTIME._replace(kind="other"), EDITOR), ON, True),
        # Got by a transfer: from that day on (R44).
        ((EDITOR._replace(bought=False, held_from=ON),), ON - _DAY, False),
        ((EDITOR._replace(bought=False, held_from=ON),), ON, True),
    ],
)
def test_an_editor_is_held_from_its_purchase_until_it_is_withdrawn(
    licences: tuple[Licence, ...], on: date, holds: bool
) -> None:
    assert holds_editor(licences, on) is holds
    assert possession(PUBLISHED, licences, on).editor is holds


def test_a_licence_that_came_back_is_held_in_its_earlier_periods_too() -> None:
    """R44."""
    first, last = date(2026, 4, 1), date(2026, 5, 1)
    licence = EDITOR._replace(held_from=ON, earlier=((first, last),))
    days = (first - _DAY, first, last - _DAY, last, ON - _DAY, ON)
    assert [licence.held(day) for day in days] == [False, True, True, False, False, True]


# --- the last purchase and DEV (R2, R3) -----------------------------------------------------------


def test_possession_without_any_licence() -> None:
    assert possession(PUBLISHED, (), ON) == Possession(False, None, None, None, False)


def test_the_latest_purchase_ends_development_and_the_latest_editor_anchors() -> None:
    upgraded = date(2026, 6, 1)
    runtime = RUNTIME._replace(purchased_on=date(2026, 9, 1))
    editor = EDITOR._replace(paid_upgrades=(upgraded,))
    for licences in ((editor, runtime), (runtime, editor)):
        assert possession(PUBLISHED, licences, ON) == Possession(
            True, date(2026, 9, 1), date(2027, 9, 1), upgraded, True
        )
        # What is bought tomorrow counts tomorrow.
        assert possession(PUBLISHED, licences, upgraded - _DAY) == Possession(
            True, BOUGHT, date(2027, 3, 1), BOUGHT, True
        )
        assert possession(PUBLISHED, licences, upgraded).last_purchase == upgraded


def test_a_withdrawn_licence_is_left_out_with_its_upgrades() -> None:
    withdrawn = EDITOR._replace(
        id="l3", purchased_on=date(2026, 8, 1), paid_upgrades=(date(2026, 9, 1),), withdrawn_on=ON
    )
    # An upgrade paid with a withdrawn licence, or one that comes first, hides no other purchase.
    for licences in ((withdrawn, EDITOR), (EDITOR, withdrawn)):
        assert possession(PUBLISHED, licences, ON) == Possession(
            True, BOUGHT, date(2027, 3, 1), BOUGHT, True
        )


@pytest.mark.parametrize("bought", [date(2000, 3, 1), date(2010, 3, 1), date(2025, 3, 1)])
def test_years_are_counted_from_an_editor_however_old(bought: date) -> None:
    """R14."""
    runtimes = (RUNTIME, RUNTIME._replace(purchased_on=date(2027, 2, 1)))
    facts = Facts((EDITOR._replace(purchased_on=bought), *runtimes))
    for day, first in (
        (BOUGHT, BOUGHT),
        (ON, BOUGHT),
        (date(2027, 2, 28), BOUGHT),
        (date(2027, 3, 1), date(2027, 3, 1)),
    ):
        year = stand(PUBLISHED, facts, day).service_year
        assert year == ServiceYear(first, first.replace(year=first.year + 1), 300)


@pytest.mark.parametrize(
    ("bought", "anchor"),
    [(date(2026, 2, 28), date(2025, 6, 1)), (BOUGHT, BOUGHT), (date(2026, 4, 1), date(2026, 4, 1))],
)
def test_whether_any_licence_begins_a_year_is_said_by_the_policy_of_its_day(
    bought: date, anchor: date
) -> None:
    """R14: from 1 March 2026 on."""
    editor = EDITOR._replace(purchased_on=date(2025, 6, 1))
    licences = (editor, RUNTIME._replace(purchased_on=bought))
    assert possession(CHANGED, licences, ON).anchor == anchor
    assert possession(PUBLISHED, licences, ON).anchor == editor.purchased_on


def test_the_standing_shows_what_it_rests_on() -> None:
    standing = stand(PUBLISHED, Facts(licences=(EDITOR,)), ON)
    assert standing.holds_editor is True
    assert standing.last_purchase == BOUGHT
    assert standing.development_ends == date(2027, 3, 1)
    assert standing.anchor == BOUGHT


def test_without_an_editor_nothing_develops_and_a_contract_is_suspended() -> None:
    """R3, R4."""
    contract = Contract("c1", "SA-1", BOUGHT, date(2027, 3, 1), None, 1200)
    standing = stand(PUBLISHED, Facts(licences=(RUNTIME,), contracts=(contract,)), ON)
    assert standing.columns == ("NO_DEV",)
    assert standing.contracts == (contract,)
    assert standing.left == {"free_hours": 0, "contract": 0, "ticket": 0}
    assert possession(PUBLISHED, (RUNTIME,), ON).develops is False


# --- a transfer (R44) -----------------------------------------------------------------------------


def _transfers_count_from(day: date) -> Policies:
    first = PUBLISHED.versions[0]
    terms = first.development.model_copy(update={"transfer_counts_as_purchase": True})
    return Policies([first, first.model_copy(update={"effective_from": day, "development": terms})])


def test_whether_a_transfer_counts_is_said_by_the_policy_of_its_day() -> None:
    got = EDITOR._replace(bought=False, held_from=ON)
    assert counting(_transfers_count_from(ON), got) == (ON,)
    assert counting(_transfers_count_from(ON + _DAY), got) == ()
    assert possession(_transfers_count_from(ON), (got,), ON).last_purchase == ON
    assert possession(_transfers_count_from(ON + _DAY), (got,), ON).last_purchase is None
    # One that was bought counts in any case, with its upgrades.
    bought = EDITOR._replace(paid_upgrades=(ON,))
    assert counting(_transfers_count_from(BOUGHT), bought) == (BOUGHT, ON)


# --- R18's order ----------------------------------------------------------------------------------


def _contract(id_: str, starts: date, ends: date, cancelled: date | None = None) -> Contract:
    return Contract(id_, f"SA-{id_}", starts, ends, cancelled, 1200)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # What ends first, also by a cancellation; then what started first; then the id.
        (
            _contract("b", date(2026, 2, 1), date(2027, 2, 1)),
            _contract("a", date(2026, 2, 2), date(2027, 2, 2)),
        ),
        (
            _contract("b", date(2026, 2, 1), date(2027, 2, 1), date(2027, 1, 1)),
            _contract("a", date(2026, 1, 15), date(2027, 1, 15)),
        ),
        (
            _contract("b", date(2026, 1, 1), date(2027, 2, 1)),
            _contract("a", date(2026, 2, 1), date(2027, 2, 1)),
        ),
        (
            _contract("a", date(2026, 2, 1), date(2027, 2, 1)),
            _contract("b", date(2026, 2, 1), date(2027, 2, 1)),
        ),
    ],
)
def test_contracts_pay_in_order(first: Contract, second: Contract) -> None:
    for contracts in ((first, second), (second, first)):
        standing = stand(PUBLISHED, Facts(licences=(EDITOR,), contracts=contracts), ON)
        assert standing.contracts == (first, second)
        assert bind(standing, "phone") == Source("contract", first.id)
        assert standing.left["contract"] == 2400


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            Pack("b", "TP-b", date(2026, 2, 1), date(2027, 2, 1), 1),
            Pack("a", "TP-a", date(2026, 2, 2), date(2027, 2, 2), 1),
        ),
        (
            Pack("b", "TP-b", date(2026, 1, 1), date(2027, 2, 1), 1),
            Pack("a", "TP-a", date(2026, 2, 1), date(2027, 2, 1), 1),
        ),
        (
            Pack("a", "TP-a", date(2026, 2, 1), date(2027, 2, 1), 1),
            Pack("b", "TP-b", date(2026, 2, 1), date(2027, 2, 1), 1),
        ),
    ],
)
def test_packs_pay_in_order(first: Pack, second: Pack) -> None:
    for packs in ((first, second), (second, first)):
        standing = stand(PUBLISHED, Facts(packs=packs), ON)
        assert standing.packs == (first, second)
        assert bind(standing, "phone") == Source("ticket", first.id)
        assert standing.left["ticket"] == 2


def test_a_pack_counts_from_its_purchase_and_while_a_ticket_is_held() -> None:
    """R5, R13."""
    pack = Pack("p", "TP-1", BOUGHT, date(2027, 3, 1), 1)
    held = pack._replace(held=1)
    for one, day, counts in (
        (pack, BOUGHT - _DAY, False),
        (pack, BOUGHT, True),
        (pack, date(2027, 2, 28), True),
        (pack, date(2027, 3, 1), False),
        (held, date(2027, 3, 1), True),
        (held, BOUGHT - _DAY, False),
        (pack._replace(consumed=1), BOUGHT, False),
    ):
        standing = stand(PUBLISHED, Facts(packs=(one,)), day)
        assert standing.packs == ((one,) if counts else ())
        assert ("TCK" in standing.columns) is counts


def test_a_ticket_that_is_cancelled_later_counts_until_then() -> None:
    """R13, R45."""
    pack = Pack("p", "TP-1", BOUGHT, date(2027, 3, 1), 2, cancelled_later=((ON, 1),))
    facts = Facts(packs=(pack,))
    assert stand(PUBLISHED, facts, ON - _DAY).left["ticket"] == 2
    assert stand(PUBLISHED, facts, ON).left["ticket"] == 1
