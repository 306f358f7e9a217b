"""R40, R46 for licences: service years that move, are undone or come back, and their charges."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TypeAlias

from . import charging, columns, years
from .facts import Binding, Case, Customer, Entry, Licence, Year
from .policy import civil_date
from .years import Anchor

Moved: TypeAlias = tuple[Case, Year, Binding]


def correct(customers: list[Customer], change: Callable[[], None]) -> list[Moved]:
    """Change facts, and let the service years of these customers and what they paid follow.

    A year that another purchase shares moves as well: what the moved year does not cover is charged
    again, where it falls to the year that the other purchase still has. It is undone only if no
    purchase has it any more. Returns the cases of years that are undone, with their bindings now.
    """
    before = [
        (customer, {year: years.owners(customer, year) for year in _years_in_use(customer)})
        for customer in customers
    ]
    change()
    undone: list[Moved] = []
    for customer, in_use in before:
        after = {(each.licence, each.upgrade): each for each in years.anchors(customer)}
        moves: dict[Year, Year | None] = {}
        for year, owners in in_use.items():
            new = [after.get((each.licence, each.upgrade)) for each in owners]
            moved = [pair for pair in zip(owners, new, strict=True) if pair[0] != pair[1]]
            if moved and (moved[0][1] or len(moved) == len(owners)):
                moves[year] = _moved(year, *moved[0])
        if moves:
            undone += _follow(customer, moves)
    return undone


def give_again(customer: Customer, licence: Licence) -> None:
    """R14, R46: the years that a withdrawal had undone have their cases again.

    A case that was bound anew meanwhile stays where it is. The others count as bound so from the
    start, and all their time is charged again, that worked first first.
    """
    given = [each for each in customer.undone if each.licence is licence]
    customer.undone = [each for each in customer.undone if each.licence is not licence]
    back: set[Case] = set()
    for each in given:
        case = each.case
        if case.bug:
            if case.first == each.instead:
                case.first = each.year
        elif case.binding == each.instead and case.state != "cancelled":
            _bind(case, each.year)
            back.add(case)
    again: list[tuple[Case, Entry, int]] = []
    for case, entry in customer.work():
        if case in back:
            entry.shares = [share for share in entry.shares if share.taken_over]
            counted = sum(share.minutes for share in entry.shares)
            again.append((case, entry, entry.minutes - counted))
    for case, entry, minutes in again:
        charging.charge(customer, case, entry, minutes)


def _years_in_use(customer: Customer) -> set[Year]:
    """The years that a case is bound to, or was before it became a bug, or that are charged."""
    found: set[object] = {case.binding for case in customer.cases}
    found |= {case.first for case in customer.cases}
    found |= {share.payer for _, entry in customer.work() for share in entry.shares}
    return {each for each in found if isinstance(each, Year)}


def _moved(year: Year, old: Anchor, new: Anchor | None) -> Year | None:
    """Where a year begins now: at the like anniversary of the new day; None if it is undone."""
    number = old.number(year.start)
    assert number is not None
    return None if new is None else Year(new.anniversary(number))


def _follow(customer: Customer, moves: dict[Year, Year | None]) -> list[Moved]:
    lifted = _lift(customer, moves)
    overrun: dict[Case, Year] = {}
    undone: list[Moved] = []
    for case in customer.cases:
        for old in {case.binding, case.first if case.bug else case.binding}:
            if not isinstance(old, Year) or old not in moves:
                continue
            moved = moves[old]
            new = _rebound(customer, case, moved)
            if case.bug:
                case.first = new
            else:
                if moved is not None:
                    overrun[case] = moved
                _bind(case, new)
            if moved is None:
                undone.append((case, old, new))
            customer.undone = [
                replace(each, instead=new) if each.case is case and each.instead == old else each
                for each in customer.undone
            ]
    again: list[tuple[Case, Entry, int]] = []
    for case, entry, minutes, old in lifted:
        new = moves[old]
        kept = 0
        if new is not None and years.covers(customer, new, entry.day):
            kept = min(minutes, customer.left(new))
            entry.add(kept, new)
        again.append((case, entry, minutes - kept))
    _cover_moved(customer, overrun)
    for case, entry, minutes in again:
        charging.charge(customer, case, entry, minutes)
    return undone


def _cover_moved(customer: Customer, overrun: dict[Case, Year]) -> None:
    """A moved year takes its overrun along and covers it (R22), even if the case leaves it."""
    for case, entry in customer.work():
        year = overrun.get(case)
        if year is not None and years.covers(customer, year, entry.day):
            part = min(entry.overrun, customer.left(year))
            entry.drop_overrun(part)
            entry.add(part, year)


def _lift(
    customer: Customer, moves: dict[Year, Year | None]
) -> list[tuple[Case, Entry, int, Year]]:
    """Take away the moved charges, oldest first."""
    lifted: list[tuple[Case, Entry, int, Year]] = []
    for case, entry in customer.work():
        lifted += [
            (case, entry, share.minutes, share.payer)
            for share in entry.shares
            if isinstance(share.payer, Year) and share.payer in moves
        ]
        entry.shares = [share for share in entry.shares if share.payer not in moves]
    return lifted


def _rebound(customer: Customer, case: Case, new: Year | None) -> Binding:
    """R40, bound cases: what a case is bound to whose year moved (to `new`) or was undone."""
    opened: date = civil_date(case.opened_at)
    if new is None:
        return charging.choose(customer, case.channel, opened, None, "auto")
    if not years.covers(customer, new, opened) and columns.dev(customer, opened):
        return years.year_on(customer, opened)
    return new


def _bind(case: Case, binding: Binding) -> None:
    """A case counts as bound so from the start."""
    old = case.binding
    case.path = [
        replace(moment, binding=binding) if moment.binding == old and not moment.bug else moment
        for moment in case.path
    ]
