"""R40 for licences: the service years that move or are undone, and their charges."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from . import charging, columns, years
from .facts import Binding, Case, Customer, Entry, Year
from .policy import civil_date
from .years import Anchor


def correct(customer: Customer, change: Callable[[], None]) -> None:
    """Change a licence's facts, and let its service years and what they paid follow.

    A year that another purchase shares moves as well: what the moved year does not cover is charged
    again, where it falls to the year that the other purchase still has. It is undone only if no
    purchase has it any more.
    """
    in_use = {year: years.owners(customer, year) for year in _years_in_use(customer)}
    change()
    after = {(each.licence, each.upgrade): each for each in years.anchors(customer)}
    moves: dict[Year, Year | None] = {}
    for year, owners in in_use.items():
        new = [after.get((each.licence, each.upgrade)) for each in owners]
        moved = [pair for pair in zip(owners, new, strict=True) if pair[0] != pair[1]]
        if moved and (moved[0][1] or len(moved) == len(owners)):
            moves[year] = _moved(year, *moved[0])
    if moves:
        _follow(customer, moves)


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


def _follow(customer: Customer, moves: dict[Year, Year | None]) -> None:
    lifted = _lift(customer, moves)
    overrun: dict[Case, Year] = {}
    for case in customer.cases:
        if isinstance(case.binding, Year) and case.binding in moves:
            moved = moves[case.binding]
            if moved is not None:
                overrun[case] = moved
            _bind(case, _rebound(customer, case, moves[case.binding]))
        if isinstance(case.first, Year) and case.first in moves:
            case.first = _rebound(customer, case, moves[case.first])
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
        replace(moment, binding=binding) if moment.binding == old else moment
        for moment in case.path
    ]
