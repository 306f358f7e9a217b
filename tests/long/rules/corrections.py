"""R40 for licences: the service years that move or are undone, and their charges."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from . import charging, columns, years
from .facts import Binding, Case, Customer, Entry, Hours, Licence, Upgrade, Year
from .policy import civil_date


def correct(customer: Customer, change: Callable[[], None]) -> None:
    """Change a licence's facts, and let its service years and what they paid follow."""
    before = years.anchors(customer)
    in_use = _years_in_use(customer)
    change()
    after = {(each.licence, each.upgrade): each for each in years.anchors(customer)}
    still = {year for year in in_use if _stays(year, before, after)}
    moves: dict[Year, Year | None] = {}
    for year in in_use - still:
        moves[year] = _moved(year, before, after)
    if moves:
        _follow(customer, moves)


def _years_in_use(customer: Customer) -> set[Year]:
    """The years that a case is bound to, or was before it became a bug, or that are charged."""
    found: set[object] = {case.binding for case in customer.cases}
    found |= {case.first for case in customer.cases}
    found |= {share.payer for _, entry in customer.work() for share in entry.shares}
    return {each for each in found if isinstance(each, Year)}


_Anchors = dict[tuple[Licence, Upgrade | None], years.Anchor]


def _stays(year: Year, before: list[years.Anchor], after: _Anchors) -> bool:
    """Whether an Editor purchase that the correction leaves alone has this year too."""
    return any(
        each.number(year.start) is not None and after.get((each.licence, each.upgrade)) == each
        for each in before
    )


def _moved(year: Year, before: list[years.Anchor], after: _Anchors) -> Year | None:
    """Where a year begins now: at the like anniversary of the new day; None if it is undone."""
    for old in before:
        number = old.number(year.start)
        new = after.get((old.licence, old.upgrade))
        if number is not None and new is not None:
            return Year(new.anniversary(number))
    return None


def _follow(customer: Customer, moves: dict[Year, Year | None]) -> None:
    undone = {case for case in customer.cases if _is_undone(case.binding, moves)}
    lifted = _lift(customer, moves, undone)
    for case in customer.cases:
        if isinstance(case.binding, Year) and case.binding in moves:
            _bind(case, _rebound(customer, case, moves[case.binding]))
        if isinstance(case.first, Year) and case.first in moves:
            case.first = _rebound(customer, case, moves[case.first])
    again: list[tuple[Case, Entry, int]] = []
    for case, entry, minutes, old in lifted:
        new = moves.get(old) if isinstance(old, Year) else None
        kept = 0
        if new is not None and years.covers(customer, new, entry.day):
            kept = min(minutes, customer.left(new))
            entry.add(kept, new)
        again.append((case, entry, minutes - kept))
    for case, entry, minutes in again:
        charging.charge(customer, case, entry, minutes)


def _is_undone(binding: Binding, moves: dict[Year, Year | None]) -> bool:
    return isinstance(binding, Year) and binding in moves and moves[binding] is None


def _lift(
    customer: Customer, moves: dict[Year, Year | None], undone: set[Case]
) -> list[tuple[Case, Entry, int, Hours | None]]:
    """Take away the moved charges, and the overrun of cases whose year is undone, oldest first."""
    lifted = []
    for case, entry in customer.work():
        stay = []
        for share in entry.shares:
            moved = isinstance(share.payer, Year) and share.payer in moves
            if moved or (share.payer is None and case in undone):
                lifted.append((case, entry, share.minutes, share.payer))
            else:
                stay.append(share)
        entry.shares = stay
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
