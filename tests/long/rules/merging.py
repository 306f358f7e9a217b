"""R49: two records of one customer become one."""

from . import charging
from .facts import Case, Customer, Entry, Licence, Refused, Year


def merge(gone: Customer, kept: Customer) -> None:
    """Give a customer all that another record of it has; the other one is nobody's any more.

    Years that begin on one day are one year and its minutes are granted once (R14). The clauses do
    not say whose charges keep their place: here, as where R40 moves a year onto another one, the
    charges of the record that is gone keep theirs while minutes are left, those worked first before
    the others, which are charged again by R20 and R21.
    """
    if gone is kept:
        raise Refused("same_customer", "customer_merged")
    moved = gone.work()
    left = {year: kept.left(year) for year in _years_of(gone) & _years_of(kept)}
    kept.created = min(gone.created, kept.created)
    for licence in gone.licences:
        _join(kept, gone, licence)
    for name in ("contracts", "packs", "cases", "undone"):
        getattr(kept, name).extend(getattr(gone, name))
    for name in ("contracts", "packs", "cases"):
        getattr(kept, name).sort(key=lambda each: each.order)
    for case, entry, minutes in _lift(moved, left):
        charging.charge(kept, case, entry, minutes)


def _years_of(customer: Customer) -> set[Year]:
    """The years on which something lies."""
    payers = {share.payer for _, entry in customer.work() for share in entry.shares}
    return {each for each in payers if isinstance(each, Year)}


def _join(kept: Customer, gone: Customer, licence: Licence) -> None:
    """A licence that passed from the one record to the other has always been the customer's."""
    for known in kept.licences:
        if known.purchase is licence.purchase:
            for made in known.purchase.upgrades:
                made.passed_on |= made.licence in (known, licence) and made.licence.transferred
            if licence.last.start > known.last.start:
                known.sent = licence.sent
            known.bought = known.bought or licence.bought
            known.holdings = sorted(
                known.holdings + licence.holdings, key=lambda each: (each.start, each.end is None)
            )
            for made in known.purchase.upgrades:
                if made.licence is licence:
                    made.licence = known
            for undone in gone.undone:
                if undone.licence is licence:
                    undone.licence = known
            return
    kept.licences.append(licence)


def _lift(moved: list[tuple[Case, Entry]], left: dict[Year, int]) -> list[tuple[Case, Entry, int]]:
    """Take away the charges for which the years that become one have no minutes left."""
    lifted: list[tuple[Case, Entry, int]] = []
    for case, entry in moved:
        for share in entry.shares:
            if isinstance(share.payer, Year) and share.payer in left:
                rest = max(0, share.minutes - left[share.payer])
                share.minutes -= rest
                left[share.payer] -= share.minutes
                if rest:
                    lifted.append((case, entry, rest))
        entry.shares = [each for each in entry.shares if each.minutes]
    return lifted
