"""The steps on licences, contracts and ticket packs."""

from datetime import date, datetime
from typing import Literal

from . import charging, columns, corrections
from .facts import (
    BEGINNING,
    Contract,
    Customer,
    Licence,
    LicenceKind,
    Pack,
    Ticket,
    TicketMoment,
    Upgrade,
    refuse,
)
from .policy import civil_date, term_end


def register(customer: Customer, today: date, serial: str, kind: LicenceKind, day: date) -> Licence:
    """R14: a purchase registered late moves no charge."""
    codes = {"in_future"} if day > today else set()
    codes |= _overlaps(customer, serial, day, None)
    refuse(codes)
    licence = Licence(serial, kind, day, (kind, day))
    customer.licences.append(licence)
    return licence


def _overlaps(customer: Customer, serial: str, day: date, but: Licence | None) -> set[str]:
    """R44: a serial number has one holder on any day."""
    others = [each for each in customer.licences if each.serial == serial and each is not but]
    free = all(each.withdrawn is not None and each.withdrawn <= day for each in others)
    return set() if free else {"already_exists"}


def send_again(
    customer: Customer, today: date, licence: Licence, kind: LicenceKind, day: date
) -> Licence:
    """R40: PUT by-serial. The same body again changes nothing, other values correct the licence.

    A licence withdrawn by today is refused, also where R44 registers it anew: transfers are not
    modelled yet.
    """
    if (kind, day) == licence.sent:
        return licence
    codes = {"in_future"} if day > today else set()
    if licence.withdrawn_by(today):
        codes.add("wrong_state")
    if any(each.day < day for each in licence.upgrades):
        codes.add("invalid")
    if kind != licence.kind and any(each.contract for each in licence.upgrades):
        codes.add("correction_conflicts")
    codes |= _overlaps(customer, licence.serial, day, licence)
    refuse(codes)

    def change() -> None:
        licence.kind, licence.purchased, licence.sent = kind, day, (kind, day)

    corrections.correct(customer, change)
    return licence


def withdraw(customer: Customer, licence: Licence, day: date) -> None:
    """R14: as of its own purchase day it undoes its year; otherwise it moves no charge (R4)."""
    codes = {"wrong_state"} if licence.withdrawn is not None else set()
    if day < licence.purchased:
        codes.add("invalid")
    refuse(codes)

    def change() -> None:
        licence.withdrawn = day

    corrections.correct(customer, change)


def upgrade(customer: Customer, today: date, licence: Licence, day: date, paid_by: str) -> Upgrade:
    """R25: paid by a contract while SA stands, else a purchase."""
    codes = {"in_future"} if day > today else set()
    if day < licence.purchased:
        codes.add("invalid")
    if licence.withdrawn_by(day) or licence.withdrawn_by(today):
        codes.add("wrong_state")
    contract = None
    if paid_by == "contract":
        paying = columns.contracts_in_force(customer, day)
        if paying and columns.holds_editor(customer, day) and licence.kind == "editor":
            contract = paying[0]
        else:
            codes.add("not_entitled")
    refuse(codes)
    made = Upgrade(day, contract)
    licence.upgrades.append(made)
    return made


def sign(
    customer: Customer, label: str, starts: date, included: int | None, *, take_over: bool
) -> Contract:
    """R15, R24: may take over the overrun of every service year and of unpaid cases."""
    if not columns.holds_editor(customer, starts):
        refuse({"editor_licence_required"})
    made = _contract(customer, label, starts, included, None)
    if take_over:
        sources = (
            case
            for case in customer.cases
            if case.unpaid or charging.kind_of(case.binding) == "free_hours"
        )
        charging.take_over(customer, made, sources)
    return made


def _contract(
    customer: Customer,
    label: str,
    starts: date,
    included: int | None,
    predecessor: Contract | None,
) -> Contract:
    made = Contract(label, customer.next_order(), starts, predecessor=predecessor)
    if included is not None:
        made.included = included
    customer.contracts.append(made)
    return made


def is_renewed(customer: Customer, contract: Contract) -> bool:
    """R24: a successor cancelled as of its first day frees its predecessor for renewal."""
    return any(
        each.predecessor is contract and not each.never_in_force for each in customer.contracts
    )


def renew(
    customer: Customer,
    today: date,
    label: str,
    contract: Contract,
    starts: Literal["today", "at_end"],
    *,
    take_over: bool,
) -> Contract:
    """R24: once, from its first day on, by a holder of an Editor on the new first day (R15)."""
    first = today if starts == "today" else contract.ends
    codes = set()
    if contract.cancelled is not None or today < contract.starts:
        codes.add("wrong_state")
    if is_renewed(customer, contract):
        codes.add("already_renewed")
    if not columns.holds_editor(customer, first):
        codes.add("editor_licence_required")
    if term_end(first) <= today:
        codes.add("term_over")
    refuse(codes)
    made = _contract(customer, label, first, None, contract)
    if take_over:
        sources = (case for case in customer.cases if case.binding is contract)
        charging.take_over(customer, made, sources)
    return made


def cancel_contract(customer: Customer, contract: Contract, day: date) -> None:
    """R4, R24, R25. A cancellation on the day on which the contract ends changes nothing."""
    codes = {"wrong_state"} if contract.cancelled is not None else set()
    if not contract.starts <= day <= contract.ends:
        codes.add("invalid")
    if any(charged >= day for charged in _charged_days(customer, contract)):
        codes.add("contract_has_later_charges")
    if any(
        each.contract is contract and each.day >= day
        for licence in customer.licences
        for each in licence.upgrades
    ):
        codes.add("contract_has_later_upgrades")
    refuse(codes)
    contract.cancelled = day
    if contract.never_in_force:
        charging.give_back(customer, contract)


def _charged_days(customer: Customer, contract: Contract) -> list[date]:
    """The days of what a contract paid; what it took over is given back instead (R24)."""
    return [
        entry.day
        for _, entry in customer.work()
        for share in entry.shares
        if share.payer == contract and not share.taken_over
    ]


def buy_pack(customer: Customer, now: datetime, label: str, quantity: int, day: date) -> Pack:
    """R5, R16."""
    if day > civil_date(now):
        refuse({"in_future"})
    order = customer.next_order()
    tickets = [
        Ticket(day, order, position, [TicketMoment(BEGINNING, "free", term_end(day))])
        for position in range(1, quantity + 1)
    ]
    made = Pack(label, order, day, tickets)
    customer.packs.append(made)
    return made
