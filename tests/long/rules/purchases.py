"""The steps on licences, contracts and ticket packs."""

from dataclasses import replace
from datetime import date, datetime
from typing import Literal

from . import charging, columns, corrections
from .facts import (
    BEGINNING,
    Contract,
    Customer,
    Holding,
    Licence,
    LicenceKind,
    Pack,
    Purchase,
    Ticket,
    TicketMoment,
    Upgrade,
    refuse,
)
from .policy import civil_date, term_end


def register(
    customers: list[Customer],
    customer: Customer,
    today: date,
    serial: str,
    kind: LicenceKind,
    day: date,
) -> Licence:
    """R14: a purchase registered late moves no charge.

    R44: a serial number that was withdrawn may be registered again from that day on.
    """
    codes = {"in_future"} if day > today else set()
    if any(not _ended_by(each, day) for each in _of_serial(customers, serial)):
        codes.add("already_exists")
    refuse(codes)
    purchase = Purchase(serial, kind, day)
    licence = Licence(purchase, [Holding(day)], bought=True, sent=(kind, day))
    customer.licences.append(licence)
    return licence


def _of_serial(customers: list[Customer], serial: str) -> list[Licence]:
    """Every customer's licences of a serial number, in the order in which they were got."""
    found = [each for c in customers for each in c.licences if each.serial == serial]
    return sorted(found, key=lambda each: each.last.start)


def _ended_by(licence: Licence, day: date) -> bool:
    return all(each.ended_by(day) for each in licence.holdings)


def _overlaps(customers: list[Customer], purchase: Purchase, start: date, end: date | None) -> bool:
    """R44: whether another purchase of the serial number has a holder in `[start, end)`."""
    return any(
        holding.overlaps(start, end)
        for each in _of_serial(customers, purchase.serial)
        for holding in each.holdings
        if each.purchase is not purchase and holding.start != holding.end
    )


def send(
    customers: list[Customer],
    customer: Customer,
    today: date,
    serial: str,
    kind: LicenceKind,
    day: date,
) -> Licence:
    """R40, R44: PUT by-serial by a customer.

    The same body again changes nothing, nor do the values that the licence has; others correct the
    licence of whoever holds it. One that is withdrawn is registered anew from the day of the
    withdrawal on.
    """
    every = _of_serial(customers, serial)
    known = next((each for each in every if each.held_on(today)), every[-1])
    if known not in customer.licences:
        return register(customers, customer, today, serial, kind, day)
    if (kind, day) == known.sent:
        return known
    is_known = (kind, day) == (known.purchase.kind, known.purchase.day)
    if known.withdrawn_by(today) and not is_known:
        assert known.withdrawn is not None
        if day < known.withdrawn:
            refuse({"wrong_state"} | ({"in_future"} if day > today else set()))
        return register(customers, customer, today, serial, kind, day)
    correct(customers, today, known, kind, day)
    known.sent = (kind, day)
    return known


def correct(
    customers: list[Customer], today: date, licence: Licence, kind: LicenceKind, day: date
) -> None:
    """R40: another day of purchase, another kind; it reaches every holder of the purchase (R44)."""
    purchase = licence.purchase
    if (kind, day) == (purchase.kind, purchase.day):
        return
    codes = {"in_future"} if day > today else set()
    if licence.withdrawn_by(today) or licence.transferred:
        codes.add("wrong_state")
    if any(each.day < day for each in _standing(purchase)):
        codes.add("invalid")
    holders = [(c, each) for c in customers for each in c.licences if each.purchase is purchase]
    first = next(each.holdings[0] for _, each in holders if each.bought)
    if first.end is not None and first.end <= day:
        codes.add("invalid")
    if kind != purchase.kind and any(each.contract for each in _standing(purchase)):
        codes.add("correction_conflicts")
    if _overlaps(customers, purchase, day, first.end):
        codes.add("already_exists")
    refuse(codes)

    def change() -> None:
        purchase.kind, purchase.day, first.start = kind, day, day

    corrections.correct([each for each, _ in holders], change)


def _standing(purchase: Purchase) -> list[Upgrade]:
    return [each for each in purchase.upgrades if not each.reversed]


def withdraw(customer: Customer, licence: Licence, day: date) -> None:
    """R14: as of its own purchase day it undoes its year; otherwise it moves no charge (R4)."""
    codes = {"wrong_state"} if licence.last.end is not None else set()
    if day < licence.last.start:
        codes.add("invalid")
    refuse(codes)

    def change() -> None:
        licence.last.end, licence.last.withdrawn = day, True

    for undone in corrections.correct([customer], change):
        undone.licence = licence
        customer.undone.append(undone)


def reinstate(customers: list[Customer], customer: Customer, licence: Licence) -> None:
    """R46: a withdrawal taken back. What it had undone pays for its cases again (R14)."""
    codes = {"wrong_state"} if licence.withdrawn is None else set()
    if licence.withdrawn and _overlaps(customers, licence.purchase, licence.withdrawn, None):
        codes.add("correction_conflicts")
    refuse(codes)
    licence.last.end, licence.last.withdrawn = None, False
    corrections.give_again(customer, licence)


def transfer(customer: Customer, to: Customer, today: date, licence: Licence, day: date) -> Licence:
    """R44: the one holds it to the day before, the other from that day."""
    codes = {"in_future"} if day > today else set()
    if licence.withdrawn is not None or licence.transferred:
        codes.add("wrong_state")
    if to is customer:
        codes.add("already_exists")
    if day <= max(licence.last.start, *(each.day for each in _standing(licence.purchase)), day.min):
        codes.add("invalid")
    refuse(codes)
    licence.last.end = day
    for known in to.licences:
        if known.purchase is licence.purchase:
            known.holdings.append(Holding(day))
            return known
    got = Licence(licence.purchase, [Holding(day)], bought=False, sent=None)
    to.licences.append(got)
    return got


def upgrade(customer: Customer, today: date, licence: Licence, day: date, paid_by: str) -> Upgrade:
    """R25: paid by a contract while SA stands, else a purchase."""
    codes = {"in_future"} if day > today else set()
    if day < licence.last.start:
        codes.add("invalid")
    if licence.last.ended_by(day) or licence.last.ended_by(today):
        codes.add("wrong_state")
    contract = None
    if paid_by == "contract":
        paying = columns.contracts_in_force(customer, day)
        if paying and columns.holds_editor(customer, day) and licence.kind == "editor":
            contract = paying[0]
        else:
            codes.add("not_entitled")
    refuse(codes)
    made = Upgrade(day, contract, licence)
    licence.purchase.upgrades.append(made)
    return made


def reverse_upgrade(customer: Customer, made: Upgrade) -> None:
    """R40: as if it had never been; a year that it began is undone.

    The clauses do not say that the licence must not be withdrawn, so that it may be.
    """
    codes = {"already_reversed"} if made.reversed else set()
    if made.licence.transferred or made.passed_on:
        codes.add("wrong_state")
    refuse(codes)

    def change() -> None:
        made.reversed = True

    corrections.correct([customer], change)


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
    """R24: once, from its first day on, by a holder of an Editor, today and on the new first day
    (R15).
    """
    first = today if starts == "today" else contract.ends
    codes = set()
    if contract.cancelled is not None or today < contract.starts:
        codes.add("wrong_state")
    if is_renewed(customer, contract):
        codes.add("already_renewed")
    if not all(columns.holds_editor(customer, day) for day in (today, first)):
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
    if any(each.day >= day for each in _paid_upgrades(customer, contract)):
        codes.add("contract_has_later_upgrades")
    refuse(codes)
    contract.cancelled = day
    if contract.never_in_force:
        charging.give_back(customer, contract)


def _paid_upgrades(customer: Customer, contract: Contract) -> list[Upgrade]:
    """R25: the upgrades that a contract paid."""
    return [
        each
        for licence in customer.licences
        for each in licence.upgrades()
        if each.contract is contract
    ]


def correct_contract(customer: Customer, contract: Contract, starts: date, included: int) -> None:
    """R40: another first day, other minutes; what it took over follows the first day."""
    codes = {"wrong_state"} if contract.cancelled is not None else set()
    if starts != contract.starts:
        if not columns.holds_editor(customer, starts):
            codes.add("editor_licence_required")
        days = _charged_days(customer, contract)
        days += [each.day for each in _paid_upgrades(customer, contract)]
        if not all(starts <= day < term_end(starts) for day in days):
            codes.add("correction_conflicts")
    if customer.used(contract) > included:
        codes.add("correction_conflicts")
    refuse(codes)
    contract.starts, contract.included = starts, included


def reinstate_contract(customer: Customer, contract: Contract) -> None:
    """R46: a cancellation taken back, unless another contract has taken its place."""
    codes = {"wrong_state"} if contract.cancelled is None else set()
    before = contract.predecessor
    if is_renewed(customer, contract) or (before and _renewed_by_another(customer, contract)):
        codes.add("correction_conflicts")
    refuse(codes)
    contract.cancelled = None
    charging.take_over_again(customer, contract)


def _renewed_by_another(customer: Customer, contract: Contract) -> bool:
    return any(
        each.predecessor is contract.predecessor
        and each is not contract
        and not each.never_in_force
        for each in customer.contracts
    )


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


def cancel_tickets(today: date, pack: Pack, quantity: int | None, day: date) -> None:
    """R45: those neither held, consumed nor lapsed on the day, those that end last first."""
    codes = {"in_future"} if day > today else set()
    if day < pack.purchased:
        codes.add("invalid")
    unused = [each for each in pack.tickets if charging.is_free(each) and day < each.now.ends]
    wanted = len(unused) if quantity is None else quantity
    if not unused or wanted > len(unused):
        codes.add("not_enough_tickets")
    refuse(codes)
    last_first = sorted(unused, key=lambda each: (each.now.ends, each.position), reverse=True)
    for ticket in last_first[:wanted]:
        ticket.cancelled = day


def correct_pack(today: date, pack: Pack, day: date) -> None:
    """R40: another day of purchase; ends that R19 lengthened stay longer by as many days."""
    codes = {"in_future"} if day > today else set()
    moved = term_end(day) - pack.ends
    for ticket in pack.tickets:
        taken = ticket.now.taken
        if taken is not None and not day <= taken < ticket.now.ends + moved:
            codes.add("correction_conflicts")
    refuse(codes)
    pack.purchased = day
    for ticket in pack.tickets:
        ticket.purchased = day
        ticket.path = [replace(each, ends=each.ends + moved) for each in ticket.path]
