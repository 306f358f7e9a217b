"""The facts about one customer that the rules work on, and the codes of an answer.

These are named tuples because they are built for every question, and a frozen dataclass takes four
times as long to build.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, NamedTuple

from app.policy.document import Channel, Column, PaidBy, Service

ReasonCode = Literal[
    "no_editor_licence",
    "last_purchase_lapsed",
    "no_free_hours",
    "no_contract_in_force",
    "contract_suspended",
    "hours_exhausted",
    "no_tickets",
    "tickets_expired",
    "tickets_all_in_use",
    "tickets_consumed",
    "not_in_matrix",
]
Step = Literal[
    "buy_editor_licence", "buy_any_licence", "sign_contract", "renew_contract", "buy_tickets"
]
LicenceKind = Literal["editor", "runtime", "other"]
CasePaidBy = Literal["free_hours", "contract", "ticket", "none"]


class Licence(NamedTuple):
    id: str
    serial_number: str
    kind: LicenceKind
    purchased_on: date
    withdrawn_on: date | None = None
    paid_upgrades: tuple[date, ...] = ()
    """Days of upgrades that were purchases (R25), of this customer."""
    held_from: date | None = None
    """The day on which it was got by a transfer; None for one that was bought (R44)."""
    bought: bool = True
    """Whether this customer, or nobody else, bought it: then its purchase counts (R2, R14)."""
    earlier: tuple[tuple[date, date], ...] = ()
    """Periods in which the customer held it before it went and came back."""

    def held(self, on: date) -> bool:
        """Got on or before the date and not withdrawn or passed on by then (R1, R44)."""
        if (self.held_from or self.purchased_on) <= on and (
            self.withdrawn_on is None or on < self.withdrawn_on
        ):
            return True
        return bool(self.earlier) and any(start <= on < end for start, end in self.earlier)

    @property
    def purchases(self) -> tuple[date, ...]:
        """Its purchase and paid upgrades, as far as this customer made them."""
        return (self.purchased_on, *self.paid_upgrades) if self.bought else self.paid_upgrades

    def after(self, before: "Licence") -> "Licence":
        """The licence that came back, with what the customer bought and held of it before."""
        ended = before.withdrawn_on
        started = before.held_from or before.purchased_on
        period = () if ended is None else ((started, ended),)
        return self._replace(
            bought=before.bought,
            paid_upgrades=(*before.paid_upgrades, *self.paid_upgrades),
            earlier=(*before.earlier, *period),
        )


class ServiceYear(NamedTuple):
    """A service year of free hours, with what was recorded against it (R14)."""

    starts_on: date
    ends_on: date
    granted_minutes: int
    used_minutes: int = 0
    overrun_minutes: int = 0

    @property
    def remaining_minutes(self) -> int:
        return max(self.granted_minutes - self.used_minutes, 0)


class Contract(NamedTuple):
    id: str
    number: str
    starts_on: date
    ends_on: date
    cancelled_on: date | None
    granted_minutes: int
    used_minutes: int = 0
    overrun_minutes: int = 0
    renewed: bool = False
    """A successor exists that is not cancelled as of its own first day (R24)."""

    @property
    def closes_on(self) -> date:
        """The first day on which it pays no more: a cancelled contract ends early (R20)."""
        return self.ends_on if self.cancelled_on is None else min(self.ends_on, self.cancelled_on)

    def in_force(self, on: date) -> bool:
        """Within its days and not cancelled on or before the date (R4, without the Editor)."""
        return (
            self.starts_on <= on < self.ends_on
            and (self.cancelled_on is None or on < self.cancelled_on)
        )  # fmt: skip

    @property
    def remaining_minutes(self) -> int:
        return max(self.granted_minutes - self.used_minutes, 0)


class LengthenedTicket(NamedTuple):
    """A ticket that got back the days for which a bug had taken it (R19)."""

    position: int
    expires_on: date
    """Later than its pack's."""
    state: Literal["held", "consumed", "cancelled"] | None = None
    """None: no case uses it, and it was not cancelled."""


class Pack(NamedTuple):
    id: str
    number: str
    purchased_on: date
    expires_on: date
    """Purchase + 12 months: when every ticket ends that was not lengthened."""
    quantity: int
    held: int = 0
    consumed: int = 0
    lengthened: tuple[LengthenedTicket, ...] = ()
    cancelled: int = 0
    """Taken out of the pack unused (R45)."""
    cancelled_later: tuple[tuple[date, int], ...] = ()
    """Day and position of each ticket unused now that is cancelled as of a later day. The facts of
    a past instant alone have any (R13)."""

    def by(self, day: date) -> "Pack":
        """The pack without the tickets that are cancelled by then."""
        gone = {position for on, position in self.cancelled_later if on <= day}
        if not gone:
            return self
        return self._replace(
            cancelled=self.cancelled + len(gone),
            lengthened=tuple(
                ticket._replace(state="cancelled") if ticket.position in gone else ticket
                for ticket in self.lengthened
            ),
            cancelled_later=tuple(one for one in self.cancelled_later if one[0] > day),
        )

    @property
    def ends_on(self) -> date:
        """When the last ticket ends that is neither consumed nor cancelled, as answers show it
        (R19)."""
        if not self.lengthened:
            return self.expires_on
        own = (t.expires_on for t in self.lengthened if t.state in (None, "held"))
        return max(own, default=self.expires_on)

    @property
    def unused(self) -> int:
        """Tickets that no case uses and that were not cancelled, expired or not."""
        return self.quantity - self.held - self.consumed - self.cancelled

    @property
    def unused_by_end(self) -> dict[date, int]:
        """How many of these end on each day (R19)."""
        found: dict[date, int] = {}
        for ticket in self.lengthened:
            if ticket.state is None:
                found[ticket.expires_on] = found.get(ticket.expires_on, 0) + 1
        if plain := self.unused - sum(found.values()):
            found[self.expires_on] = found.get(self.expires_on, 0) + plain
        return found

    @property
    def is_void(self) -> bool:
        """Whether every ticket was cancelled: then the pack counts as none (R45)."""
        return self.cancelled == self.quantity

    def available(self, on: date) -> int:
        """Tickets that can pay for a new case on the date (R5)."""
        if on < self.purchased_on:
            return 0
        if not self.lengthened:
            return self.unused if on < self.expires_on else 0
        free = [t.expires_on for t in self.lengthened if t.state is None]
        plain = self.unused - len(free) if on < self.expires_on else 0
        return plain + sum(on < expires_on for expires_on in free)

    def next_ticket(self, on: date) -> tuple[date, int | None] | None:
        """The available ticket that ends first, as its end and position (R18).

        The position is None for one that was not lengthened: all of these are alike.
        """
        if on < self.purchased_on:
            return None
        free = [(t.expires_on, t.position) for t in self.lengthened if t.state is None]
        if on < self.expires_on and self.unused > len(free):
            return self.expires_on, None
        return min((ticket for ticket in free if on < ticket[0]), default=None)

    def expired(self, on: date) -> int:
        """Tickets whose own year has passed unused (R19)."""
        return 0 if on < self.purchased_on else self.unused - self.available(on)


class OpenCase(NamedTuple):
    number: str
    channel: Channel
    paid_by: CasePaidBy


class Facts(NamedTuple):
    """One customer's facts, from one snapshot: as they are, or as of a past instant (R13)."""

    licences: tuple[Licence, ...] = ()
    contracts: tuple[Contract, ...] = ()
    packs: tuple[Pack, ...] = ()
    service_years: Mapping[date, ServiceYear] = {}
    """By first day. A service year is stored when something is first recorded against it, so one
    that was never charged may be missing."""
    open_cases: tuple[OpenCase, ...] = ()

    def packs_by(self, day: date) -> tuple[Pack, ...]:
        """The packs as they are on a later day if nobody does anything (R13)."""
        # A loop costs less than a generator, and this runs several times for every answer.
        for pack in self.packs:
            if pack.cancelled_later:
                return tuple(pack.by(day) for pack in self.packs)
        return self.packs


class Reason(NamedTuple):
    """Why one column does not grant a service, with the facts behind it."""

    column: Column
    code: ReasonCode
    facts: Mapping[str, Any] = {}


class Grant(NamedTuple):
    """One column that grants a service. `remaining`: minutes or tickets, None if nothing counts."""

    column: Column
    paid_by: PaidBy | None
    remaining: int | None


class ServiceAnswer(NamedTuple):
    service: Service
    granted_by: tuple[Grant, ...]
    reasons: tuple[Reason, ...]
    unlocked_by: tuple[Step, ...]

    @property
    def allowed(self) -> bool:
        return bool(self.granted_by)
