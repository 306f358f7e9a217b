"""R14: the service years of the free hours."""

from dataclasses import dataclass
from datetime import date

from . import columns
from .facts import Customer, Licence, Upgrade, Year
from .policy import TERM_MONTHS, add_months


@dataclass(frozen=True)
class Anchor:
    """An Editor purchase: a licence of kind `editor` or a paid upgrade of one.

    `upgrade` tells which; an anchor keeps its identity when a correction moves its day.
    """

    licence: Licence
    upgrade: Upgrade | None
    day: date

    def anniversary(self, number: int) -> date:
        """The first day of a year, always counted from the day of purchase."""
        return add_months(self.day, TERM_MONTHS * number)

    def number(self, start: date) -> int | None:
        """Which of its years begins on a day; None if none does."""
        number = start.year - self.day.year
        return number if number >= 0 and self.anniversary(number) == start else None

    def latest(self, day: date) -> int:
        """Which of its years a day lies in, for a day not before it."""
        number = day.year - self.day.year
        return number if self.anniversary(number) <= day else number - 1


def anchors(customer: Customer) -> list[Anchor]:
    """Every Editor purchase held on its day: not of licences got by a transfer (R44), and not those
    withdrawn as of that day, which never were.
    """
    found = []
    for licence in customer.licences:
        if licence.kind == "editor":
            found.append(Anchor(licence, None, licence.purchase.day))
            paid = (each for each in licence.upgrades() if each.contract is None)
            found += [Anchor(licence, each, each.day) for each in paid]
    return [each for each in found if each.licence.held_on(each.day)]


def anchor_on(customer: Customer, day: date) -> Anchor | None:
    """The latest Editor purchase held on a day."""
    held = [each for each in anchors(customer) if each.day <= day and each.licence.held_on(day)]
    return max(held, key=lambda each: each.day, default=None)


def year_asleep(customer: Customer, day: date) -> Year | None:
    """The year that stands on a day, or would if DEV did."""
    anchor = anchor_on(customer, day)
    return Year(anchor.anniversary(anchor.latest(day))) if anchor else None


def year_on(customer: Customer, day: date) -> Year | None:
    """The year that pays new cases and the rest of others on a day: only while DEV stands."""
    return year_asleep(customer, day) if columns.dev(customer, day) else None


def generators(customer: Customer, year: Year) -> list[tuple[Anchor, int]]:
    """The Editor purchases of which a year is one, with its number in each."""
    numbered = [(each, each.number(year.start)) for each in anchors(customer)]
    return [(each, number) for each, number in numbered if number is not None]


def owners(customer: Customer, year: Year) -> list[Anchor]:
    """The Editor purchases whose year it really is, the latest first.

    An older purchase has no anniversaries while a later Editor is held, and none once its licence
    was passed on or withdrawn; but one that is bought on the anniversary shares the year. Facts
    recorded since may leave no such purchase: then every one counts of which it would be a year.
    """
    possible = [anchor for anchor, _ in generators(customer, year)]
    held = [each for each in anchors(customer) if each.licence.held_on(year.start)]
    real = [
        each
        for each in possible
        if each.licence.held_on(year.start)
        and not any(each.day < later.day < year.start for later in held)
    ]
    return sorted(real or possible, key=lambda each: each.day, reverse=True)


def ends_on(customer: Customer, year: Year) -> date | None:
    """A year's anniversary, by the latest Editor purchase of which it is a year."""
    latest = max(generators(customer, year), key=lambda pair: pair[0].day, default=None)
    return latest[0].anniversary(latest[1] + 1) if latest else None


def covers(customer: Customer, year: Year, day: date) -> bool:
    """Whether a case bound to a year draws on it on a day (R14, R20).

    It does on every day of the twelve months, DEV or not, Editor or not, until the next Editor is
    bought; while that one is withdrawn again, the older year goes on.
    """
    every = anchors(customer)
    for anchor, number in generators(customer, year):
        inside = year.start <= day < anchor.anniversary(number + 1)
        ended = any(anchor.day < each.day <= day and each.licence.held_on(day) for each in every)
        if inside and not ended:
            return True
    return False
