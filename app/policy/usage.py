"""Every allowance that a customer ever had, as it stands on a date, ended ones included (R37)."""

from collections.abc import Iterator
from datetime import date
from typing import Literal, NamedTuple

from app.policy.civil import add_months
from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Pack, ServiceYear
from app.policy.standing import counting, holds_editor, stand
from app.policy.years import anchors, periods, running_year

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
    """A service year on record that no purchase begins as things are known now (R40)."""

    @property
    def lapsed(self) -> int:
        """What was never used and no longer can be (R14, R19)."""
        ended = self.state in ("expired", "cancelled")
        return self._unused if ended else self.expired_before

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
    years = {year.starts_on: year for year in _years_until(policies, facts, on)}
    pays = stand(policies, facts, on).service_year
    runs = running_year(policies, facts, on)
    editor = holds_editor(facts.licences, on)
    found = [_service_year(year, pays, runs, on) for year in years.values()]
    found += [
        _service_year(year, pays, runs, on)._replace(never_began=True)
        for starts_on, year in facts.service_years.items()
        if starts_on not in years
    ]
    found += [_contract(contract, editor, on) for contract in facts.contracts]
    found += [_pack(pack, on) for pack in facts.packs]
    return sorted(found, key=lambda one: (one.starts_on, one.kind, one.key))


def _years_until(policies: Policies, facts: Facts, on: date) -> Iterator[ServiceYear]:
    """Every service year that ever paid for new cases, up to a date (R14).

    Another can begin to pay only on a day of a purchase, of a withdrawal or of an anniversary.
    """
    days = set()
    lapses = date.min
    for licence in facts.licences:
        if licence.held_from is not None:
            days.add(licence.held_from)
        for bought in counting(policies, licence):
            days.add(bought)
            ends_on = add_months(bought, policies.in_force(bought).development.months)
            lapses = max(lapses, ends_on)
        if licence.withdrawn_on is not None:
            days.add(licence.withdrawn_on)
    for licence in facts.licences:
        for anchor in anchors(policies, licence):
            days |= {starts_on for starts_on, _ in periods(policies, anchor, anchor, lapses)}
    for day in days:
        if day <= on and (year := stand(policies, facts, day).service_year):
            yield year


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
