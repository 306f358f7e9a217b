"""Service years of free hours: when each begins and ends, and which one a date lies in (R14).

A year is known by its first day. Its minutes and its length follow from the policy in force on
that day (R17), its last day from the purchase that anchors it: anniversaries are always counted
from there.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import lru_cache

from app.policy.civil import add_months
from app.policy.document import Policies
from app.policy.facts import Facts, Licence, ServiceYear


def anchors(policies: Policies, licence: Licence) -> Sequence[date]:
    """The days on which a licence starts a new service year: its purchase and paid upgrades (R14).

    Of a licence that is no Editor they count where the policy in force on that day says so. A
    withdrawal on the same day or before takes the day away: then nothing was bought. A transfer is
    not a purchase (R44).
    """
    # This runs several times for every answer, and few licences get past these two tests.
    if licence.kind != "editor" and not policies.anchor_by_any:
        return ()
    withdrawn_on, purchases = licence.withdrawn_on, licence.purchases
    if licence.kind == "editor" and withdrawn_on is None:
        return purchases
    return [
        bought
        for bought in purchases
        if (withdrawn_on is None or bought < withdrawn_on)
        and (licence.kind == "editor" or policies.in_force(bought).anchored_by_any)
    ]


def latest_anchor(policies: Policies, licences: Iterable[Licence], on: date) -> date | None:
    """The latest anchoring purchase on or before a date, of licences held on it."""
    latest: date | None = None
    for licence in licences:
        if licence.held(on):
            for bought in anchors(policies, licence):
                if bought <= on and (latest is None or bought > latest):
                    latest = bought
    return latest


@lru_cache(maxsize=4096)
def period(policies: Policies, anchor: date, on: date) -> tuple[date, date]:
    """First day and end of the year, counted from an anchoring purchase, in which a date lies."""
    months = policies.year_months
    if months is not None:
        behind = (on.year - anchor.year) * 12 + on.month - anchor.month
        passed = behind - behind % months
        starts_on = add_months(anchor, passed)
        if starts_on > on:
            passed -= months
            starts_on = add_months(anchor, passed)
        return starts_on, _end(anchor, passed + months)
    # Versions of the policy differ in the length of a year (R17).
    starts_on, passed = anchor, 0
    while True:
        passed += policies.in_force(starts_on).allowances.free_hours.months
        ends_on = _end(anchor, passed)
        if on < ends_on or ends_on == date.max:
            return starts_on, ends_on
        starts_on = ends_on


def _end(anchor: date, months: int) -> date:
    try:
        return add_months(anchor, months)
    except ValueError:  # past the last day that a date can be
        return date.max


def periods(
    policies: Policies, anchor: date, first: date, until: date
) -> Iterator[tuple[date, date]]:
    """The years, counted from one purchase, from that in which `first` lies to before `until`."""
    starts_on, ends_on = period(policies, anchor, max(first, anchor))
    while starts_on < until:
        yield starts_on, ends_on
        if ends_on == date.max:
            return
        starts_on, ends_on = period(policies, anchor, ends_on)


def year_of(policies: Policies, facts: Facts, anchor: date, on: date) -> ServiceYear:
    """The year, counted from an anchoring purchase, in which a date lies, as it stands."""
    starts_on, ends_on = period(policies, anchor, on)
    recorded = facts.service_years.get(starts_on)
    if recorded is None:
        minutes = policies.in_force(starts_on).allowances.free_hours.minutes
        return ServiceYear(starts_on, ends_on, minutes)
    return recorded if recorded.ends_on == ends_on else recorded._replace(ends_on=ends_on)


def running_year(policies: Policies, facts: Facts, on: date) -> ServiceYear | None:
    """The year in which a date lies, whether it pays for new cases then or sleeps (R14)."""
    anchor = latest_anchor(policies, facts.licences, on)
    return None if anchor is None else year_of(policies, facts, anchor, on)


def year_from(policies: Policies, facts: Facts, starts_on: date) -> ServiceYear:
    """The year that begins on a day, or would if an Editor were bought on it."""
    running = running_year(policies, facts, starts_on)
    if running is not None and running.starts_on == starts_on:
        return running
    # Recorded before a purchase was registered late or withdrawn: it keeps its end.
    recorded = facts.service_years.get(starts_on)
    return recorded or year_of(policies, facts, starts_on, starts_on)


def begins(policies: Policies, facts: Facts, day: date) -> bool:
    """Whether some purchase, or an anniversary of the latest, begins a year on a day."""
    anchor = latest_anchor(policies, facts.licences, day)
    return anchor is not None and period(policies, anchor, day)[0] == day


def covers(policies: Policies, facts: Facts, starts_on: date, day: date) -> bool:
    """Whether a case bound to the year that begins on `starts_on` draws on it on a day (R14, R20).

    It does on every day of the year, whether an Editor is held or DEV stands then, until the next
    Editor is bought after the purchase that anchors the year. While that Editor is withdrawn, the
    older year goes on.
    """
    latest = latest_anchor(policies, facts.licences, day)
    for licence in facts.licences:
        for anchor in anchors(policies, licence):
            if anchor <= starts_on and (latest is None or latest <= anchor):
                first, end = period(policies, anchor, starts_on)
                if first == starts_on and first <= day < end:
                    return True
    return False
