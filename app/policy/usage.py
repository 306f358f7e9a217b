"""Every allowance that a customer ever had, as it stands on a date, ended ones included (R37)."""

from datetime import date, timedelta
from typing import Literal, NamedTuple

from app.policy.document import Policies
from app.policy.facts import Contract, Facts, Pack, ServiceYear
from app.policy.standing import holds_editor, service_year

AllowanceKind = Literal["free_hours", "contract", "ticket_pack"]
AllowanceState = Literal["upcoming", "in_force", "suspended", "expired", "cancelled"]

_DAY = timedelta(days=1)


class Allowance(NamedTuple):
    """Minutes for free hours and contracts, tickets for packs."""

    kind: AllowanceKind
    key: str
    """The id of a contract or pack, the first day of a service year."""
    number: str | None
    starts_on: date
    ends_on: date
    """The first day on which it pays no more: a cancelled contract ends early."""
    state: AllowanceState
    granted: int
    used: int
    held: int
    overrun: int

    @property
    def lapsed(self) -> int:
        """What was never used and no longer can be (R14, R19)."""
        ended = self.state in ("expired", "cancelled")
        return self.granted - self.used - self.held if ended else 0

    @property
    def left(self) -> int:
        """Granted, and neither used, held nor lapsed."""
        return self.granted - self.used - self.held - self.lapsed


def every_allowance(policies: Policies, facts: Facts, on: date) -> list[Allowance]:
    """Contracts, packs and service years by first day, whether anything was charged or not."""
    standing = service_year(policies, facts, on)
    years = {**_years_until(policies, facts, on), **facts.service_years}
    editor = holds_editor(facts.licences, on)
    found = [
        _service_year(year._replace(ends_on=_end_of(policies, facts, year, on)), standing, on)
        for year in years.values()
    ]
    found += [_contract(contract, editor, on) for contract in facts.contracts]
    found += [_pack(pack, on) for pack in facts.packs]
    return sorted(found, key=lambda one: (one.starts_on, one.kind, one.key))


def _years_until(policies: Policies, facts: Facts, on: date) -> dict[date, ServiceYear]:
    """Every service year that ever stood, by first day (R14).

    Another can come to stand only on a day of a purchase, a withdrawal or a new policy.
    """
    days = _days(policies, facts)
    stood = (service_year(policies, facts, day) for day in days if day <= on)
    return {year.starts_on: year for year in stood if year is not None}


def _days(policies: Policies, facts: Facts) -> set[date]:
    days = set(policies.starts)
    for licence in facts.licences:
        days.update((licence.purchased_on, *licence.paid_upgrades))
        if licence.withdrawn_on is not None:
            days.add(licence.withdrawn_on)
    return days


def _end_of(policies: Policies, facts: Facts, year: ServiceYear, on: date) -> date:
    """The first day after a service year (R14).

    It ends after its twelve months, or earlier on the day of the next purchase or on the day the
    last Editor is withdrawn.
    """
    for day in sorted(_days(policies, facts), reverse=True):
        if year.starts_on < day <= min(on, year.ends_on):
            before, after = (service_year(policies, facts, d) for d in (day - _DAY, day))
            stood = before is not None and before.starts_on == year.starts_on
            if stood and (after is None or after.starts_on != year.starts_on):
                return day
    return year.ends_on


def _service_year(year: ServiceYear, standing: ServiceYear | None, on: date) -> Allowance:
    # A year that has begun and is not the one in force has ended: see `_end_of`.
    state: AllowanceState = "expired"
    if on < year.starts_on:
        state = "upcoming"
    elif standing is not None and standing.starts_on == year.starts_on:
        state = "in_force"
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
    if on < pack.purchased_on:
        state = "upcoming"
    elif pack.expires_on <= on:
        state = "expired"
    return Allowance(
        "ticket_pack",
        pack.id,
        pack.number,
        pack.purchased_on,
        pack.expires_on,
        state,
        pack.quantity,
        pack.consumed,
        pack.held,
        0,
    )
