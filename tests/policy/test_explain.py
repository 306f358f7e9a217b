"""The rules behind each column, whether each passed, and the record that it rests on."""

from datetime import date, timedelta
from typing import Any

from app.policy.explain import Rule, explain
from app.policy.facts import Contract, Facts, Licence, Pack
from app.policy.standing import stand
from tests.policy.strategies import PUBLISHED

_DAY = timedelta(days=1)
ON = date(2026, 11, 23)
EDITOR = Licence("l1", "S-1", "editor", date(2026, 3, 1))


def explained(facts: Facts, on: date = ON) -> dict[str, tuple[bool, list[Rule]]]:
    found = explain(PUBLISHED, facts, stand(PUBLISHED, facts, on))
    assert [column for column, _, _ in found] == ["NO_DEV", "DEV", "SA", "TCK"]
    return {column: (stands, rules) for column, stands, rules in found}


def _licence(licence: Licence, **more: object) -> dict[str, Any]:
    return {
        "licence_id": licence.id,
        "serial_number": licence.serial_number,
        "purchased_on": licence.purchased_on,
        "withdrawn_on": licence.withdrawn_on,
        "held_from": licence.held_from or licence.purchased_on,
        **more,
    }


def _pack(pack: Pack, **numbers: object) -> dict[str, Any]:
    return {
        "ticket_pack_id": pack.id,
        "number": pack.number,
        "purchased_on": pack.purchased_on,
        "expires_on": pack.expires_on,
        "unused": 0,
        "held": 0,
        "consumed": 0,
        "cancelled": 0,
        **numbers,
    }


def test_a_customer_without_anything() -> None:
    assert explained(Facts()) == {
        "NO_DEV": (True, [Rule("R6", "neither_dev_nor_sa", True, {"stands_in": []})]),
        "DEV": (
            False,
            [
                Rule("R1", "holds_editor", False, None),
                Rule("R2", "last_purchase", False, None),
                Rule("R3", "within_twelve_months", False, None),
            ],
        ),
        "SA": (
            False,
            [
                Rule("R4", "contract_in_force", False, None),
                Rule("R1", "holds_editor", False, None),
            ],
        ),
        "TCK": (
            False,
            [
                Rule("R5", "ticket_available", False, None),
                Rule("R5", "ticket_held", False, None),
            ],
        ),
    }


def test_a_customer_in_every_column() -> None:
    contract = Contract("c1", "SA-1", date(2026, 6, 1), date(2027, 6, 1), date(2027, 1, 1), 1200)
    pack = Pack("p1", "TP-1", date(2026, 7, 1), date(2027, 7, 1), 10, 1, 2, (), 3)
    record = _pack(pack, unused=4, held=1, consumed=2, cancelled=3)
    editor = _licence(EDITOR)
    assert editor["held_from"] == date(2026, 3, 1)
    ends = {"ends_on": date(2027, 3, 1)}
    assert explained(Facts((EDITOR,), (contract,), (pack,))) == {
        "NO_DEV": (
            False,
            [Rule("R6", "neither_dev_nor_sa", False, {"stands_in": ["DEV", "SA"]})],
        ),
        "DEV": (
            True,
            [
                Rule("R1", "holds_editor", True, editor),
                Rule(
                    "R2",
                    "last_purchase",
                    True,
                    {**editor, "last_purchase_on": date(2026, 3, 1)},
                ),
                Rule("R3", "within_twelve_months", True, ends),
            ],
        ),
        "SA": (
            True,
            [
                Rule(
                    "R4",
                    "contract_in_force",
                    True,
                    {
                        "contract_id": "c1",
                        "number": "SA-1",
                        "starts_on": date(2026, 6, 1),
                        "ends_on": date(2027, 6, 1),
                        "cancelled_on": date(2027, 1, 1),
                    },
                ),
                Rule("R1", "holds_editor", True, editor),
            ],
        ),
        "TCK": (
            True,
            [
                Rule("R5", "ticket_available", True, record),
                Rule("R5", "ticket_held", True, record),
            ],
        ),
    }


def test_twelve_months_to_the_day() -> None:
    """R3: the anniversary is outside."""
    facts = Facts((EDITOR,))
    last, lapsed = explained(facts, date(2027, 2, 28)), explained(facts, date(2027, 3, 1))
    ends = {"ends_on": date(2027, 3, 1)}
    assert last["DEV"][1][2] == Rule("R3", "within_twelve_months", True, ends)
    assert lapsed["DEV"][1][2] == Rule("R3", "within_twelve_months", False, ends)
    assert (last["DEV"][0], lapsed["DEV"][0]) == (True, False)


def test_the_editor_shown_is_the_latest_held_or_else_the_latest() -> None:
    """R1."""
    later = EDITOR._replace(id="l0", serial_number="S-0", purchased_on=date(2026, 4, 1))
    same_day = later._replace(id="l2", serial_number="S-2")
    withdrawn = same_day._replace(id="l3", withdrawn_on=ON)
    runtime = Licence("l9", "S-9", "runtime", date(2026, 5, 1))

    def shown(*licences: Licence) -> Rule:
        return explained(Facts(licences))["DEV"][1][0]

    assert shown(EDITOR, later, runtime) == Rule("R1", "holds_editor", True, _licence(later))
    assert shown(same_day, later, EDITOR) == Rule("R1", "holds_editor", True, _licence(same_day))
    # One that is held before one that no longer is.
    assert shown(withdrawn, EDITOR) == Rule("R1", "holds_editor", True, _licence(EDITOR))
    assert shown(runtime, withdrawn) == Rule("R1", "holds_editor", False, _licence(withdrawn))
    got = EDITOR._replace(bought=False, held_from=date(2026, 9, 1))
    assert shown(got) == Rule(
        "R1", "holds_editor", True, {**_licence(EDITOR), "held_from": date(2026, 9, 1)}
    )


def test_the_last_purchase_shown_is_that_of_the_licence_that_was_bought() -> None:
    """R2: of whatever kind, upgrades too, and of licences held alone."""
    upgraded = EDITOR._replace(paid_upgrades=(date(2026, 8, 1),))
    runtime = Licence("l9", "S-9", "runtime", date(2026, 7, 1))
    withdrawn = Licence("l8", "S-8", "other", date(2026, 9, 1), ON)
    facts = Facts((withdrawn, runtime, upgraded))

    def rule(on: date) -> Rule:
        return explained(facts, on)["DEV"][1][1]

    bought = {"last_purchase_on": date(2026, 8, 1)}
    assert rule(ON) == Rule("R2", "last_purchase", True, _licence(upgraded) | bought)
    bought = {"last_purchase_on": date(2026, 9, 1)}
    assert rule(ON - _DAY) == Rule("R2", "last_purchase", True, _licence(withdrawn) | bought)
    bought = {"last_purchase_on": date(2026, 7, 1)}
    assert rule(date(2026, 7, 31)) == Rule("R2", "last_purchase", True, _licence(runtime) | bought)


def test_an_editor_that_was_only_got_is_no_purchase() -> None:
    """R44."""
    got = EDITOR._replace(bought=False, held_from=date(2026, 9, 1))
    rules = explained(Facts((got,)))["DEV"][1]
    assert [rule.passed for rule in rules] == [True, False, False]
    assert [rule.record for rule in rules[1:]] == [None, None]


def test_the_contract_shown_is_the_first_to_pay_or_else_the_last() -> None:
    """R4, R18."""
    first = Contract("c2", "SA-2", date(2026, 6, 1), date(2027, 6, 1), None, 1200)
    second = first._replace(id="c1", number="SA-1", ends_on=date(2027, 7, 1))
    ended = first._replace(id="c3", starts_on=date(2025, 1, 1), ends_on=date(2026, 1, 1))
    before = first._replace(id="c4", starts_on=date(2024, 1, 1), ends_on=date(2025, 1, 1))

    def shown(*contracts: Contract) -> tuple[bool, Any]:
        stands, (rule, _) = explained(Facts((EDITOR,), contracts))["SA"]
        assert (rule.clause, rule.test) == ("R4", "contract_in_force")
        assert rule.passed is stands
        assert rule.record is not None
        return stands, rule.record["contract_id"]

    assert shown(second, ended, first) == (True, "c2")
    assert shown(before, ended) == (False, "c3")
    assert shown(ended, before) == (False, "c3")


def test_a_suspended_contract_is_in_force_and_its_editor_is_missing() -> None:
    """R4."""
    contract = Contract("c1", "SA-1", date(2026, 6, 1), date(2027, 6, 1), None, 1200)
    stands, rules = explained(Facts((), (contract,)))["SA"]
    assert not stands
    assert [(rule.clause, rule.passed) for rule in rules] == [("R4", True), ("R1", False)]


def test_the_packs_shown() -> None:
    """R5: that which pays next, that with a held ticket, or else the last one."""
    spent = Pack("p0", "TP-0", date(2026, 2, 1), date(2027, 2, 1), 1, held=1)
    next_ = Pack("p2", "TP-2", date(2026, 3, 1), date(2027, 3, 1), 1)
    later = Pack("p1", "TP-1", date(2026, 4, 1), date(2027, 4, 1), 2, held=1)
    void = Pack("p3", "TP-3", date(2026, 5, 1), date(2027, 5, 1), 1, cancelled=1)

    def shown(*packs: Pack) -> list[tuple[str, str, bool, str | None]]:
        rules = explained(Facts((), (), packs))["TCK"][1]
        return [
            (
                rule.clause,
                rule.test,
                rule.passed,
                rule.record["ticket_pack_id"] if rule.record else None,
            )
            for rule in rules
        ]

    assert shown(void, later, next_, spent) == [
        ("R5", "ticket_available", True, "p2"),
        ("R5", "ticket_held", True, "p0"),
    ]
    assert shown(spent, void) == [
        ("R5", "ticket_available", False, "p0"),
        ("R5", "ticket_held", True, "p0"),
    ]
    consumed = [pack._replace(held=0, consumed=pack.quantity) for pack in (later, spent)]
    assert shown(void, *consumed) == [
        ("R5", "ticket_available", False, "p1"),
        ("R5", "ticket_held", False, None),
    ]
    # The last to end, whatever their ids.
    earlier = consumed[0]._replace(id="p9", expires_on=date(2027, 3, 31))
    assert shown(earlier, consumed[0])[0] == ("R5", "ticket_available", False, "p1")
    # A pack wholly cancelled counts as none (R45), on the day from which it is.
    assert shown(void)[0] == ("R5", "ticket_available", False, None)
    cancelled_today = next_._replace(cancelled_later=((ON, 1),))
    assert shown(cancelled_today)[0] == ("R5", "ticket_available", False, None)
    cancelled_tomorrow = next_._replace(cancelled_later=((ON + _DAY, 1),))
    assert shown(cancelled_tomorrow)[0] == ("R5", "ticket_available", True, "p2")
