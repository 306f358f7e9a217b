"""Where a customer stands on a date: columns and allowances (R1-R7, R14-R17)."""

from datetime import date
from typing import NamedTuple

from app.policy.civil import add_months
from app.policy.document import Column, PaidBy, Policies, Policy
from app.policy.facts import Contract, Facts, Licence, Pack, ServiceYear


class Standing(NamedTuple):
    """All that the matrix asks about a customer on one date."""

    on: date
    policy: Policy
    columns: tuple[Column, ...]
    holds_editor: bool
    last_purchase: date | None
    development_ends: date | None
    """The day DEV ends or ended (R3), None without any purchase."""
    service_year: ServiceYear | None
    contracts: tuple[Contract, ...]
    """In force or suspended, in R18's order."""
    packs: tuple[Pack, ...]
    """With a ticket available or held, in R18's order."""
    left: dict[PaidBy, int]
    """Minutes, or tickets, with which a new case could be paid."""


def holds_editor(licences: tuple[Licence, ...], on: date) -> bool:
    """At least one Editor licence, bought and not withdrawn by then (R1)."""
    for licence in licences:  # noqa: SIM110 - a generator costs more than what it goes through
        if licence.kind == "editor" and licence.held(on):
            return True
    return False


def last_purchase(licences: tuple[Licence, ...], on: date) -> date | None:
    """The latest purchase or paid upgrade known on a date, of licences not withdrawn (R2)."""
    latest: date | None = None
    for licence in licences:
        if licence.held(on):
            bought = licence.purchased_on
            for upgraded_on in licence.paid_upgrades:
                if bought < upgraded_on <= on:
                    bought = upgraded_on
            if latest is None or bought > latest:
                latest = bought
    return latest


def service_year_from(policies: Policies, facts: Facts, starts_on: date) -> ServiceYear:
    """The service year that starts on a date: as recorded, else by the policy of that day (R17)."""
    recorded = facts.service_years.get(starts_on)
    if recorded is not None:
        return recorded
    terms = policies.in_force(starts_on).allowances.free_hours
    return ServiceYear(starts_on, add_months(starts_on, terms.months), terms.minutes)


def restarting_licences(policies: Policies, facts: Facts, on: date) -> tuple[Licence, ...]:
    """Those whose purchase starts a new service year: a switch of the policy (R14)."""
    if policies.in_force(on).allowances.free_hours.restart == "any":
        return facts.licences
    return tuple(licence for licence in facts.licences if licence.kind == "editor")


def service_year(policies: Policies, facts: Facts, on: date) -> ServiceYear | None:
    """The service year of free hours that stands on a date, for a holder of an Editor (R14)."""
    if not holds_editor(facts.licences, on):
        return None
    return _year_of_holder(policies, facts, on)


def _year_of_holder(policies: Policies, facts: Facts, on: date) -> ServiceYear | None:
    starts_on = last_purchase(restarting_licences(policies, facts, on), on)
    if starts_on is None:
        return None
    year = service_year_from(policies, facts, starts_on)
    return year if on < year.ends_on else None


def burn_order(contract: Contract) -> tuple[date, date, str]:
    """What ends first pays first; ties by start, then id (R18)."""
    return contract.closes_on, contract.starts_on, contract.id


def pack_order(pack: Pack) -> tuple[date, date, str]:
    """What expires first pays first; ties by purchase, then id (R18)."""
    return pack.expires_on, pack.purchased_on, pack.id


def stand(policies: Policies, facts: Facts, on: date) -> Standing:
    policy = policies.in_force(on)
    editor = holds_editor(facts.licences, on)
    latest = last_purchase(facts.licences, on)
    development_ends = (
        None if latest is None else add_months(latest, policies.in_force(latest).development.months)
    )
    year = _year_of_holder(policies, facts, on) if editor else None
    contracts = [contract for contract in facts.contracts if contract.in_force(on)]
    if len(contracts) > 1:
        contracts.sort(key=burn_order)
    # A pack with a held ticket counts while that case is open, even after it has expired (R5).
    packs = [pack for pack in facts.packs if pack.held or pack.available(on)]
    if len(packs) > 1:
        packs.sort(key=pack_order)

    columns: list[Column] = []
    if editor and development_ends is not None and on < development_ends:
        columns.append("DEV")
    if editor and contracts:
        columns.append("SA")
    if not columns:
        columns.append("NO_DEV")
    if packs:
        columns.append("TCK")
    left: dict[PaidBy, int] = {
        "free_hours": year.remaining_minutes if year else 0,
        "contract": sum(c.remaining_minutes for c in contracts) if editor else 0,
        "ticket": sum(pack.available(on) for pack in packs),
    }
    return Standing(
        on,
        policy,
        tuple(columns),
        editor,
        latest,
        development_ends,
        year,
        tuple(contracts),
        tuple(packs),
        left,
    )
