"""Where a customer stands on a date: columns and allowances (R1-R7, R14-R17)."""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from app.policy.civil import add_months
from app.policy.document import Column, PaidBy, Policies, Policy
from app.policy.facts import Contract, Facts, Licence, Pack, ServiceYear
from app.policy.years import anchors, year_of


class Standing(NamedTuple):
    """What the matrix needs to know about a customer on one date."""

    on: date
    policy: Policy
    columns: tuple[Column, ...]
    holds_editor: bool
    last_purchase: date | None
    development_ends: date | None
    """The day on which DEV ends or ended (R3). None without any purchase."""
    anchor: date | None
    """The purchase from which service years are counted (R14)."""
    service_year: ServiceYear | None
    """The year that pays for new cases. None while it sleeps: without an Editor, without DEV."""
    contracts: tuple[Contract, ...]
    """In force or suspended, in R18's order."""
    packs: tuple[Pack, ...]
    """With a ticket available or held, by the day on which they end."""
    left: dict[PaidBy, int]
    """Minutes, or tickets, with which a new case could be paid."""


def holds_editor(licences: tuple[Licence, ...], on: date) -> bool:
    """At least one Editor licence was bought and not withdrawn by then (R1)."""
    for licence in licences:  # noqa: SIM110 - a generator costs more than this loop
        if licence.kind == "editor" and licence.held(on):
            return True
    return False


def counting(policies: Policies, licence: Licence) -> tuple[date, ...]:
    """The days on which a licence counts as bought by its holder (R2).

    A transfer does where the policy in force on its day says so (R44).
    """
    got = licence.held_from
    if got is not None and policies.in_force(got).development.transfer_counts_as_purchase:
        return (*licence.purchases, got)
    return licence.purchases


def service_year(policies: Policies, facts: Facts, on: date) -> ServiceYear | None:
    """The service year that pays for new cases on a date (R14)."""
    return stand(policies, facts, on).service_year


def burn_order(contract: Contract) -> tuple[date, date, str]:
    """What ends first pays first; ties by start, then id (R18)."""
    return contract.closes_on, contract.starts_on, contract.id


def pack_order(pack: Pack) -> tuple[date, date, str]:
    """Packs by the day on which they end; ties by purchase, then id."""
    return pack.ends_on, pack.purchased_on, pack.id


class Possession(NamedTuple):
    """What follows from the licences of a customer alone, on one date."""

    editor: bool
    """Whether an Editor is held (R1)."""
    last_purchase: date | None
    """The latest purchase or paid upgrade by then, of licences held (R2)."""
    development_ends: date | None
    anchor: date | None
    develops: bool
    """Whether DEV stands (R3)."""


def possession(policies: Policies, licences: Iterable[Licence], on: date) -> Possession:
    editor = False
    latest: date | None = None
    anchor: date | None = None
    # One pass, written out: this runs several times for every answer.
    for licence in licences:
        if not licence.held(on):
            continue
        editor = editor or licence.kind == "editor"
        for bought in counting(policies, licence):
            if bought <= on and (latest is None or bought > latest):
                latest = bought
        for day in anchors(policies, licence):
            if day <= on and (anchor is None or day > anchor):
                anchor = day
    if latest is None:
        return Possession(editor, None, None, anchor, False)
    development_ends = add_months(latest, policies.in_force(latest).development.months)
    return Possession(editor, latest, development_ends, anchor, editor and on < development_ends)


def stand(policies: Policies, facts: Facts, on: date) -> Standing:
    policy = policies.in_force(on)
    editor, latest, development_ends, anchor, develops = possession(policies, facts.licences, on)
    # R14: no new case is bound to a year while DEV is lapsed.
    year = year_of(policies, facts, anchor, on) if develops and anchor is not None else None
    contracts = [one for one in facts.contracts if one.in_force(on)]
    # A pack with a held ticket counts while that case is open, even after it has expired (R5), but
    # not on a day before its purchase as known now, which may have been corrected since (R13).
    packs = [
        pack
        for pack in facts.packs_by(on)
        if pack.purchased_on <= on and (pack.held or pack.available(on))
    ]
    # Most customers have one or none, and this runs several times for every answer.
    if len(contracts) > 1:
        contracts.sort(key=burn_order)
    if len(packs) > 1:
        packs.sort(key=pack_order)

    columns: list[Column] = []
    if develops:
        columns.append("DEV")
    if editor and contracts:
        columns.append("SA")
    if not columns:
        columns.append("NO_DEV")
    if packs:
        columns.append("TCK")
    left: dict[PaidBy, int] = {
        "free_hours": year.remaining_minutes if year else 0,
        "contract": sum([c.remaining_minutes for c in contracts]) if editor and contracts else 0,
        "ticket": sum([pack.available(on) for pack in packs]) if packs else 0,
    }
    return Standing(
        on,
        policy,
        tuple(columns),
        editor,
        latest,
        development_ends,
        anchor,
        year,
        tuple(contracts),
        tuple(packs),
        left,
    )
