"""Every allowance that a customer ever had, with its state on each side of each boundary (R37)."""

from datetime import date, timedelta

import pytest

from app.policy.facts import Contract, Facts, LengthenedTicket, Licence, Pack, ServiceYear
from app.policy.usage import Allowance, every_allowance
from tests.policy.strategies import PUBLISHED

_DAY = timedelta(days=1)
STARTS, ENDS = date(2026, 3, 1), date(2027, 3, 1)
EDITOR = Licence("l1", "S-1", "editor", STARTS)
CONTRACT = Contract("c1", "SA-1", STARTS, ENDS, None, 1200, 1100, 30)
PACK = Pack("p1", "TP-1", STARTS, ENDS, 10, 2, 3, (), 1)


def usage(facts: Facts, on: date) -> list[Allowance]:
    return every_allowance(PUBLISHED, facts, on)


def states(facts: Facts, *days: date) -> list[str]:
    return [one.state for day in days for one in usage(facts, day)]


def test_each_with_its_figures_by_first_day_kind_and_key() -> None:
    recorded = ServiceYear(STARTS, ENDS, 300, 250, 20)
    facts = Facts(
        (EDITOR,),
        (CONTRACT._replace(starts_on=STARTS - _DAY, id="c9"), CONTRACT),
        (PACK._replace(id="p2", number="TP-2"), PACK),
        {STARTS: recorded},
    )
    assert usage(facts, STARTS) == [
        Allowance(
            "contract", "c9", "SA-1", STARTS - _DAY, ENDS, "in_force", 1200, 1100, 0, 30
        ),
        Allowance("contract", "c1", "SA-1", STARTS, ENDS, "in_force", 1200, 1100, 0, 30),
        Allowance("free_hours", "2026-03-01", None, STARTS, ENDS, "in_force", 300, 250, 0, 20),
        Allowance("ticket_pack", "p1", "TP-1", STARTS, ENDS, "in_force", 10, 3, 2, 0, 1, 0),
        Allowance("ticket_pack", "p2", "TP-2", STARTS, ENDS, "in_force", 10, 3, 2, 0, 1, 0),
    ]  # fmt: skip


def test_what_is_left_and_what_has_lapsed() -> None:
    """R14, R19, R45."""
    (pack,) = usage(Facts(packs=(PACK,)), ENDS - _DAY)
    assert (pack.left, pack.lapsed, pack.begun, pack.moved) == (4, 0, True, True)
    (pack,) = usage(Facts(packs=(PACK,)), ENDS)
    assert (pack.left, pack.lapsed, pack.expired_before) == (0, 4, 4)
    lengthened = PACK._replace(lengthened=(LengthenedTicket(1, ENDS + _DAY),))
    (pack,) = usage(Facts(packs=(lengthened,)), ENDS)
    assert (pack.state, pack.left, pack.lapsed) == ("in_force", 1, 3)
    (contract,) = usage(Facts((EDITOR,), (CONTRACT,)), ENDS)[:1]
    assert (contract.kind, contract.left, contract.lapsed) == ("contract", 0, 100)
    (contract,) = usage(Facts((), (CONTRACT,)), STARTS)
    assert (contract.left, contract.lapsed, contract.begun) == (100, 0, True)
    (contract,) = usage(Facts((), (CONTRACT,)), STARTS - _DAY)
    assert (contract.left, contract.lapsed, contract.begun) == (100, 0, False)
    (contract,) = usage(Facts((), (CONTRACT._replace(cancelled_on=ENDS - _DAY),)), ENDS - _DAY)
    assert (contract.state, contract.left, contract.lapsed) == ("cancelled", 0, 100)


@pytest.mark.parametrize(
    ("figures", "moved"),
    [
        ({}, False),
        ({"used": 1}, True),
        ({"held": 1}, True),
        ({"overrun": 1}, True),
        ({"cancelled": 1}, True),
    ],
)
def test_whether_anything_is_recorded(figures: dict[str, int], moved: bool) -> None:
    one = Allowance("ticket_pack", "p", "TP", STARTS, ENDS, "in_force", 5, 0, 0, 0)
    assert one._replace(**figures).moved is moved  # type: ignore[arg-type]


def test_the_states_of_a_contract() -> None:
    """R4, R24."""
    held = EDITOR._replace(purchased_on=date(2020, 1, 1))
    withdrawn = held._replace(withdrawn_on=STARTS + _DAY)
    days = (STARTS - _DAY, STARTS, ENDS - _DAY, ENDS)

    def of(contract: Contract, *licences: Licence) -> list[str]:
        facts = Facts(licences, (contract,))
        return [one.state for day in days for one in usage(facts, day) if one.kind == "contract"]

    assert of(CONTRACT, held) == ["upcoming", "in_force", "in_force", "expired"]
    assert of(CONTRACT, withdrawn) == ["upcoming", "in_force", "suspended", "expired"]
    assert of(CONTRACT) == ["upcoming", "suspended", "suspended", "expired"]
    cancelled = CONTRACT._replace(cancelled_on=ENDS - _DAY)
    assert of(cancelled, held) == ["upcoming", "in_force", "cancelled", "cancelled"]
    (one,) = usage(Facts((), (cancelled,)), STARTS)
    assert one.ends_on == ENDS - _DAY
    # Before its first day too it is cancelled from the day of its cancellation on.
    assert of(CONTRACT._replace(cancelled_on=STARTS - _DAY))[0] == "cancelled"


def test_the_states_of_a_pack() -> None:
    """R5, R19, R45."""
    days = (STARTS - _DAY, STARTS, ENDS - _DAY, ENDS)
    assert states(Facts(packs=(PACK,)), *days) == [
        "upcoming",
        "in_force",
        "in_force",
        "expired",
    ]
    void = PACK._replace(held=0, consumed=0, cancelled=10)
    assert states(Facts(packs=(void,)), *days) == ["cancelled"] * 4
    nearly = PACK._replace(held=0, consumed=0, cancelled=9)
    assert states(Facts(packs=(nearly,)), STARTS) == ["in_force"]


def test_the_states_of_a_service_year() -> None:
    """R14: it sleeps while DEV is lapsed, and has ended once another one runs."""
    facts = Facts((EDITOR,))
    assert [(one.key, one.state) for one in usage(facts, STARTS - _DAY)] == []
    assert states(facts, STARTS, ENDS - _DAY, ENDS) == ["in_force", "in_force", "expired"]
    # The second year sleeps from the day on which DEV lapses.
    runtime = Licence("l2", "S-2", "runtime", STARTS)
    facts = Facts((EDITOR._replace(purchased_on=date(2025, 5, 1)), runtime))
    for day, state in (
        (date(2026, 5, 1), "in_force"),
        (ENDS - _DAY, "in_force"),
        (ENDS, "suspended"),
        (date(2027, 4, 30), "suspended"),
        (date(2027, 5, 1), "expired"),
    ):
        found = {one.key: one.state for one in usage(facts, day)}
        assert found == {"2025-05-01": "expired", "2026-05-01": state}
    # The next Editor ends it on the day of its purchase; its anniversary is shown as its end.
    another = EDITOR._replace(id="l4", purchased_on=date(2026, 9, 1))
    facts = Facts((EDITOR, another))
    assert [(one.key, one.state, one.ends_on) for one in usage(facts, date(2026, 9, 1))] == [
        ("2026-03-01", "expired", ENDS),
        ("2026-09-01", "in_force", date(2027, 9, 1)),
    ]
    # With the last Editor it ends too.
    facts = Facts((EDITOR._replace(withdrawn_on=date(2026, 9, 1)),))
    assert states(facts, date(2026, 8, 31), date(2026, 9, 1)) == ["in_force", "expired"]


def test_a_year_on_record_that_no_purchase_begins() -> None:
    """R40: it is shown, and never began."""
    recorded = ServiceYear(STARTS, ENDS, 300, 250, 20)
    facts = Facts(service_years={STARTS: recorded})
    for day, state in ((STARTS - _DAY, "upcoming"), (STARTS, "expired")):
        (one,) = usage(facts, day)
        assert one == Allowance(
            "free_hours", "2026-03-01", None, STARTS, ENDS, state, 300, 250, 0, 20,  # type: ignore[arg-type]
            never_began=True,
        )  # fmt: skip
        assert not one.begun
    # One that another purchase will begin only later is not begun either.
    editor = EDITOR._replace(purchased_on=STARTS)
    (one,) = usage(Facts((editor,), service_years={STARTS: recorded}), STARTS - _DAY)
    assert (one.never_began, one.begun, one.state) == (True, False, "upcoming")
    (one,) = usage(Facts((editor,), service_years={STARTS: recorded}), STARTS)
    assert (one.never_began, one.begun, one.state) == (False, True, "in_force")


def test_a_year_on_record_that_has_slept_from_its_first_day() -> None:
    """R14: it runs, and pays once DEV returns."""
    editor = EDITOR._replace(purchased_on=date(2025, 3, 1))
    facts = Facts((editor,), service_years={STARTS: ServiceYear(STARTS, ENDS, 300, 250, 0)})
    for day, state in ((STARTS, "suspended"), (ENDS - _DAY, "suspended"), (ENDS, "expired")):
        found = {one.key: (one.state, one.begun) for one in usage(facts, day)}
        assert found == {"2025-03-01": ("expired", True), "2026-03-01": (state, False)}
    runtime = Licence("l2", "S-2", "runtime", date(2026, 9, 1))
    woken = facts._replace(licences=(editor, runtime))
    (_, one) = usage(woken, date(2026, 9, 1))
    assert (one.key, one.state, one.begun, one.left) == ("2026-03-01", "in_force", True, 50)
