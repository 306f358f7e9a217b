"""From when until when each service year runs, and pays for new cases (R14)."""

from collections.abc import Iterable
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from app.policy.civil import add_months
from app.policy.document import Policies
from app.policy.facts import Facts, Licence, ServiceYear
from app.policy.standing import counting, possession
from app.policy.years import anchors, periods, year_of


class YearSpan(NamedTuple):
    """A service year that pays for new cases on some day, as things are known now."""

    year: ServiceYear
    pays_from: date
    """The first day on which it pays for new cases."""
    pays_until: date
    """The day after the last one: DEV may end before the year does."""
    runs_until: date
    """The first day on which what is left of it can no longer be used: its anniversary, the day of
    the next Editor, or that on which the last Editor was withdrawn."""
    followed_by: date | None
    """The first day of the year that pays from `pays_until` on."""


def year_spans(policies: Policies, facts: Facts) -> dict[date, YearSpan]:
    """Every service year that pays for new cases on some day, future ones included, by first day.

    Time alone changes nothing in it.
    """
    days = _changing_days(policies, facts.licences)
    paying: dict[date, tuple[date, date]] = {}
    running: dict[date, tuple[ServiceYear, date]] = {}
    pays: dict[date, date] = {}
    for day, until in pairwise([*days, date.max]):
        held = possession(policies, facts.licences, day)
        if held.anchor is None:
            continue
        year = year_of(policies, facts, held.anchor, day)
        starts_on = year.starts_on
        running[starts_on] = year, until
        if held.develops:
            pays_from = paying.get(starts_on, (day,))[0]
            paying[starts_on] = pays_from, until
            pays[day] = starts_on
    return {
        starts_on: YearSpan(
            running[starts_on][0],
            pays_from,
            pays_until,
            running[starts_on][1],
            pays.get(pays_until),
        )
        for starts_on, (pays_from, pays_until) in paying.items()
    }


def _changing_days(policies: Policies, licences: Iterable[Licence]) -> list[date]:
    """The days on which a service year may begin or end, or DEV, in order."""
    days: set[date] = set()
    lapses = date.min
    anchoring: set[date] = set()
    for licence in licences:
        if licence.withdrawn_on is not None:
            days.add(licence.withdrawn_on)
        if licence.held_from is not None:
            days.add(licence.held_from)
            for period in licence.earlier:
                days.update(period)
        for bought in counting(policies, licence):
            ends_on = add_months(bought, policies.in_force(bought).development.months)
            days |= {bought, ends_on}
            lapses = max(lapses, ends_on)
        anchoring.update(anchors(policies, licence))
    for anchor in anchoring:
        for starts_on, ends_on in periods(policies, anchor, anchor, lapses):
            days |= {starts_on, ends_on}
    return sorted(days)
