"""R40, R46 for licences: service years that move, are undone or come back, and their charges."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date

from . import charging, columns, years
from .facts import Binding, Case, Contract, Customer, Entry, Licence, Share, Undone, Year
from .policy import civil_date
from .years import Anchor


def correct(customers: list[Customer], change: Callable[[], None]) -> list[Undone]:
    """Change facts, and let the service years of these customers and what they paid follow.

    A year that several purchases share is anchored at the latest of them (R14) and moves with it:
    what the moved year does not cover is charged again, where it falls to the year that the other
    purchase still has. It is undone only if no purchase has it any more. Returns what came of the
    cases that years which are undone paid for.
    """
    before = [
        (customer, {year: years.owners(customer, year) for year in _years_in_use(customer)})
        for customer in customers
    ]
    change()
    undone: list[Undone] = []
    for customer, in_use in before:
        after = {(each.licence, each.upgrade): each for each in years.anchors(customer)}
        moves: dict[Year, Year | None] = {}
        for year, owners in in_use.items():
            new = [after.get((each.licence, each.upgrade)) for each in owners]
            moved = [pair for pair in zip(owners, new, strict=True) if pair[0] != pair[1]]
            latest = bool(moved) and moved[0][0] == owners[0]
            if latest and (moved[0][1] or len(moved) == len(owners)):
                moves[year] = _moved(year, *moved[0])
        if moves:
            undone += _follow(customer, moves)
    return undone


def give_again(customer: Customer, licence: Licence) -> None:
    """R14, R46: the years that a withdrawal had undone have their cases again.

    A case that was bound anew meanwhile stays where it is. The others count as bound so from the
    start: what was charged before the withdrawal lies where it lay, and time recorded since is
    charged again, that worked first first.
    """
    back: dict[Entry, tuple[Case, list[Share]]] = {}
    for undone in [each for each in customer.undone if each.licence is licence]:
        customer.undone.remove(undone)
        case, again = undone.case, undone.before != undone.instead
        gone = isinstance(undone.before, Year) and not years.generators(customer, undone.before)
        if _bound(case) != undone.instead or gone:
            continue
        if again:
            _rebind(case, undone.before)
            for each in customer.undone:
                each.follow(case, undone.instead, undone.before)
        for entry in case.entries:
            if entry.shares and (again or entry in undone.shares):
                back[entry] = case, undone.shares.get(entry, [])
    for entry in back:
        entry.shares = [share for share in entry.shares if share.taken_over]
    for entry, (_, shares) in back.items():
        _restore(customer, entry, shares)
    for entry in sorted(back, key=lambda each: each.age):
        counted = sum(share.minutes for share in entry.shares)
        charging.charge(customer, back[entry][0], entry, entry.minutes - counted)


def _restore(customer: Customer, entry: Entry, shares: list[Share]) -> None:
    """As it was, except for what was taken over since and what an allowance has no longer left."""
    for share in shares:
        if not share.taken_over:
            minutes = entry.minutes - sum(each.minutes for each in entry.shares)
            left = minutes if share.payer is None else customer.left(share.payer)
            if isinstance(share.payer, Contract) and not share.payer.in_force(entry.day):
                left = 0
            entry.add(min(share.minutes, minutes, left), share.payer)


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


def _follow(customer: Customer, moves: dict[Year, Year | None]) -> list[Undone]:
    undone = list(_paid_by(customer, {year for year, moved in moves.items() if moved is None}))
    lifted = _lift(customer, moves)
    overrun: dict[Case, Year] = {}
    for case in customer.cases:
        old = _bound(case)
        if isinstance(old, Year) and old in moves:
            moved = moves[old]
            if moved is not None and not case.bug:
                overrun[case] = moved
            _rebind(case, _rebound(customer, case, moved))
            for each in customer.undone:
                each.follow(case, old, _bound(case))
            for each in undone:
                if each.case is case:
                    each.instead = _bound(case)
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


def _paid_by(customer: Customer, undone: set[Year]) -> Iterator[Undone]:
    """The cases that years to be undone pay for, wholly or in part, with what they count now."""
    for case in customer.cases:
        every = {entry: [replace(each) for each in entry.shares] for entry in case.entries}
        if _bound(case) not in undone:
            every = {
                entry: shares
                for entry, shares in every.items()
                if any(share.payer in undone for share in shares)
            }
        if every or _bound(case) in undone:
            yield Undone(case, _bound(case), _bound(case), every)


def _bound(case: Case) -> Binding:
    """What a case is bound to, or will be again if it proves no bug (R22)."""
    return case.first if case.bug else case.binding


def _rebind(case: Case, binding: Binding) -> None:
    if case.bug:
        case.first = binding
    else:
        _bind(case, binding)


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
