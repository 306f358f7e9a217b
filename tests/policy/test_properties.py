"""What holds for every customer, not only for those of the scenarios."""

import random
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from app.policy.allocate import HOURS, Source, bind, charged, draw, pays_on
from app.policy.civil import add_months
from app.policy.decide import Answer, changing_days, decide
from app.policy.document import Channel, Policies
from app.policy.facts import (
    Contract,
    Facts,
    Licence,
    LicenceKind,
    Pack,
    ServiceAnswer,
    ServiceYear,
)
from app.policy.standing import stand
from tests.policy import strategies as some

ON = some.ON


def answer_of(policies: Policies, facts: Facts, on: date) -> Answer:
    return decide(policies, facts, on).answer


@given(some.policies, some.facts(), some.days)
def test_valid_until_is_exactly_the_next_change(policies: Policies, facts: Facts, on: date) -> None:
    """R13: nothing differs on any day before it, and something does on it."""
    decision = decide(policies, facts, on)
    # Past the last marked day nothing is left that could change.
    last = max(changing_days(policies, facts, on), default=on) + timedelta(days=2)
    end = decision.valid_until or last
    steps = range(1, (end - on).days, 7)
    near = [on + timedelta(days=n) for n in steps] + [end - timedelta(days=1)]
    for day in near:
        if on < day < end:
            assert answer_of(policies, facts, day) == decision.answer, day
    if decision.valid_until:
        assert answer_of(policies, facts, decision.valid_until) != decision.answer


def test_an_answer_ends_with_the_year_that_the_present_anchor_gives() -> None:
    """A year recorded under a purchase that was withdrawn keeps its own end; what is shown, and
    whether a purchase would renew the hours, follows the purchase that anchors it now (R12, R14).
    """
    facts = Facts(
        (
            Licence("l1", "S-1", "editor", date(2020, 2, 29)),
            Licence("l2", "S-2", "editor", date(2023, 2, 28), withdrawn_on=date(2023, 4, 1)),
            Licence("l3", "S-3", "runtime", date(2022, 6, 10)),
        ),
        service_years={
            date(2023, 2, 28): ServiceYear(date(2023, 2, 28), date(2024, 2, 28), 300, 300)
        },
    )
    decision = decide(some.PUBLISHED, facts, date(2023, 7, 1))
    assert decision.valid_until == date(2024, 2, 29)
    before, after = (decide(some.PUBLISHED, facts, date(2024, 2, day)).answer for day in (28, 29))
    email = [answer.services[3].unlocked_by for answer in (before, after)]
    assert email[0] != email[1]


@given(some.policies, some.facts(), some.days, st.data())
def test_no_day_between_marked_days_differs(
    policies: Policies, facts: Facts, on: date, data: st.DataObject
) -> None:
    """R13: time changes answers on marked days alone, looked for on days drawn at random."""
    day = data.draw(some.days.filter(lambda d: d > on))
    marked = [d for d in changing_days(policies, facts, on) if d <= day]
    since = marked[-1] if marked else on
    assert answer_of(policies, facts, day) == answer_of(policies, facts, since)


@given(some.policies, some.facts(), some.days, st.randoms(use_true_random=False))
def test_the_order_of_facts_never_matters(
    policies: Policies, facts: Facts, on: date, shuffle: random.Random
) -> None:
    def mixed(items: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(shuffle.sample(items, len(items)))

    other = Facts(
        mixed(facts.licences),  # type: ignore[arg-type]
        mixed(facts.contracts),  # type: ignore[arg-type]
        mixed(facts.packs),  # type: ignore[arg-type]
        facts.service_years,
        facts.open_cases,
    )
    assert decide(policies, other, on).answer == decide(policies, facts, on).answer


def _with(facts: Facts, on: date, step: str, policies: Policies) -> Facts:
    """The facts after one step is taken today (R12)."""
    match step:
        case "buy_editor_licence" | "buy_any_licence":
            kind: LicenceKind = "editor" if step == "buy_editor_licence" else "runtime"
            return facts._replace(licences=(*facts.licences, Licence("new", "S-new", kind, on)))
        case "sign_contract" | "renew_contract":
            terms = policies.in_force(on).allowances.contract
            new = Contract("new", "SA-new", on, add_months(on, terms.months), None, terms.minutes)
            return facts._replace(contracts=(*facts.contracts, new))
        case _:
            return facts._replace(
                packs=(*facts.packs, Pack("new", "TP-new", on, add_months(on, 12), 1))
            )


def _may(facts: Facts, on: date, step: str, policies: Policies) -> bool:
    """Whether a step can be taken at all, or would be another one's name."""
    standing = stand(policies, facts, on)
    renewable = any(not c.renewed and c.cancelled_on is None for c in standing.contracts)
    match step:
        case "sign_contract":
            return standing.holds_editor and not renewable
        case "renew_contract":
            return standing.holds_editor and renewable
        case "buy_any_licence":
            return standing.holds_editor
        case _:
            return True


def _allowed(policies: Policies, facts: Facts, on: date) -> dict[str, ServiceAnswer]:
    return {s.service: s for s in answer_of(policies, facts, on).services if s.allowed}


@settings(max_examples=300)
@given(some.policies, some.facts(), some.days)
def test_unlocked_by_is_what_would_really_unlock(
    policies: Policies, facts: Facts, on: date
) -> None:
    """R12: each step named is enough by itself, and none that would be is left out."""
    denied = [s for s in answer_of(policies, facts, on).services if not s.allowed]
    steps = ("buy_editor_licence", "buy_any_licence", "sign_contract", "renew_contract")
    after = {
        step: _allowed(policies, _with(facts, on, step, policies), on)
        for step in (*steps, "buy_tickets")
        if _may(facts, on, step, policies)
    }
    for service in denied:
        enough = {step for step, allowed in after.items() if service.service in allowed}
        # Whoever may buy any licence need not be told to buy the dearest.
        if "buy_any_licence" in enough:
            enough.discard("buy_editor_licence")
        assert set(service.unlocked_by) == enough, service.service


@given(some.policies, some.facts(), some.days)
def test_every_denial_has_reasons_and_every_grant_something_left(
    policies: Policies, facts: Facts, on: date
) -> None:
    """R9, R12."""
    answer = answer_of(policies, facts, on)
    assert len(answer.services) == 8
    for service in answer.services:
        assert bool(service.reasons) != service.allowed
        assert all(grant.remaining is None or grant.remaining > 0 for grant in service.granted_by)
        columns = [(reason.column, reason.code) for reason in service.reasons]
        assert len(set(columns)) == len(columns)


@given(some.policies, some.facts(), some.days, some.contracts(), some.packs())
def test_adding_an_allowance_never_takes_a_service_away(
    policies: Policies, facts: Facts, on: date, contract: Contract, pack: Pack
) -> None:
    before = _allowed(policies, facts, on).keys()
    more = facts._replace(contracts=(*facts.contracts, contract), packs=(*facts.packs, pack))
    assert before <= _allowed(policies, more, on).keys()


@given(some.policies, some.facts(), some.days)
def test_columns(policies: Policies, facts: Facts, on: date) -> None:
    """R6, R7: somebody in neither DEV nor SA is in NO_DEV, and in no other case."""
    columns = answer_of(policies, facts, on).columns
    assert ("NO_DEV" in columns) != ("DEV" in columns or "SA" in columns)
    assert list(columns) == sorted(columns, key=["NO_DEV", "DEV", "SA", "TCK"].index)


# --- free hours ---------------------------------------------------------------------------------

_kinds: st.SearchStrategy[LicenceKind] = st.sampled_from(("editor", "runtime", "runtime", "other"))
_purchases = st.lists(st.tuples(st.integers(0, 1200), _kinds), max_size=6)
_work = st.lists(
    st.tuples(st.integers(0, 1300), st.integers(1, 400), st.integers(0, 5)),
    min_size=5,
    max_size=60,
)


@given(_purchases, _work)
def test_hours_are_annual(
    purchases: list[tuple[int, LicenceKind]], work: list[tuple[int, int, int]]
) -> None:
    """R14: a year never gives more than its grant, nor any twelve months more than two years'
    grants and 300 minutes for each Editor bought in them; nothing is charged outside its year."""
    policies = some.PUBLISHED
    first_purchase: tuple[int, LicenceKind] = (0, "editor")
    bought = [first_purchase, *sorted(purchases)]
    facts = Facts()
    cases: list[Source] = []
    charges: list[tuple[date, int]] = []
    for offset, minutes, which in sorted(work):
        day = ON + timedelta(days=offset)
        while bought and bought[0][0] <= offset:
            days, kind = bought.pop(0)
            new = Licence(f"L-{len(bought)}", "", kind, ON + timedelta(days=days))
            facts = facts._replace(licences=(*facts.licences, new))
        source = bind(stand(policies, facts, day), "email", HOURS)
        if source is not None:
            cases.append(source)
        if not cases:
            continue
        # An older case draws on its own year, as far as that goes, and then on today's.
        bound = cases[-1 - which % len(cases)]
        drawn = draw(policies, facts, bound, "email", day, minutes)
        for paying, part in drawn.charges:
            assert pays_on(policies, facts, paying, day)
            charges.append((day, part))
        facts = charged(policies, facts, bound, drawn)
    for year in facts.service_years.values():
        assert year.used_minutes <= year.granted_minutes == 300
    editors = [lic.purchased_on for lic in facts.licences if lic.kind == "editor"]
    for first, _ in charges:
        end = add_months(first, 12)
        worked = sum(part for day, part in charges if first <= day < end)
        assert worked <= 600 + 300 * sum(first <= day < end for day in editors)


_channels: tuple[Channel, ...] = ("email", "phone", "remote")


@given(some.policies, some.facts(), some.days, st.sampled_from(_channels))
def test_no_new_case_is_bound_to_an_ended_year_or_contract(
    policies: Policies, facts: Facts, on: date, channel: Channel
) -> None:
    """R14, R18, R20."""
    source = bind(stand(policies, facts, on), channel, HOURS)
    assert source is None or pays_on(policies, facts, source, on)
