"""Binding and drawing (R16, R18, R20-R23): what holds for every customer."""

import random
from datetime import date, timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.policy.allocate import (
    Drawn,
    Source,
    bind,
    bind_late,
    charged,
    draw,
    hour_allowance,
    kind_of,
    pays_on,
    refusal,
    uncovered,
)
from app.policy.decide import decide
from app.policy.document import Channel, PaidBy, Policies
from app.policy.facts import Contract, Facts, LengthenedTicket, Licence, Pack, ServiceYear
from app.policy.standing import stand
from app.policy.years import anchors, periods
from tests.policy import strategies as some

CHANNELS: tuple[Channel, ...] = ("email", "phone", "remote")
channels = st.sampled_from(CHANNELS)
# Each example is a whole customer.
enough = settings(max_examples=60)
minutes = st.integers(1, 1440)


def hours_of(policies: Policies, facts: Facts, day: date) -> list[Source]:
    """Every hour allowance to which a case could be bound: contracts, and years of purchases."""
    found = [Source("contract", contract.id) for contract in facts.contracts]
    anchoring = {d for licence in facts.licences for d in anchors(policies, licence) if d <= day}
    starts = {first for d in anchoring for first, _ in periods(policies, d, d, day)} | anchoring
    return found + [Source("free_hours", starts_on=d) for d in sorted(starts)]


@st.composite
def situations(pick: st.DrawFn) -> tuple[Policies, Facts, Source, Channel, date]:
    """A case bound to hours, and a day of work on it."""
    policies, facts, day = pick(some.policies), pick(some.facts()), pick(some.days)
    bound = hours_of(policies, facts, day)
    assume(bound)
    return policies, facts, pick(st.sampled_from(bound)), pick(channels), day


# --- drawing ----------------------------------------------------------------------------------


@enough
@given(situations(), minutes)
def test_charges_and_overrun_sum_to_the_minutes_worked(
    given_: tuple[Policies, Facts, Source, Channel, date], worked: int
) -> None:
    """R20, R21: work once done is never lost; nothing is charged past what is left, on no
    allowance twice, outside no period, and to no ticket."""
    policies, facts, bound, channel, day = given_
    drawn = draw(policies, facts, bound, channel, day, worked)
    assert sum(part for _, part in drawn.charges) + drawn.overrun_minutes == worked
    assert len({source for source, _ in drawn.charges}) == len(drawn.charges)
    covers = policies.in_force(day).covers
    for source, part in drawn.charges:
        assert 0 < part <= hour_allowance(policies, facts, source).remaining_minutes
        assert source.kind != "ticket"
        assert pays_on(policies, facts, source, day)
        assert source == bound or channel in covers[source.kind]


@enough
@given(situations(), minutes)
def test_the_own_allowance_pays_first_and_overrun_means_that_nothing_is_left(
    given_: tuple[Policies, Facts, Source, Channel, date], worked: int
) -> None:
    """R21: then in R18's order, free hours before contracts, what ends first before the rest."""
    policies, facts, bound, channel, day = given_
    drawn = draw(policies, facts, bound, channel, day, worked)
    sources = [source for source, _ in drawn.charges]
    own = hour_allowance(policies, facts, bound)
    if pays_on(policies, facts, bound, day) and own.remaining_minutes:
        assert sources[0] == bound
        assert drawn.charges[0][1] == min(worked, own.remaining_minutes)
    others = [source for source in sources if source != bound]
    kinds = [source.kind for source in others]
    assert kinds == sorted(kinds, reverse=True)
    contracts = [hour_allowance(policies, facts, s) for s in others if s.kind == "contract"]
    ends = [(c.closes_on, c.starts_on, c.id) for c in contracts if isinstance(c, Contract)]
    assert ends == sorted(ends)
    # All but the last are emptied; with overrun, so is everything that covers the day.
    for source, part in drawn.charges[:-1]:
        assert part == hour_allowance(policies, facts, source).remaining_minutes
    if drawn.overrun_minutes:
        standing = stand(policies, facts, day)
        after = charged(policies, facts, bound, drawn)
        left = stand(policies, after, day).left
        covers = standing.policy.covers
        for kind in ("free_hours", "contract"):
            assert channel not in covers[kind] or left[kind] == 0


@enough
@given(situations(), minutes, minutes)
def test_two_entries_equal_one_of_their_sum(
    given_: tuple[Policies, Facts, Source, Channel, date], first: int, second: int
) -> None:
    """R20: on one day it does not matter how the time is written down."""
    policies, facts, bound, channel, day = given_
    at_once = draw(policies, facts, bound, channel, day, first + second)
    one = draw(policies, facts, bound, channel, day, first)
    two = draw(policies, charged(policies, facts, bound, one), bound, channel, day, second)
    sums: dict[Source, int] = {}
    for source, part in (*one.charges, *two.charges):
        sums[source] = sums.get(source, 0) + part
    assert sums == dict(at_once.charges)
    assert one.overrun_minutes + two.overrun_minutes == at_once.overrun_minutes


@enough
@given(situations(), minutes, st.randoms(use_true_random=False))
def test_the_order_of_facts_never_matters(
    given_: tuple[Policies, Facts, Source, Channel, date], worked: int, shuffle: random.Random
) -> None:
    """R18, R21."""
    policies, facts, bound, channel, day = given_
    other = facts._replace(
        licences=tuple(shuffle.sample(facts.licences, len(facts.licences))),
        contracts=tuple(shuffle.sample(facts.contracts, len(facts.contracts))),
        packs=tuple(shuffle.sample(facts.packs, len(facts.packs))),
    )
    again = draw(policies, other, bound, channel, day, worked)
    assert again == draw(policies, facts, bound, channel, day, worked)
    decisions = [decide(policies, known, day) for known in (facts, other)]
    assert bind(decisions[0].standing, channel) == bind(decisions[1].standing, channel)


@enough
@given(situations(), minutes, some.contracts())
def test_one_more_contract_never_makes_more_overrun(
    given_: tuple[Policies, Facts, Source, Channel, date], worked: int, more: Contract
) -> None:
    """R21."""
    policies, facts, bound, channel, day = given_
    richer = facts._replace(contracts=(*facts.contracts, more))
    before = draw(policies, facts, bound, channel, day, worked)
    after = draw(policies, richer, bound, channel, day, worked)
    assert after.overrun_minutes <= before.overrun_minutes


@enough
@given(some.policies, some.facts(), channels, some.days, minutes)
def test_a_ticket_pays_whatever_it_takes_and_nothing_pays_for_nothing(
    policies: Policies, facts: Facts, channel: Channel, day: date, worked: int
) -> None:
    """R16, R22: a ticket's case counts no minutes; an unpaid case's are all its own overrun."""
    ticket = Source("ticket", "pack")
    assert draw(policies, facts, ticket, channel, day, worked) == Drawn((), 0)
    assert draw(policies, facts, None, channel, day, worked) == Drawn((), worked)
    for bound in (ticket, None):
        assert charged(policies, facts, bound, Drawn((), 0)) == facts


@enough
@given(some.policies, some.facts(), some.days, some.days)
def test_a_service_year_pays_from_its_first_day_to_the_next_anchoring_purchase(
    policies: Policies, facts: Facts, first: date, day: date
) -> None:
    """R14, R20: the next after the purchase that anchors it, of a licence held on that day."""
    bound = Source("free_hours", starts_on=first)
    expected = False
    for licence in facts.licences:
        for anchor in anchors(policies, licence):
            years = dict(periods(policies, anchor, anchor, first + timedelta(days=1)))
            bought_since = [
                later
                for other in facts.licences
                if other.held(day)
                for later in anchors(policies, other)
                if anchor < later <= day
            ]
            expected |= first in years and first <= day < years[first] and not bought_since
    assert pays_on(policies, facts, bound, day) == expected


STARTS = date(2026, 3, 1)
EDITOR = Licence("l1", "S-1", "editor", STARTS)
YEAR = Source("free_hours", starts_on=STARTS)
CONTRACT = Contract("c1", "SA-1", STARTS, date(2027, 3, 1), None, 1200)
PACK = Pack("p1", "TP-1", STARTS, date(2027, 3, 1), 1)
SPENT = Source("contract", "c2")


def _spent(facts: Facts) -> Facts:
    """With a contract beside, all of it used."""
    spent = CONTRACT._replace(id="c2", used_minutes=1200)
    return facts._replace(contracts=(spent, *facts.contracts))


def test_the_rest_goes_to_free_hours_first_if_they_cover_the_channel() -> None:
    """R21."""
    facts = _spent(Facts((EDITOR,), (CONTRACT,), (PACK,)))
    drawn = draw(some.PUBLISHED, facts, SPENT, "email", some.ON, 1600)
    assert drawn == Drawn(((YEAR, 300), (Source("contract", "c1"), 1200)), 100)
    drawn = draw(some.PUBLISHED, facts, SPENT, "phone", some.ON, 1600)
    assert drawn == Drawn(((Source("contract", "c1"), 1200),), 400)


def test_the_rest_does_not_go_to_what_is_suspended() -> None:
    """R20, R21: the case's own may be."""
    facts = _spent(Facts((), (CONTRACT,)))
    assert draw(some.PUBLISHED, facts, SPENT, "phone", some.ON, 60) == Drawn((), 60)
    own = Source("contract", "c1")
    assert draw(some.PUBLISHED, facts, own, "phone", some.ON, 60) == Drawn(((own, 60),), 0)


def test_hours_with_minutes_left_and_overrun_want_covering() -> None:
    """R22."""
    both = {"used_minutes": 10, "overrun_minutes": 5}
    year = ServiceYear(STARTS, date(2027, 3, 1), 300)
    contract = CONTRACT._replace(**both)  # type: ignore[arg-type]
    years = {STARTS: year._replace(**both)}  # type: ignore[arg-type]
    facts = Facts((EDITOR,), (contract,), service_years=years)
    assert uncovered(facts) == [YEAR, Source("contract", "c1")]
    for neither in ({"used_minutes": 300, "overrun_minutes": 5}, {"used_minutes": 299}):
        years = {STARTS: year._replace(**neither)}  # type: ignore[arg-type]
        used = contract._replace(
            used_minutes=900 + neither["used_minutes"],
            overrun_minutes=neither.get("overrun_minutes", 0),
        )
        assert uncovered(Facts((EDITOR,), (used,), service_years=years)) == []


# --- binding ----------------------------------------------------------------------------------


def test_what_pays_is_named_by_its_kind() -> None:
    assert kind_of(None) == "none"
    assert kind_of(YEAR) == "free_hours"


def test_time_binds_an_unpaid_case_to_hours_of_its_day_or_a_ticket_of_today() -> None:
    """R29."""
    worked_on, today = date(2026, 11, 1), some.ON
    ends_before = CONTRACT._replace(starts_on=date(2025, 11, 2), ends_on=date(2026, 11, 2))
    facts = Facts((EDITOR,), (ends_before,), (PACK,))

    def late(known: Facts) -> Source | None:
        return bind_late(some.PUBLISHED, known, "phone", worked_on, today)

    assert late(facts) == Source("contract", "c1")
    # A contract that began after the work, and a ticket that ended before today, pay nothing.
    begins_after = CONTRACT._replace(starts_on=date(2026, 11, 2))
    assert late(facts._replace(contracts=(begins_after,))) == Source("ticket", "p1")
    ended = PACK._replace(expires_on=today)
    assert late(Facts((EDITOR,), (begins_after,), (ended,))) is None
    # A ticket bought after the work does.
    bought = PACK._replace(purchased_on=today)
    assert late(Facts(packs=(bought,))) == Source("ticket", "p1")
    assert bind_late(some.PUBLISHED, facts, "email", worked_on, today) == YEAR


def test_tickets_that_end_on_one_day_pay_by_purchase_then_id() -> None:
    """R18, R19: by the end of each, whatever that of its pack."""
    ends = date(2027, 6, 1)
    longer = tuple(LengthenedTicket(n, ends) for n in (2, 1))
    older = Pack("b", "TP-b", date(2026, 2, 1), date(2027, 2, 1), 2, lengthened=longer)
    newer = Pack("a", "TP-a", date(2026, 6, 1), ends, 1)
    twin = newer._replace(id="0")
    first = Source("ticket", "b", position=1)
    for packs in ((older, newer), (newer, older)):
        assert bind(stand(some.PUBLISHED, Facts(packs=packs), some.ON), "phone") == first
    for packs in ((twin, newer), (newer, twin)):
        standing = stand(some.PUBLISHED, Facts(packs=packs), some.ON)
        assert bind(standing, "phone") == Source("ticket", "0")


@enough
@given(some.policies, some.facts(), channels, some.days)
def test_a_case_is_bound_whenever_its_channel_is_allowed_and_only_then(
    policies: Policies, facts: Facts, channel: Channel, day: date
) -> None:
    """R18, R9: total, narrowest first, then what ends first, ties to the id."""
    decision = decide(policies, facts, day)
    service = decision.standing.policy.service_of_channel[channel].id
    answer = next(one for one in decision.answer.services if one.service == service)
    bound = bind(decision.standing, channel)
    assert (bound is not None) == answer.allowed
    assert bound == _expected(policies, facts, channel, day)
    if bound is None:
        assert refusal(policies, facts, decision, channel).reasons


def _expected(policies: Policies, facts: Facts, channel: Channel, day: date) -> Source | None:
    """R18 in other words: the least of all that can pay."""
    standing = stand(policies, facts, day)
    if not standing.holds_editor:
        candidates: list[tuple[int, date, date, str, Source]] = []
    else:
        candidates = [
            (1, c.closes_on, c.starts_on, c.id, Source("contract", c.id))
            for c in facts.contracts
            if c.in_force(day) and c.remaining_minutes
        ]
        year = standing.service_year
        if channel == "email" and "DEV" in standing.columns and year and year.remaining_minutes:
            source = Source("free_hours", starts_on=year.starts_on)
            candidates.append((0, year.ends_on, year.starts_on, "", source))
    for p in facts.packs:
        # Each ticket by itself, at its own end (R19).
        ends = {ticket.position: ticket.expires_on for ticket in p.lengthened}
        free = {ticket.position for ticket in p.lengthened if ticket.state is None}
        plain = p.quantity - p.held - p.consumed - p.cancelled - len(free)
        if p.purchased_on <= day < p.expires_on and plain:
            candidates.append((2, p.expires_on, p.purchased_on, p.id, Source("ticket", p.id)))
        candidates += [
            (2, ends[n], p.purchased_on, p.id, Source("ticket", p.id, position=n))
            for n in free
            if p.purchased_on <= day < ends[n]
        ]
    return min(candidates, key=_in_order)[-1] if candidates else None


def _in_order(candidate: tuple[int, date, date, str, Source]) -> tuple[Any, ...]:
    return *candidate[:4], candidate[4].position or 0


@enough
@given(some.policies, some.facts(), channels, some.days)
def test_a_kind_asked_for_by_name_is_had_or_refused(
    policies: Policies, facts: Facts, channel: Channel, day: date
) -> None:
    """R18: never another; refused with a reason of that kind's column alone."""
    decision = decide(policies, facts, day)
    kinds: tuple[PaidBy, ...] = ("free_hours", "contract", "ticket")
    bound = {kind: bind(decision.standing, channel, (kind,)) for kind in kinds}
    assert all(source is None or source.kind == kind for kind, source in bound.items())
    first = next((source for source in bound.values() if source), None)
    assert bind(decision.standing, channel) == first
    for kind, source in bound.items():
        if source is None:
            reasons = refusal(policies, facts, decision, channel, kind).reasons
            column = {"free_hours": "DEV", "contract": "SA", "ticket": "TCK"}[kind]
            assert [reason.column for reason in reasons] == [column]


@enough
@given(some.policies, some.facts(), some.days, st.data())
def test_one_more_allowance_never_takes_a_service_away(
    policies: Policies, facts: Facts, day: date, data: st.DataObject
) -> None:
    """R7, R18: whatever could be opened before still can."""
    more: Contract | Pack | Licence = data.draw(
        st.one_of(some.contracts(), some.packs(), _purchase_today(day))
    )
    match more:
        case Contract():
            richer = facts._replace(contracts=(*facts.contracts, more))
        case Pack():
            richer = facts._replace(packs=(*facts.packs, more))
        case Licence():
            # Purchases on one day make one service year, which may be spent already (R14).
            assume(day not in facts.service_years)
            richer = facts._replace(licences=(*facts.licences, more))
    before, after = decide(policies, facts, day), decide(policies, richer, day)
    for channel in CHANNELS:
        assert bind(before.standing, channel) is None or bind(after.standing, channel) is not None
    allowed = {one.service for one in before.answer.services if one.allowed}
    assert allowed <= {one.service for one in after.answer.services if one.allowed}


def _purchase_today(day: date) -> st.SearchStrategy[Licence]:
    """An Editor bought on a day on which nothing has been used yet."""
    return st.just(Licence("new", "S-new", "editor", day))


def test_what_one_contract_pays_leaves_the_others_as_they_are() -> None:
    """R20, R21."""
    starts, ends = date(2026, 3, 1), date(2027, 3, 1)
    first, second, third = (Contract(f"c{n}", f"SA-{n}", starts, ends, None, 60) for n in (1, 2, 3))
    facts = Facts((Licence("l1", "S-1", "editor", starts),), (first, second, third))
    bound = Source("contract", "c2")
    drawn = Drawn(((bound, 60), (Source("contract", "c1"), 10)), 5)
    assert charged(some.PUBLISHED, facts, bound, drawn).contracts == (
        first._replace(used_minutes=10),
        second._replace(used_minutes=60, overrun_minutes=5),
        third,
    )
