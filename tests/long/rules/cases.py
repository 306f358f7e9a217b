"""The steps on cases: R18, R22, R23, R26-R31."""

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
    """R27: the serial numbers of the customer's licences not withdrawn."""
    return {each.serial for each in customer.licences if not each.withdrawn_by(day)}


def has_priority_support(customer: Customer, day: date) -> bool:
    """R10, R31: whether a case could be opened that a contract pays for."""
    return columns.holds_editor(customer, day) and any(
        customer.left(each) > 0 for each in columns.contracts_in_force(customer, day)
    )


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
) -> Case:
    """R18, R23, R27, R28, R31. A bug is opened for anybody, with nothing to pay for it."""
    today = civil_date(now)
    codes = {"training_not_covered"} if category == "training" else set()
    own = serial in own_serials(customer, today)
    if columns.holds_editor(customer, today):
        if serial is None:
            codes.add("serial_number_required")
        elif not own:
            codes.add("serial_number_not_of_customer")
    bug = category == "bug"
    binding = None if bug else charging.choose(customer, channel, today, today, pay_with)
    if binding is None and not bug:
        codes.add("not_entitled")
    refuse(codes)
    case = Case(
        label,
        customer.next_order(),
        channel,
        now,
        priority,
        has_priority_support(customer, today),
        own,
        [CaseMoment(now, "open", bug, binding)],
    )
    if isinstance(binding, Ticket):
        charging.hold(binding, case, now)
    customer.cases.append(case)
    return case


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
    if isinstance(binding, Ticket) and binding.now.state != "free":
        # R19: it serves another case. One that has expired is not gone.
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
