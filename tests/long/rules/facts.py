"""What a customer's history consists of: what was bought, the cases, the time worked.

Days are civil dates in the vendor's time zone, instants are in UTC, time is in whole minutes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import takewhile
from typing import Literal, TypeAlias

from .policy import CONTRACT_MINUTES, FREE_MINUTES, civil_date, term_end

LicenceKind = Literal["editor", "runtime", "other"]
CaseState = Literal["open", "in_progress", "waiting_for_customer", "closed", "cancelled"]
TicketState = Literal["free", "held", "consumed"]

OPEN_STATES: tuple[CaseState, ...] = ("open", "in_progress", "waiting_for_customer")
BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """A step that the clauses refuse, with the code of every clause that refuses it."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = frozenset(codes)


def refuse(codes: set[str]) -> None:
    """Raises Refused when there is at least one code."""
    if codes:
        raise Refused(*codes)


@dataclass(eq=False)
class Upgrade:
    """R25: an upgrade that a contract paid, else a purchase (`contract` is None)."""

    day: date
    contract: "Contract | None"
    licence: "Licence"
    reversed: bool = False
    passed_on: bool = False
    """Of a holding that was transferred before both records of the customer were merged."""


@dataclass(eq=False)
class Purchase:
    """What was bought under a serial number, as now known; its holders share it (R44)."""

    serial: str
    kind: LicenceKind
    day: date
    upgrades: list[Upgrade] = field(default_factory=list)


@dataclass
class Holding:
    """The days `[start, end)` on which a customer holds a licence (R44)."""

    start: date
    end: date | None = None
    withdrawn: bool = False
    """How it ended: by a withdrawal, else by a transfer."""

    def ended_by(self, day: date) -> bool:
        return self.end is not None and self.end <= day

    def includes(self, day: date) -> bool:
        """R1, R2: bought or got on or before the day, not gone on or before it."""
        return self.start <= day and not self.ended_by(day)

    def overlaps(self, start: date, end: date | None) -> bool:
        return (end is None or self.start < end) and not self.ended_by(start)


@dataclass(eq=False)
class Licence:
    """A purchase as one customer has it, who bought it or got it by a transfer (R44).

    It has a second holding when it comes back. `sent` is what the last PUT or POST said (R40).
    """

    purchase: Purchase
    holdings: list[Holding]
    bought: bool
    sent: tuple[LicenceKind, date] | None

    @property
    def serial(self) -> str:
        return self.purchase.serial

    @property
    def kind(self) -> LicenceKind:
        return self.purchase.kind

    @property
    def last(self) -> Holding:
        return self.holdings[-1]

    @property
    def withdrawn(self) -> date | None:
        return self.last.end if self.last.withdrawn else None

    @property
    def transferred(self) -> bool:
        """Whether it has passed to another customer and has not come back."""
        return self.last.end is not None and not self.last.withdrawn

    def withdrawn_by(self, day: date) -> bool:
        return self.withdrawn is not None and self.withdrawn <= day

    def held_on(self, day: date) -> bool:
        return any(each.includes(day) for each in self.holdings)

    def upgrades(self) -> list[Upgrade]:
        """Those that its customer had, reversed ones left out."""
        return [e for e in self.purchase.upgrades if e.licence is self and not e.reversed]

    def purchases(self) -> list[date]:
        """R2, R44: the days of the purchase, unless it was another's, and of the paid upgrades."""
        bought = [self.purchase.day] if self.bought else []
        return bought + [each.day for each in self.upgrades() if each.contract is None]


@dataclass(eq=False)
class Contract:
    """R15: `[starts, ends)` with its own minutes; cancelled ones end on `cancelled` (R20)."""

    label: str
    order: int
    starts: date
    included: int = CONTRACT_MINUTES
    predecessor: "Contract | None" = None
    cancelled: date | None = None
    gave_back: list[tuple["Entry", int]] = field(default_factory=list)  # R46

    @property
    def ends(self) -> date:
        return term_end(self.starts)

    def cancelled_by(self, day: date) -> bool:
        return self.cancelled is not None and self.cancelled <= day

    @property
    def end(self) -> date:
        """R20: the first day on which it pays no longer."""
        return self.ends if self.cancelled is None else min(self.ends, self.cancelled)

    def in_force(self, day: date) -> bool:
        """R4, R20: inside its dates and not cancelled on or before the day."""
        return self.starts <= day < self.ends and not self.cancelled_by(day)

    @property
    def never_in_force(self) -> bool:
        """R24: cancelled as of its first day."""
        return self.cancelled == self.starts


@dataclass(frozen=True)
class Year:
    """R14: a service year. Years that begin on one day are one year, so the day is its identity."""

    start: date


@dataclass(frozen=True)
class TicketMoment:
    """What a ticket was from an instant on; `taken` is the day on which its case took it."""

    since: datetime
    state: TicketState
    ends: date
    case: "Case | None" = None
    taken: date | None = None


@dataclass(eq=False)
class Ticket:
    purchased: date
    pack: int
    position: int
    path: list[TicketMoment]
    cancelled: date | None = None  # R45: taken out of its pack from that day on

    def at(self, instant: datetime) -> TicketMoment:
        return next(moment for moment in reversed(self.path) if moment.since <= instant)

    @property
    def now(self) -> TicketMoment:
        return self.path[-1]

    def free_since(self) -> datetime:
        """From when on no case has had it; its first moment if none ever had."""
        instants = sorted({moment.since for moment in self.path}, reverse=True)
        free = list(takewhile(lambda instant: self.at(instant).case is None, instants))
        return free[-1] if free else instants[0]


@dataclass(eq=False)
class Pack:
    label: str
    order: int
    purchased: date
    tickets: list[Ticket]

    @property
    def ends(self) -> date:
        """R19: a pack's own end; its tickets may end later."""
        return term_end(self.purchased)


Hours: TypeAlias = Year | Contract
Binding: TypeAlias = Year | Contract | Ticket | None


@dataclass
class Share:
    """Minutes of an entry and what pays them; None is overrun of the case's own allowance.

    `taken_over` marks minutes that a contract took over (R24).
    """

    minutes: int
    payer: Hours | None
    taken_over: bool = False


@dataclass(eq=False)
class Entry:
    """A time entry. A ticket's case, a bug and a reversal leave it without shares."""

    label: str
    order: int
    minutes: int
    worked_at: datetime
    reversed: bool = False
    shares: list[Share] = field(default_factory=list)

    @property
    def day(self) -> date:
        """R20: the civil date on which the work began."""
        return civil_date(self.worked_at)

    @property
    def age(self) -> tuple[datetime, int]:
        """The order of R22, R24 and R40: oldest work first, then oldest record."""
        return self.worked_at, self.order

    def add(self, minutes: int, payer: Hours | None) -> None:
        """Count minutes, together with those that the same payer has already."""
        if minutes:
            for share in self.shares:
                if share.payer == payer and not share.taken_over:
                    share.minutes += minutes
                    return
            self.shares.append(Share(minutes, payer))

    @property
    def overrun(self) -> int:
        return sum(share.minutes for share in self.shares if share.payer is None)

    def drop_overrun(self, minutes: int) -> None:
        """Take minutes out of the overrun. There must be as many."""
        for share in self.shares:
            if share.payer is None:
                share.minutes -= minutes
        self.shares = [share for share in self.shares if share.minutes]


@dataclass(frozen=True)
class CaseMoment:
    """What a case was from an instant on."""

    since: datetime
    state: CaseState
    bug: bool
    binding: Binding


@dataclass(eq=False)
class Case:
    label: str
    order: int
    channel: str
    opened_at: datetime
    priority: str
    priority_support: bool
    verified: bool
    path: list[CaseMoment]
    entries: list[Entry] = field(default_factory=list)
    serial: str | None = None
    first: Binding = None  # what it is bound to again if it proves no bug (R22)
    closed_at: datetime | None = None
    moved: bool = False  # R47: to another customer, so that it was never here

    @property
    def now(self) -> CaseMoment:
        return self.path[-1]

    @property
    def state(self) -> CaseState:
        return self.now.state

    @property
    def bug(self) -> bool:
        return self.now.bug

    @property
    def binding(self) -> Binding:
        return self.now.binding

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def unpaid(self) -> bool:
        """`paid_by` is none without being a bug (R29)."""
        return self.binding is None and not self.bug

    def at(self, instant: datetime) -> CaseMoment | None:
        """What it was at an instant; None before it was opened, and if it was moved away (R47)."""
        if self.moved:
            return None
        return next((moment for moment in reversed(self.path) if moment.since <= instant), None)

    def standing(self) -> list[Entry]:
        """The entries that are not reversed, oldest work first."""
        return sorted((each for each in self.entries if not each.reversed), key=lambda e: e.age)

    @property
    def worked(self) -> int:
        return sum(entry.minutes for entry in self.standing())


@dataclass(eq=False)
class Undone:
    """R46: a case for which a year paid that was undone, and what the case is bound to instead.

    `shares` is what its entries counted before: of a case bound to the year all of them, of others
    those that the year paid in part.
    """

    case: Case
    before: Binding
    instead: Binding
    shares: dict[Entry, list[Share]]
    licence: Licence | None = None  # whose withdrawal undid the year

    def follow(self, case: Case, old: Binding, new: Binding) -> None:
        """What the case is bound to has moved."""
        if case is self.case and self.instead == old:
            self.before = new if self.before == old else self.before
            self.instead = new


@dataclass(eq=False)
class Customer:
    """A customer's whole history; `numbers` counts all customers' records as they are made."""

    created: datetime
    numbers: Iterator[int]
    country: str = "IT"
    licences: list[Licence] = field(default_factory=list)
    contracts: list[Contract] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    undone: list[Undone] = field(default_factory=list)

    def next_order(self) -> int:
        return next(self.numbers)

    def first_fact(self) -> date:
        """R47: the day on which the first thing known of it happened, its own record included."""
        days = [civil_date(self.created)]
        days += [holding.start for each in self.licences for holding in each.holdings]
        days += [each.starts for each in self.contracts]
        days += [each.purchased for each in self.packs]
        return min(days)

    def tickets(self) -> Iterator[Ticket]:
        for pack in self.packs:
            yield from pack.tickets

    def work(self) -> list[tuple[Case, Entry]]:
        """Every entry that stands, of every case, oldest work first, then oldest record."""
        found = [(case, entry) for case in self.cases for entry in case.entries if entry.shares]
        return sorted(found, key=lambda pair: pair[1].age)

    def used(self, payer: Hours) -> int:
        """Minutes charged against an hour allowance."""
        return sum(
            share.minutes
            for case in self.cases
            for entry in case.entries
            for share in entry.shares
            if share.payer == payer
        )

    def left(self, payer: Hours) -> int:
        return granted(payer) - self.used(payer)


def granted(payer: Hours) -> int:
    """R17: what an hour allowance grants."""
    return payer.included if isinstance(payer, Contract) else FREE_MINUTES
