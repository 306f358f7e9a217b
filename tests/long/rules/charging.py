"""R18-R22, R24: what a case is bound to, and where its minutes go."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime

from . import columns, years
from .facts import (
    Binding,
    Case,
    Contract,
    Customer,
    Entry,
    Hours,
    Share,
    Ticket,
    TicketMoment,
    TicketState,
    Year,
)
from .policy import CHANNELS_OF_FREE_HOURS, civil_date


def hours_on(customer: Customer, channel: str, day: date) -> list[Hours]:
    """The hour allowances, spent ones too, that cover a channel on a day, in R18's order."""
    found: list[Hours] = []
    year = years.year_on(customer, day)
    if year and channel in CHANNELS_OF_FREE_HOURS:
        found.append(year)
    if columns.holds_editor(customer, day):
        found += columns.contracts_in_force(customer, day)
    return found


def available(customer: Customer, day: date) -> list[Ticket]:
    """R5: the tickets that a case could take on a day, in R18's order."""
    found = [
        each
        for each in customer.tickets()
        if is_free(each) and each.purchased <= day < each.now.ends
    ]
    return sorted(found, key=lambda t: (t.now.ends, t.purchased, t.pack, t.position))


def is_free(ticket: Ticket) -> bool:
    """R19, R45: it serves no case and is not cancelled, expired or not."""
    return ticket.now.state == "free" and ticket.cancelled is None


def kind_of(binding: Binding) -> str:
    match binding:
        case Year():
            return "free_hours"
        case Contract():
            return "contract"
        case Ticket():
            return "ticket"
        case None:
            return "none"


def choose(
    customer: Customer, channel: str, hours_day: date, tickets_day: date | None, pay_with: str
) -> Binding:
    """R18: the allowance that a case is bound to, None where nothing pays.

    Hours count as of one day and tickets as of another (R29); no day, no tickets.
    """
    candidates: list[Binding] = [
        each for each in hours_on(customer, channel, hours_day) if customer.left(each) > 0
    ]
    if tickets_day is not None:
        candidates += available(customer, tickets_day)
    wanted = (each for each in candidates if pay_with in ("auto", kind_of(each)))
    return next(wanted, None)


def pays(customer: Customer, own: Hours, day: date) -> bool:
    """R20: whether a day lies inside the period of a case's own allowance."""
    return own.in_force(day) if isinstance(own, Contract) else years.covers(customer, own, day)


def charge(customer: Customer, case: Case, entry: Entry, minutes: int) -> None:
    """R20, R21: the own allowance, the others that stand on the day worked, then overrun.

    Where nothing pays for the case, its minutes are its own overrun (R22).
    """
    own = case.binding
    assert not isinstance(own, Ticket)
    payers: list[Hours] = []
    if own is not None:
        payers = [each for each in hours_on(customer, case.channel, entry.day) if each != own]
        if pays(customer, own, entry.day):
            payers = [own, *payers]
    for payer in payers:
        part = min(minutes, customer.left(payer))
        entry.add(part, payer)
        minutes -= part
    entry.add(minutes, None)


def charge_anew(customer: Customer, case: Case) -> None:
    """Charge what stands unpaid of a case's time, in the order worked (R22, R29)."""
    for entry in case.standing():
        counted = sum(share.minutes for share in entry.shares if share.payer is not None)
        entry.shares = [share for share in entry.shares if share.payer is not None]
        charge(customer, case, entry, entry.minutes - counted)


def uncharge(case: Case) -> None:
    """R22: nothing of a case is counted any more, wherever it was charged or taken over."""
    for entry in case.entries:
        entry.shares = []


def cover(customer: Customer) -> None:
    """R22: no hour allowance has both minutes left and overrun of a day inside its period."""
    for case, entry in customer.work():
        own = case.binding
        if own is None or isinstance(own, Ticket) or not entry.overrun:
            continue
        if pays(customer, own, entry.day):
            part = min(entry.overrun, customer.left(own))
            entry.drop_overrun(part)
            entry.add(part, own)


def take_over(customer: Customer, contract: Contract, cases: Iterable[Case]) -> None:
    """R24: a new contract takes over the overrun of cases, oldest first, while it lasts."""
    allowed = set(cases)
    for case, entry in customer.work():
        part = min(entry.overrun, customer.left(contract)) if case in allowed else 0
        if part:
            entry.drop_overrun(part)
            entry.shares.append(Share(part, contract, taken_over=True))


def give_back(customer: Customer, contract: Contract) -> None:
    """R24: what a contract took over is overrun again where it came from, as that is now."""
    for _, entry in customer.work():
        taken = sum(each.minutes for each in entry.shares if _took(contract, each))
        if taken:
            contract.gave_back.append((entry, taken))
            entry.shares = [each for each in entry.shares if not _took(contract, each)]
            entry.add(taken, None)


def _took(contract: Contract, share: Share) -> bool:
    return share.taken_over and share.payer is contract


def take_over_again(customer: Customer, contract: Contract) -> None:
    """R46: what still stands of what a contract had taken over and gave back."""
    for entry, minutes in contract.gave_back:
        part = min(minutes, entry.overrun, customer.left(contract))
        if part:
            entry.drop_overrun(part)
            entry.shares.append(Share(part, contract, taken_over=True))
    contract.gave_back = []


def hold(ticket: Ticket, case: Case, now: datetime) -> None:
    """R19: a case takes a ticket when it is bound to it."""
    hold_since(ticket, case, [(now, "held")])


def hold_since(ticket: Ticket, case: Case, states: list[tuple[datetime, TicketState]]) -> None:
    """R47: a ticket was a case's since an instant in the past, in one state after another.

    Its own end is at any instant what it was then. While another case had it, it was that one's
    (R19: one ticket never serves two cases).
    """
    since_free = ticket.free_since()
    states = [(max(since, since_free), state) for since, state in states]
    first = states[0][0]
    instants = {since for since, _ in states}
    instants |= {moment.since for moment in ticket.path if moment.since > first}
    ends = {instant: ticket.at(instant).ends for instant in instants}
    for instant in sorted(instants):
        state = next(state for since, state in reversed(states) if since <= instant)
        made = TicketMoment(instant, state, ends[instant], case, civil_date(first))
        ticket.path.append(made)


def change(ticket: Ticket, state: TicketState, now: datetime) -> None:
    """R19, R29: consumed by closing, held again by reopening, which takes nothing anew."""
    ticket.path.append(replace(ticket.now, since=now, state=state))


def release(ticket: Ticket, now: datetime, *, bug: bool) -> None:
    """R19: a cancelled case gives its ticket back as it is, a bug with the days it was taken."""
    old = ticket.now
    assert old.taken is not None
    given_back = civil_date(now) + (old.ends - old.taken)
    ticket.path.append(TicketMoment(now, "free", max(old.ends, given_back) if bug else old.ends))


def give_back_lapsed(ticket: Ticket, now: datetime, taken: date) -> None:
    """R47: a ticket that lapsed while a case of the wrong customer had it gets its days back."""
    today, ends = civil_date(now), ticket.now.ends
    if today >= ends:
        ends = today + (ends - taken)
    ticket.path.append(TicketMoment(now, "free", ends))


def take_back_lengthening(ticket: Ticket, known: int, case: Case, today: date) -> None:
    """R47: the days that a ticket got because the case was a bug are taken back (R19).

    `known` is how many of its moments there were before the move. The days stay if the ticket has
    served another case since or was cancelled, and if it would have ended by today without them.
    """
    for index in range(known - 1, 0, -1):
        held, since = ticket.path[index - 1], ticket.path[index:]
        if held.case is not case or since[0].case is not None:
            continue
        days = since[0].ends - held.ends
        untouched = ticket.cancelled is None and all(each.case in {None, case} for each in since)
        if untouched and ticket.now.ends - days > today:
            ticket.path[index:] = [replace(each, ends=each.ends - days) for each in since]
