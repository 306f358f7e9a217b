"""Which allowance pays: binding a case at its opening, drawing minutes for time worked (R18-R23).

Pure: the ledger does what these functions say, and a simulation may ask them the same.
"""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from app.policy.decide import Decision, narrowed
from app.policy.document import Channel, PaidBy, Policies
from app.policy.facts import CasePaidBy, Contract, Facts, ServiceAnswer, ServiceYear
from app.policy.standing import (
    Standing,
    last_purchase,
    restarting_licences,
    service_year_from,
    stand,
)


class Source(NamedTuple):
    """One allowance: a contract or ticket pack by its id, a service year by its first day."""

    kind: PaidBy
    id: str | None = None
    starts_on: date | None = None


class Drawn(NamedTuple):
    """Where worked minutes go: charges in order, and what nothing covers."""

    charges: tuple[tuple[Source, int], ...]
    overrun_minutes: int


def bind(decision: Decision, channel: Channel, pay_with: PaidBy | None = None) -> Source | None:
    """The allowance that pays for a new case on a channel, or None where none does (R18).

    Narrowest first: free hours, contracts by the day they end, tickets by the day they expire.
    `pay_with` asks for one kind and gets it or nothing.
    """
    standing = decision.standing
    service = standing.policy.service_of_channel[channel].id
    answer = next(s for s in decision.answer.services if s.service == service)
    for grant in answer.granted_by:
        if grant.paid_by is None or pay_with not in (None, grant.paid_by):
            continue
        match grant.paid_by:
            case "free_hours" if standing.service_year:
                return Source("free_hours", starts_on=standing.service_year.starts_on)
            case "contract":
                contract = next(c for c in standing.contracts if c.remaining_minutes)
                return Source("contract", contract.id)
            case "ticket":
                pack = next(p for p in standing.packs if p.available(standing.on))
                return Source("ticket", pack.id)
    return None


def refusal(
    policies: Policies,
    facts: Facts,
    decision: Decision,
    channel: Channel,
    pay_with: PaidBy | None = None,
) -> ServiceAnswer:
    """Why a case on a channel is refused: every reason, or those of the kind asked for."""
    service = decision.standing.policy.service_of_channel[channel]
    if pay_with is not None:
        return narrowed(policies, facts, decision.standing, service, pay_with)
    return next(s for s in decision.answer.services if s.service == service.id)


def grants_bug(standing: Standing, channel: Channel) -> bool:
    """Whether staff may open a case as a bug on a channel (R23).

    One of the customer's columns must grant the channel. Nothing needs to be left of its
    allowance, and a ticket that another case holds is enough.
    """
    cells = standing.policy.service_of_channel[channel].by_column
    return any(cells[column].granted for column in standing.columns if column != "NO_DEV")


def draw(
    policies: Policies,
    facts: Facts,
    bound: Source | None,
    channel: Channel,
    worked_on: date,
    minutes: int,
) -> Drawn:
    """Which allowances pay for minutes worked on a day (R20, R21).

    The case's own first, as far as the day lies inside its period; then every other hour
    allowance that covers the channel that day, in R18's order, never a ticket by itself; what
    remains is overrun. A ticket pays for its case whatever time that takes (R16). A case bound
    to nothing has no allowance to go on from: all is its own overrun (R22).
    """
    if bound is None:
        return Drawn((), minutes)
    if bound.kind == "ticket":
        return Drawn((), 0)
    charges = []
    for source, left in _hours(policies, facts, bound, channel, worked_on):
        part = min(left, minutes)
        if part:
            charges.append((source, part))
            minutes -= part
    return Drawn(tuple(charges), minutes)


def _hours(
    policies: Policies, facts: Facts, own: Source, channel: Channel, day: date
) -> Iterator[tuple[Source, int]]:
    if pays_on(policies, facts, own, day):
        yield own, _hour_allowance(policies, facts, own).remaining_minutes
    standing = stand(policies, facts, day)
    covers = standing.policy.covers
    year = standing.service_year
    if year is not None and channel in covers["free_hours"]:
        source = Source("free_hours", starts_on=year.starts_on)
        if source != own:
            yield source, year.remaining_minutes
    if channel in covers["contract"] and standing.holds_editor:
        for contract in standing.contracts:
            source = Source("contract", contract.id)
            if source != own:
                yield source, contract.remaining_minutes


def _hour_allowance(policies: Policies, facts: Facts, source: Source) -> Contract | ServiceYear:
    if source.starts_on is not None:
        return service_year_from(policies, facts, source.starts_on)
    return next(contract for contract in facts.contracts if contract.id == source.id)


def pays_on(policies: Policies, facts: Facts, source: Source, day: date) -> bool:
    """Whether a day lies inside an hour allowance's period (R20).

    A cancelled contract's ends when the cancellation takes effect; a service year's at the next
    purchase. Neither asks for an Editor: cases bound before its withdrawal go on drawing.
    """
    allowance = _hour_allowance(policies, facts, source)
    if isinstance(allowance, Contract):
        return allowance.in_force(day)
    if not allowance.starts_on <= day < allowance.ends_on:
        return False
    restarted = last_purchase(restarting_licences(policies, facts, day), day)
    return restarted is None or restarted <= allowance.starts_on


def kind_of(bound: Source | None) -> CasePaidBy:
    return "none" if bound is None else bound.kind


def charged(policies: Policies, facts: Facts, bound: Source | None, drawn: Drawn) -> Facts:
    """The facts after minutes were drawn, for what is drawn next."""
    moves = [(source, minutes, 0) for source, minutes in drawn.charges]
    if bound is not None and drawn.overrun_minutes:
        moves.append((bound, 0, drawn.overrun_minutes))
    for source, used, overrun in moves:
        allowance = _hour_allowance(policies, facts, source)
        moved = allowance._replace(
            used_minutes=allowance.used_minutes + used,
            overrun_minutes=allowance.overrun_minutes + overrun,
        )
        if isinstance(moved, Contract):
            others = (moved if c.id == moved.id else c for c in facts.contracts)
            facts = facts._replace(contracts=tuple(others))
        else:
            years = {**facts.service_years, moved.starts_on: moved}
            facts = facts._replace(service_years=years)
    return facts
