"""What counts when a question is asked about an instant: R5, R6, R13."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

from . import columns, years
from .facts import (
    OPEN_STATES,
    Binding,
    Case,
    CaseMoment,
    Contract,
    Customer,
    Hours,
    Pack,
    Ticket,
    TicketMoment,
    Year,
    granted,
)
from .policy import Column, civil_date, midnight


@dataclass(frozen=True)
class Balance:
    used: int = 0
    overrun: int = 0


@dataclass(frozen=True)
class Snapshot:
    """R13: balances, ticket states and open cases as of an instant; today's for a future one."""

    balances: Mapping[Binding, Balance]
    tickets: Mapping[Ticket, TicketMoment]
    cases: Mapping[Case, CaseMoment]

    def balance(self, payer: Hours) -> Balance:
        return self.balances.get(payer, Balance())

    def left(self, payer: Hours) -> int:
        return granted(payer) - self.balance(payer).used


def snapshot(customer: Customer, at: datetime, now: datetime) -> Snapshot:
    past = at < now
    instant = min(at, now)
    moments = {case: case.at(instant) for case in customer.cases}
    return Snapshot(
        _balances(customer, at if past else None),
        {ticket: ticket.at(instant) for ticket in customer.tickets()},
        {
            case: moment
            for case, moment in moments.items()
            if moment is not None and moment.state in OPEN_STATES
        },
    )


def _balances(customer: Customer, at: datetime | None) -> dict[Binding, Balance]:
    """R13: used and overrun minutes, all of them or those of work begun by a past instant."""
    found: dict[Binding, Balance] = {}
    for case, entry in customer.work():
        if at is not None and entry.worked_at > at:
            continue
        for share in entry.shares:
            payer = share.payer
            if share.taken_over and at is not None:
                assert isinstance(payer, Contract)
                if at < midnight(payer.starts):
                    payer = None
            owner = case.binding if payer is None else payer
            old = found.get(owner, Balance())
            if payer is None:
                found[owner] = Balance(old.used, old.overrun + share.minutes)
            else:
                found[owner] = Balance(old.used + share.minutes, old.overrun)
    return found


@dataclass(frozen=True)
class PackCounts:
    available: int
    held: int
    consumed: int
    cancelled: int
    expired: int
    ends: date

    @property
    def none(self) -> bool:
        """R45: wholly cancelled."""
        return not (self.available or self.held or self.consumed or self.expired)


@dataclass(frozen=True)
class Situation:
    """A customer on a civil date, with the balances of a snapshot."""

    customer: Customer
    on: date
    snapshot: Snapshot

    @cached_property
    def editor(self) -> bool:
        return columns.holds_editor(self.customer, self.on)

    @cached_property
    def dev(self) -> bool:
        return columns.dev(self.customer, self.on)

    @cached_property
    def year_asleep(self) -> Year | None:
        """R14: the year that stands, or would if DEV did."""
        return years.year_asleep(self.customer, self.on)

    @cached_property
    def year(self) -> Year | None:
        return self.year_asleep if self.dev else None

    @cached_property
    def contracts(self) -> list[Contract]:
        """In force by their dates; suspended without an Editor (R4)."""
        return columns.contracts_in_force(self.customer, self.on)

    @cached_property
    def contract_minutes(self) -> int:
        """What the contracts in force, suspended ones too, have left."""
        return sum(max(0, self.snapshot.left(each)) for each in self.contracts)

    @cached_property
    def packs(self) -> list[tuple[Pack, PackCounts]]:
        """The packs bought by the day; one that is wholly cancelled counts as none (R45)."""
        bought = [each for each in self.customer.packs if each.purchased <= self.on]
        counted = [(each, self.count(each)) for each in bought]
        return [(each, counts) for each, counts in counted if not counts.none]

    def count(self, pack: Pack) -> PackCounts:
        """R5, R19, R45: a pack's tickets by state, and the end of the last that is left."""
        every = [(each, self.snapshot.tickets[each]) for each in pack.tickets]
        moments = [moment for ticket, moment in every if not self._is_cancelled(ticket, moment)]
        free = [each for each in moments if each.state == "free"]
        available = sum(self.on < each.ends for each in free)
        return PackCounts(
            available=available,
            held=sum(each.state == "held" for each in moments),
            consumed=sum(each.state == "consumed" for each in moments),
            cancelled=len(every) - len(moments),
            expired=len(free) - available,
            ends=max(
                (each.ends for each in moments if each.state != "consumed"), default=pack.ends
            ),
        )

    def _is_cancelled(self, ticket: Ticket, moment: TicketMoment) -> bool:
        """R13, R45: gone from its day on, except while a case had it."""
        gone = ticket.cancelled is not None and ticket.cancelled <= self.on
        return gone and moment.state == "free"

    @cached_property
    def available(self) -> int:
        return sum(counts.available for _, counts in self.packs)

    @cached_property
    def held(self) -> int:
        return sum(counts.held for _, counts in self.packs)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """R3-R7."""
        sa = self.editor and bool(self.contracts)
        found: list[Column] = []
        if not self.dev and not sa:
            found.append("NO_DEV")
        if self.dev:
            found.append("DEV")
        if sa:
            found.append("SA")
        if self.available or self.held:
            found.append("TCK")
        return tuple(found)


def situation(customer: Customer, at: datetime, now: datetime) -> Situation:
    return Situation(customer, civil_date(at), snapshot(customer, at, now))
