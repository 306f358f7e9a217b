"""What a customer could do after a purchase or some work that is only assumed."""

from datetime import date

import pytest

from app.policy.decide import decide
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, LengthenedTicket, Licence, Pack, ServiceYear
from app.policy.simulate import (
    AssumedContract,
    AssumedLicence,
    AssumedPack,
    AssumedTime,
    Assumption,
    EditorRequired,
    NothingPays,
    assume,
)
from tests.policy.strategies import PUBLISHED

ON = date(2026, 11, 23)
EDITOR = Licence("l1", "S-1", "editor", date(2026, 3, 1))
FACTS = Facts(licences=(EDITOR,))
YEAR = ServiceYear(date(2026, 3, 1), date(2027, 3, 1), 300)


def _assume(facts: Facts, *assumptions: Assumption, policies: Policies = PUBLISHED) -> Facts:
    return assume(policies, facts, ON, assumptions)


def test_a_licence() -> None:
    bought = date(2026, 11, 1)
    assert _assume(FACTS, AssumedLicence("runtime", bought)) == FACTS._replace(
        licences=(EDITOR, Licence("~assumed-0000", "~assumed-0000", "runtime", bought))
    )


def test_a_contract_lasts_and_grants_what_the_policy_says() -> None:
    """R15."""
    old = Contract("c1", "SA-1", date(2025, 6, 1), date(2026, 6, 1), None, 1200)
    facts = FACTS._replace(contracts=(old,))
    expected = Contract("~assumed-0000", "", ON, date(2027, 11, 23), None, 1200)
    assert _assume(facts, AssumedContract(ON)).contracts == (old, expected)
    agreed = expected._replace(granted_minutes=0)
    assert _assume(facts, AssumedContract(ON, 0)).contracts == (old, agreed)


def test_a_contract_follows_the_policy_of_its_first_day() -> None:
    """R17."""
    first = PUBLISHED.versions[0]
    terms = first.allowances.contract.model_copy(update={"minutes": 60, "months": 6})
    allowances = first.allowances.model_copy(update={"contract": terms})
    later = first.model_copy(update={"effective_from": ON, "allowances": allowances})
    policies = Policies([first, later])
    (assumed,) = _assume(FACTS, AssumedContract(ON), policies=policies).contracts
    assert (assumed.ends_on, assumed.granted_minutes) == (date(2027, 5, 23), 60)
    (assumed,) = _assume(FACTS, AssumedContract(date(2026, 11, 22)), policies=policies).contracts
    assert (assumed.ends_on, assumed.granted_minutes) == (date(2027, 11, 22), 1200)


def test_a_contract_needs_an_editor_on_its_first_day() -> None:
    """R15."""
    with pytest.raises(EditorRequired):
        _assume(Facts(), AssumedContract(ON))
    with pytest.raises(EditorRequired):
        _assume(FACTS, AssumedContract(date(2026, 2, 28)))
    # One that is assumed before will do.
    found = _assume(Facts(), AssumedLicence("editor", ON), AssumedContract(ON))
    assert [one.id for one in found.contracts] == ["~assumed-0001"]


def test_a_pack_ends_as_the_policy_of_its_day_says() -> None:
    """R16, R17."""
    old = Pack("p1", "TP-1", date(2026, 1, 1), date(2027, 1, 1), 1)
    facts = Facts(packs=(old,))
    bought = date(2026, 10, 1)
    assert _assume(facts, AssumedPack(5, bought)).packs == (
        old,
        Pack("~assumed-0000", "", bought, date(2027, 10, 1), 5),
    )
    first = PUBLISHED.versions[0]
    terms = first.allowances.ticket.model_copy(update={"months": 6})
    allowances = first.allowances.model_copy(update={"ticket": terms})
    later = first.model_copy(update={"effective_from": ON, "allowances": allowances})
    policies = Policies([first, later])
    found = _assume(facts, AssumedPack(1, bought), AssumedPack(1, ON), policies=policies).packs
    assert [one.expires_on for one in found[1:]] == [date(2027, 10, 1), date(2027, 5, 23)]


def test_work_is_charged_as_really_worked() -> None:
    """R18, R20, R21."""
    contract = Contract("c1", "SA-1", date(2026, 6, 1), date(2027, 6, 1), None, 60)
    facts = FACTS._replace(contracts=(contract,))
    after = _assume(facts, AssumedTime(100, "email"), AssumedTime(230, "email"))
    assert after.service_years == {YEAR.starts_on: YEAR._replace(used_minutes=300)}
    assert after.contracts == (contract._replace(used_minutes=30),)
    after = _assume(facts, AssumedTime(100, "phone"))
    assert after.service_years == {}
    assert after.contracts == (contract._replace(used_minutes=60, overrun_minutes=40),)


def test_work_is_paid_as_asked_for() -> None:
    """R18."""
    contract = Contract("c1", "SA-1", date(2026, 6, 1), date(2027, 6, 1), None, 60)
    facts = FACTS._replace(contracts=(contract,))
    after = _assume(facts, AssumedTime(10, "email", "contract"))
    assert after == facts._replace(contracts=(contract._replace(used_minutes=10),))
    assumed = AssumedTime(10, "email", "ticket")
    with pytest.raises(NothingPays):
        _assume(facts, assumed)


def test_a_ticket_is_consumed_in_its_own_pack() -> None:
    """R16, R19."""
    lengthened = tuple(LengthenedTicket(n, date(2027, n, 1)) for n in (4, 3))
    first = Pack(
        "a", "TP-a", date(2026, 3, 1), date(2027, 3, 1), 3, consumed=1, lengthened=lengthened
    )
    other = Pack("b", "TP-b", date(2026, 9, 1), date(2027, 9, 1), 2, consumed=1)
    facts = Facts(packs=(other, first))
    after = _assume(facts, AssumedTime(999, "phone"))
    state = lengthened[1]._replace(state="consumed")
    once = first._replace(consumed=2, lengthened=(lengthened[0], state))
    assert after == facts._replace(packs=(other, once))
    # Then the other one of the pack, then that of the next pack.
    after = _assume(facts, *[AssumedTime(1, "phone")] * 3)
    assert [pack.consumed for pack in after.packs] == [2, 3]


def test_where_nothing_pays_the_decision_says_why() -> None:
    """R12."""
    assumed = AssumedTime(10, "phone")
    with pytest.raises(NothingPays) as refused:
        _assume(FACTS, AssumedTime(5, "email"), assumed)
    facts = FACTS._replace(service_years={YEAR.starts_on: YEAR._replace(used_minutes=5)})
    assert refused.value.decision == decide(PUBLISHED, facts, ON)
    assert refused.value.facts == facts
    assert refused.value.assumed is assumed


def test_nothing_assumed_changes_nothing() -> None:
    assert _assume(FACTS) is FACTS
