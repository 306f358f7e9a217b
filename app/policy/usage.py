"""Every allowance that a customer ever had, as it stands on a date, ended ones included (R37)."""

from datetime import date
from typing import Literal, NamedTuple

from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Pack, ServiceYear
from app.policy.standing import holds_editor, stand
from app.policy.year_spans import year_spans
from app.policy.years import running_year

AllowanceKind = Literal["free_hours", "contract", "ticket_pack"]
AllowanceState = Literal["upcoming", "in_force", "suspended", "expired", "cancelled"]


class Allowance(NamedTuple):
    """Minutes for free hours and contracts, tickets for packs."""

    kind: AllowanceKind
    key: str
    """The id of a contract or pack, the first day of a service year."""
    number: str | None
    starts_on: date
    ends_on: date
    """The first day on which it pays no more: a cancelled contract ends early. A service year
    that the next Editor cut short keeps its anniversary (R14)."""
    state: AllowanceState
    """A contract is suspended without an Editor (R4), a service year while DEV is lapsed (R14)."""
    granted: int
    used: int
    held: int
    overrun: int
    cancelled: int = 0
    """Tickets taken out of their pack unused (R45)."""
    expired_before: int = 0
    """Tickets that ended before the last one of their pack does (R19)."""
    never_began: bool = False
    """A service year on record that, as things are known now, no purchase begins (R40), or that
    has slept from its first day on (R14)."""

    @property
    def lapsed(self) -> int:
        """What was never used and no longer can be (R14, R19)."""
        ended = self.state in ("expired", "cancelled")
        # On a past day, a ticket that has expired since may still have been in use.
        return self._unused if ended else min(self.expired_before, self._unused)

    @property
    def left(self) -> int:
        """Granted, and neither used, held, cancelled nor lapsed."""
        return self._unused - self.lapsed

    @property
    def _unused(self) -> int:
        return self.granted - self.used - self.held - self.cancelled

    @property
    def begun(self) -> bool:
        return self.state != "upcoming" and not self.never_began

    @property
    def moved(self) -> bool:
        """Whether anything is recorded against it."""
        return bool(self.used or self.held or self.overrun or self.cancelled)


def every_allowance(policies: Policies, facts: Facts, on: date) -> list[Allowance]:
    """Contracts, packs and service years by first day, whether anything was charged or not."""
    years = {
        starts_on: span.year
        for starts_on, span in year_spans(policies, facts).items()
        if span.pays_from <= on
    }
    pays = stand(policies, facts, on).service_year
    runs = running_year(policies, facts, on)
    editor = holds_editor(facts.licences, on)
    found = [_service_year(year, pays, runs, on) for year in years.values()]
    # None of the others pays: each that pays on a day is one of those above.
    found += [
        _service_year(year, None, runs, on)._replace(never_began=True)
        for starts_on, year in facts.service_years.items()
        if starts_on not in years
    ]
    found += [_contract(contract, editor, on) for contract in facts.contracts]
    found += [_pack(pack, on) for pack in facts.packs]
    return sorted(found, key=lambda one: (one.starts_on, one.kind, one.key))


def _service_year(
    year: ServiceYear, pays: ServiceYear | None, runs: ServiceYear | None, on: date
) -> Allowance:
    # A year that has begun and no longer runs has ended: by its anniversary, by the next Editor
    # bought, or with the last Editor (R14).
    state: AllowanceState = "expired"
    if on < year.starts_on:
        state = "upcoming"
    elif pays is not None and pays.starts_on == year.starts_on:
        state = "in_force"
    elif runs is not None and runs.starts_on == year.starts_on:
        state = "suspended"
    return Allowance(
        "free_hours",
        year.starts_on.isoformat(),
        None,
        year.starts_on,
        year.ends_on,
        state,
        year.granted_minutes,
        year.used_minutes,
        0,
        year.overrun_minutes,
    )


def _contract(contract: Contract, editor: bool, on: date) -> Allowance:
    state: AllowanceState = "expired"
    if contract.cancelled_on is not None and contract.cancelled_on <= on:
        state = "cancelled"
    elif on < contract.starts_on:
        state = "upcoming"
    elif contract.in_force(on):
        state = "in_force" if editor else "suspended"
    return Allowance(
        "contract",
        contract.id,
        contract.number,
        contract.starts_on,
        contract.closes_on,
        state,
        contract.granted_minutes,
        contract.used_minutes,
        0,
        contract.overrun_minutes,
    )


def _pack(pack: Pack, on: date) -> Allowance:
    state: AllowanceState = "in_force"
    if pack.is_void:
        state = "cancelled"
    elif on < pack.purchased_on:
        state = "upcoming"
    elif pack.ends_on <= on:
        state = "expired"
    return Allowance(
        "ticket_pack",
        pack.id,
        pack.number,
        pack.purchased_on,
        pack.ends_on,
        state,
        pack.quantity,
        pack.consumed,
        pack.held,
        0,
        pack.cancelled,
        pack.expired(on),
    )
