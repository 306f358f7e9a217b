"""The steps on cases: R18, R22, R23, R26-R31, R47."""

from dataclasses import replace
from datetime import date, datetime, timedelta

from . import charging, columns
from .facts import (
    Binding,
    Case,
    CaseMoment,
    CaseState,
    Customer,
    Entry,
    Refused,
    Ticket,
    TicketState,
    refuse,
)
from .policy import PRIORITIES, REOPEN_WITHIN_DAYS, civil_date

BEFORE: dict[CaseState, tuple[CaseState, ...]] = {
    "in_progress": ("open", "waiting_for_customer"),
    "waiting_for_customer": ("in_progress",),
}


def _enter(case: Case, now: datetime, state: CaseState) -> None:
    case.path.append(replace(case.now, since=now, state=state))


def _bind(case: Case, now: datetime, binding: Binding) -> None:
    """R19: the case takes its ticket; one closed already consumes it at once (R22, R29)."""
    case.path.append(replace(case.now, since=now, binding=binding))
    if isinstance(binding, Ticket):
        charging.hold(binding, case, now)
        if case.state == "closed":
            charging.change(binding, "consumed", now)


def own_serials(customer: Customer, day: date) -> set[str]:
    """R27: the serial numbers of the customer's licences, as of a day (R47)."""
    return {each.serial for each in customer.licences if each.held_on(day)}


def has_priority_support(customer: Customer, day: date) -> bool:
    """R10, R31: whether a case could be opened that a contract pays for."""
    return columns.holds_editor(customer, day) and any(
        customer.left(each) > 0 for each in columns.contracts_in_force(customer, day)
    )


def _serial_codes(customer: Customer, serial: str | None, day: date) -> set[str]:
    """R27: whoever holds an Editor gives the serial number of a licence of its own."""
    if not columns.holds_editor(customer, day) or serial in own_serials(customer, day):
        return set()
    return {"serial_number_required" if serial is None else "serial_number_not_of_customer"}


def _opened_codes(customer: Customer, now: datetime, opened_at: datetime) -> set[str]:
    """R47: an opening in the past lies between the customer's first fact and now."""
    codes = {"in_future"} if opened_at > now else set()
    if civil_date(opened_at) < customer.first_fact():
        codes.add("before_first_fact")
    return codes


def open_case(
    customer: Customer,
    now: datetime,
    label: str,
    *,
    channel: str,
    category: str,
    pay_with: str,
    serial: str | None,
    priority: str,
    opened_at: datetime | None = None,
) -> Case:
    """R18, R23, R27, R28, R31. A bug is opened for anybody, with nothing to pay for it.

    R47: one of the past is judged as of its day, by what is left now.
    """
    at = opened_at or now
    day = civil_date(at)
    codes = {"training_not_covered"} if category == "training" else set()
    codes |= _serial_codes(customer, serial, day)
    codes |= _opened_codes(customer, now, at)
    bug = category == "bug"
    binding = None if bug else charging.choose(customer, channel, day, day, pay_with)
    if binding is None and not bug:
        codes.add("not_entitled")
    refuse(codes)
    case = Case(
        label,
        customer.next_order(),
        channel,
        at,
        priority,
        has_priority_support(customer, day),
        serial in own_serials(customer, day),
        [CaseMoment(at, "open", bug, binding)],
        serial=serial,
    )
    if isinstance(binding, Ticket):
        charging.hold(binding, case, at)
    customer.cases.append(case)
    return case


def change_serial(customer: Customer, case: Case, serial: str | None) -> None:
    """R27, as of the day of opening. The number that the case has already changes nothing."""
    if serial == case.serial and case.state != "cancelled":
        return
    day = civil_date(case.opened_at)
    codes = {"wrong_state"} if case.state == "cancelled" else set()
    refuse(codes | _serial_codes(customer, serial, day))
    case.serial, case.verified = serial, serial in own_serials(customer, day)


def move(
    customer: Customer,
    to: Customer,
    now: datetime,
    label: str,
    case: Case,
    *,
    serial: str | None,
    as_overrun: bool,
) -> Case:
    """R47: here it was never, there it begins at the same instant and in the same state.

    There it is bound from its opening on, also for the time in which it was taken for a bug.
    """
    day = civil_date(case.opened_at)
    codes = {"wrong_state"} if case.state == "cancelled" else set()
    if to is customer:
        codes.add("already_exists")
    codes |= _serial_codes(to, serial, day)
    binding = None if case.bug else charging.choose(to, case.channel, day, day, "auto")
    if binding is None and not case.bug and not as_overrun:
        codes.add("not_entitled")
    refuse(codes)
    there = Case(
        label,
        to.next_order(),
        case.channel,
        case.opened_at,
        case.priority,
        has_priority_support(to, day),
        serial in own_serials(to, day),
        [replace(each, bug=case.bug, binding=binding) for each in case.path],
        serial=serial,
        closed_at=case.closed_at,
    )
    to.cases.append(there)
    for entry in case.entries:
        if not entry.reversed:
            made = Entry(entry.label, to.next_order(), entry.minutes, entry.worked_at)
            there.entries.append(made)
    if isinstance(binding, Ticket):
        _take_as_it_was(binding, there)
    elif not case.bug:
        charging.charge_anew(to, there)
    _leave(customer, now, case)
    return there


def _take_as_it_was(ticket: Ticket, case: Case) -> None:
    """The ticket was the case's from its opening on, consumed while it was closed."""
    states: list[tuple[datetime, TicketState]] = [
        (each.since, "consumed" if each.state == "closed" else "held") for each in case.path
    ]
    charging.hold_since(ticket, case, states)


def _leave(customer: Customer, now: datetime, case: Case) -> None:
    """Everything that a case counted is reversed; no answer about the past knows it here."""
    binding = case.binding
    taken = binding.now.taken if isinstance(binding, Ticket) else None
    charging.uncharge(case)
    for entry in case.entries:
        entry.reversed = True
    for ticket in customer.tickets():
        known = len(ticket.path)
        if ticket is binding and taken is not None:
            charging.give_back_lapsed(ticket, now, taken)
        charging.take_back_lengthening(ticket, known, case, civil_date(now))
        ticket.path = [
            replace(each, state="free", case=None, taken=None) if each.case is case else each
            for each in ticket.path
        ]
    _enter(case, now, "cancelled")
    case.closed_at, case.moved = None, True


def record_time(
    customer: Customer, now: datetime, label: str, case: Case, minutes: int, worked_at: datetime
) -> Entry:
    """R20, R21, R29, R30."""
    codes = set() if case.is_open else {"wrong_state"}
    if civil_date(worked_at) < civil_date(case.opened_at):
        codes.add("worked_before_opening")
    if worked_at > now:
        codes.add("in_future")
    refuse(codes)
    entry = Entry(label, customer.next_order(), minutes, worked_at)
    case.entries.append(entry)
    if case.unpaid:
        _bind_if_paid(customer, now, case, entry.day, "auto")
        if not _counts_nothing(case):
            charging.charge_anew(customer, case)
    elif not _counts_nothing(case):
        charging.charge(customer, case, entry, minutes)
    return entry


def _counts_nothing(case: Case) -> bool:
    """R16, R22: cases that a ticket pays, and bugs."""
    return case.bug or isinstance(case.binding, Ticket)


def _bind_if_paid(
    customer: Customer, now: datetime, case: Case, hours_day: date, pay_with: str
) -> bool:
    """R29: bind an unpaid case to what can pay now. With a ticket its charges are given back."""
    binding = charging.choose(customer, case.channel, hours_day, civil_date(now), pay_with)
    if binding is None:
        return False
    _bind(case, now, binding)
    if isinstance(binding, Ticket):
        charging.uncharge(case)
    return True


def reverse(case: Case, entry: Entry) -> None:
    """R30: on open and closed cases, once; what it counted is given back."""
    codes = {"already_reversed"} if entry.reversed else set()
    if case.state == "cancelled":
        codes.add("wrong_state")
    refuse(codes)
    entry.reversed = True
    entry.shares = []


def set_bug(now: datetime, case: Case) -> None:
    """R22: a case found to be a bug, open or closed, counts nothing."""
    if case.state == "cancelled":
        raise Refused("wrong_state")
    if case.bug:
        return
    case.first = case.binding
    if isinstance(case.binding, Ticket):
        charging.release(case.binding, now, bug=True)
    charging.uncharge(case)
    case.path.append(replace(case.now, since=now, bug=True, binding=None))


def set_no_bug(customer: Customer, now: datetime, case: Case) -> None:
    """R22: no bug after all. Bound as before if possible, and charged as of the days worked."""
    if case.state == "cancelled":
        raise Refused("wrong_state")
    if not case.bug:
        return
    case.path.append(replace(case.now, since=now, bug=False))
    today = civil_date(now)
    binding = case.first
    if isinstance(binding, Ticket) and not charging.is_free(binding):
        # R19: it serves another case or is cancelled. One that has expired is not gone.
        binding = next(iter(charging.available(customer, today)), None)
    if binding is None:
        binding = charging.choose(customer, case.channel, today, today, "auto")
    if binding is not None:
        _bind(case, now, binding)
    if not isinstance(binding, Ticket):
        charging.charge_anew(customer, case)


def transition(now: datetime, case: Case, to: CaseState) -> None:
    """R29: `open` to `in_progress`, and that one to `waiting_for_customer` and back."""
    if case.state not in BEFORE[to]:
        raise Refused("wrong_state")
    _enter(case, now, to)


def close(now: datetime, case: Case) -> None:
    """R19, R29: closing consumes the ticket."""
    if not case.is_open:
        raise Refused("wrong_state")
    _enter(case, now, "closed")
    case.closed_at = now
    if isinstance(case.binding, Ticket):
        charging.change(case.binding, "consumed", now)


def reopen(now: datetime, case: Case) -> None:
    """R29: until the day before the last closing day + 30; the ticket is taken back."""
    if case.state != "closed":
        raise Refused("wrong_state")
    assert case.closed_at is not None
    if civil_date(now) >= civil_date(case.closed_at) + timedelta(days=REOPEN_WITHIN_DAYS):
        raise Refused("reopening_too_late")
    _enter(case, now, "in_progress")
    case.closed_at = None
    if isinstance(case.binding, Ticket):
        charging.change(case.binding, "held", now)


def cancel(now: datetime, case: Case) -> None:
    """R19, R29: while nothing worked stands; the ticket is released as it is."""
    codes = set() if case.is_open else {"wrong_state"}
    if case.worked:
        codes.add("case_has_work")
    refuse(codes)
    _enter(case, now, "cancelled")
    if isinstance(case.binding, Ticket):
        charging.release(case.binding, now, bug=False)


def bind(customer: Customer, now: datetime, case: Case, pay_with: str) -> None:
    """R29: staff bind a case that nothing pays for, on a closed one too."""
    codes = set()
    if not case.unpaid or case.state == "cancelled":
        codes.add("wrong_state")
    today = civil_date(now)
    if charging.choose(customer, case.channel, today, today, pay_with) is None:
        codes.add("not_entitled")
    refuse(codes)
    _bind_if_paid(customer, now, case, today, pay_with)
    if not _counts_nothing(case):
        charging.charge_anew(customer, case)


def queue(customer: Customer) -> list[Case]:
    """R31: open cases; those with priority support first, then by priority, then by age."""
    waiting = [each for each in customer.cases if each.is_open]
    return sorted(
        waiting,
        key=lambda c: (not c.priority_support, PRIORITIES.index(c.priority), c.opened_at, c.order),
    )
