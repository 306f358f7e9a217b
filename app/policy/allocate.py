"""Which allowance pays: binding a case, and charging the minutes worked on it (R18-R23, R29).

These functions are pure: the ledger writes what they return, and a simulation calls the same ones.
"""

from collections.abc import Collection, Iterator
from datetime import date
from typing import NamedTuple

from app.policy.decide import Decision, narrowed
from app.policy.document import Channel, PaidBy, Policies
from app.policy.facts import CasePaidBy, Contract, Facts, Pack, ServiceAnswer, ServiceYear
from app.policy.standing import Standing, stand
from app.policy.years import covers, year_from

ALL: tuple[PaidBy, ...] = ("free_hours", "contract", "ticket")
HOURS: tuple[PaidBy, ...] = ("free_hours", "contract")
TICKETS: tuple[PaidBy, ...] = ("ticket",)


class Source(NamedTuple):
    """One allowance: a contract or ticket pack by its id, a service year by its first day."""

    kind: PaidBy
    id: str | None = None
    starts_on: date | None = None
    position: int | None = None
    """Of a lengthened ticket (R19). None: the first free one of the pack's other tickets."""


class Drawn(NamedTuple):
    """Where worked minutes go: charges in order, and what nothing covers."""

    charges: tuple[tuple[Source, int], ...]
    overrun_minutes: int


def bind(standing: Standing, channel: Channel, kinds: Collection[PaidBy] = ALL) -> Source | None:
    """The allowance that pays for a case on a channel, or None (R18).

    Narrowest first: free hours, contracts by the day on which they end, tickets by that on which
    they expire. Only the `kinds` asked for are considered.
    """
    grants = standing.policy.service_of_channel[channel].grants
    for column in standing.columns:
        kind = grants[column][1] if column in grants else None
        if kind is None or kind not in kinds or not standing.left[kind]:
            continue
        match kind:
            case "free_hours" if standing.service_year:
                return Source("free_hours", starts_on=standing.service_year.starts_on)
            case "contract":
                contract = next(c for c in standing.contracts if c.remaining_minutes)
                return Source("contract", contract.id)
            case "ticket":
                return _next_ticket(standing.packs, standing.on)
    return None


def _next_ticket(packs: tuple[Pack, ...], on: date) -> Source:
    """By expiry; ties by purchase, then id, then position in the pack (R18)."""
    available = [(ticket, pack) for pack in packs if (ticket := pack.next_ticket(on))]
    (_, position), pack = min(
        available, key=lambda found: (found[0][0], found[1].purchased_on, found[1].id)
    )
    return Source("ticket", pack.id, position=position)


def bind_late(
    policies: Policies, facts: Facts, channel: Channel, worked_on: date, today: date
) -> Source | None:
    """What pays for a case, so far unpaid, on which time is recorded (R29).

    Hour allowances count as of the day worked, tickets as of today.
    """
    return bind(stand(policies, facts, worked_on), channel, HOURS) or bind(
        stand(policies, facts, today), channel, TICKETS
    )


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


def draw(
    policies: Policies,
    facts: Facts,
    bound: Source | None,
    channel: Channel,
    worked_on: date,
    minutes: int,
) -> Drawn:
    """Which allowances pay for minutes worked on a day (R20, R21).

    The case's own allowance pays first, if the day lies inside its period; then every other hour
    allowance that covers the channel on that day, in R18's order, never a ticket by itself. The
    rest is overrun. A ticket pays for its case whatever time that takes (R16). A case bound to
    nothing has no allowance to go on from: all its time is its own overrun (R29).
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
        yield own, hour_allowance(policies, facts, own).remaining_minutes
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


def hour_allowance(policies: Policies, facts: Facts, source: Source) -> Contract | ServiceYear:
    if source.starts_on is not None:
        return year_from(policies, facts, source.starts_on)
    return next(contract for contract in facts.contracts if contract.id == source.id)


def pays_on(policies: Policies, facts: Facts, source: Source, day: date) -> bool:
    """Whether a day lies inside an hour allowance's period (R20).

    A cancelled contract ends when the cancellation takes effect, a service year when the next
    Editor is bought (R14). Neither needs an Editor or DEV on the day: cases bound before their
    end go on drawing.
    """
    if source.starts_on is not None:
        return covers(policies, facts, source.starts_on, day)
    return next(contract for contract in facts.contracts if contract.id == source.id).in_force(day)


def uncovered(facts: Facts) -> list[Source]:
    """Hour allowances with minutes left and standing overrun, which R22 may want covered."""
    years = [
        Source("free_hours", starts_on=year.starts_on)
        for year in facts.service_years.values()
        if year.overrun_minutes and year.remaining_minutes
    ]
    return years + [
        Source("contract", contract.id)
        for contract in facts.contracts
        if contract.overrun_minutes and contract.remaining_minutes
    ]


def kind_of(bound: Source | None) -> CasePaidBy:
    return "none" if bound is None else bound.kind


def charged(policies: Policies, facts: Facts, bound: Source | None, drawn: Drawn) -> Facts:
    """The facts after minutes were drawn, for what is drawn next."""
    for source, minutes in drawn.charges:
        facts = moved(policies, facts, source, used=minutes)
    if bound is not None and drawn.overrun_minutes:
        facts = moved(policies, facts, bound, overrun=drawn.overrun_minutes)
    return facts


def moved(
    policies: Policies, facts: Facts, source: Source, *, used: int = 0, overrun: int = 0
) -> Facts:
    """The facts after minutes were charged to an hour allowance, or given back (negative)."""
    allowance = hour_allowance(policies, facts, source)
    after = allowance._replace(
        used_minutes=allowance.used_minutes + used,
        overrun_minutes=allowance.overrun_minutes + overrun,
    )
    if isinstance(after, Contract):
        others = (after if c.id == after.id else c for c in facts.contracts)
        return facts._replace(contracts=tuple(others))
    return facts._replace(service_years={**facts.service_years, after.starts_on: after})
