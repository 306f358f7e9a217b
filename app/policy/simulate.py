"""Facts as they would be if something were bought or worked. Nothing is written.

It uses the functions that bind cases and draw minutes, so that the real steps give the same result.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from app.policy.allocate import ALL, Source, bind, charged, draw
from app.policy.civil import add_months
from app.policy.decide import Decision, decide
from app.policy.document import Channel, PaidBy, Policies
from app.policy.facts import Contract, Facts, Licence, LicenceKind, Pack
from app.policy.standing import holds_editor, stand

# Sorts after every real id: of allowances that are otherwise equal, the newest pays last (R18).
_ASSUMED_ID = "~assumed-{}"


@dataclass(frozen=True)
class AssumedLicence:
    kind: LicenceKind
    purchased_on: date


@dataclass(frozen=True)
class AssumedContract:
    starts_on: date
    included_minutes: int | None = None


@dataclass(frozen=True)
class AssumedPack:
    quantity: int
    purchased_on: date


@dataclass(frozen=True)
class AssumedTime:
    """A case opened, worked on for some minutes, and closed, all on the day of the question."""

    minutes: int
    channel: Channel
    pay_with: PaidBy | None = None


Assumption = AssumedLicence | AssumedContract | AssumedPack | AssumedTime


class EditorRequired(Exception):
    """A contract is for a customer who holds an Editor on its first day (R15)."""


class NothingPays(Exception):
    """Nothing would pay for the case (R18)."""

    def __init__(self, decision: Decision, facts: Facts, assumed: AssumedTime) -> None:
        super().__init__()
        self.decision = decision
        self.facts = facts
        self.assumed = assumed


def assume(policies: Policies, facts: Facts, on: date, assumptions: Iterable[Assumption]) -> Facts:
    """The facts after each assumption in turn. Raises EditorRequired, NothingPays."""
    for index, assumption in enumerate(assumptions):
        facts = _after(policies, facts, on, assumption, index)
    return facts


def _after(policies: Policies, facts: Facts, on: date, assumption: Assumption, index: int) -> Facts:
    identity = _ASSUMED_ID.format(f"{index:04}")
    match assumption:
        case AssumedLicence(kind, bought):
            licence = Licence(identity, identity, kind, bought)
            return facts._replace(licences=(*facts.licences, licence))
        case AssumedContract(starts, minutes):
            if not holds_editor(facts.licences, starts):
                raise EditorRequired
            terms = policies.in_force(starts).allowances.contract
            ends = add_months(starts, terms.months)
            granted = terms.minutes if minutes is None else minutes
            contract = Contract(identity, "", starts, ends, None, granted)
            return facts._replace(contracts=(*facts.contracts, contract))
        case AssumedPack(quantity, bought):
            expires = add_months(bought, policies.in_force(bought).allowances.ticket.months)
            pack = Pack(identity, "", bought, expires, quantity)
            return facts._replace(packs=(*facts.packs, pack))
        case AssumedTime():
            return _worked(policies, facts, on, assumption)


def _worked(policies: Policies, facts: Facts, on: date, assumed: AssumedTime) -> Facts:
    kinds = ALL if assumed.pay_with is None else (assumed.pay_with,)
    source = bind(stand(policies, facts, on), assumed.channel, kinds)
    if source is None:
        raise NothingPays(decide(policies, facts, on), facts, assumed)
    if source.kind == "ticket":
        return facts._replace(packs=tuple(_consumed(pack, source) for pack in facts.packs))
    drawn = draw(policies, facts, source, assumed.channel, on, assumed.minutes)
    return charged(policies, facts, source, drawn)


def _consumed(pack: Pack, source: Source) -> Pack:
    if pack.id != source.id:
        return pack
    lengthened = tuple(
        ticket._replace(state="consumed") if ticket.position == source.position else ticket
        for ticket in pack.lengthened
    )
    return pack._replace(consumed=pack.consumed + 1, lengthened=lengthened)
