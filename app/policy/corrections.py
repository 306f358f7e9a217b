"""What correcting a licence does to its service years and to the cases bound to them (R40).

Pure: `app.store.corrections` writes what these functions say.
"""

from collections.abc import Mapping
from datetime import date

from app.policy.allocate import HOURS, Source, bind
from app.policy.document import Channel, Policies
from app.policy.facts import Facts, Licence, ServiceYear
from app.policy.standing import service_year, stand
from app.policy.years import anchors, begins, covers, period

Moves = Mapping[date, ServiceYear | None]
"""Recorded service years by first day, and what each becomes: None if it is undone."""


def moved_years(policies: Policies, before: Facts, after: Facts, licence_id: str) -> Moves:
    """Which recorded service years a changed licence moves or undoes.

    Each anniversary moves to the like one of the corrected day. A year is undone when the licence
    no longer anchors it: it is no Editor's, or was withdrawn as of the day of the purchase (R14).
    """
    moves: dict[date, ServiceYear | None] = {}
    days = _moved_anchors(policies, before, after, licence_id)
    for starts_on in before.service_years:
        anchor = _anchor_of(policies, before, starts_on)
        if anchor is None or anchor not in days:
            continue
        day = days[anchor]
        # Another Editor may begin a year on the same day: the two are one (R14).
        stays = begins(policies, after, starts_on)
        if day is None:
            if not stays:
                moves[starts_on] = None
            continue
        year = _like(policies, anchor, starts_on, day)
        if year.starts_on != starts_on and (not stays or begins(policies, after, year.starts_on)):
            moves[starts_on] = year
    return moves


def _moved_anchors(
    policies: Policies, before: Facts, after: Facts, licence_id: str
) -> dict[date, date | None]:
    """The anchoring days that a licence had, and what became of those that changed."""
    old, new = (_licence(facts, licence_id) for facts in (before, after))
    remaining = set(anchors(policies, new))
    changed: dict[date, date | None] = {}
    for day in anchors(policies, old):
        moved = new.purchased_on if day == old.purchased_on else day
        if moved != day or moved not in remaining:
            changed[day] = moved if moved in remaining else None
    return changed


def _licence(facts: Facts, licence_id: str) -> Licence:
    return next(licence for licence in facts.licences if licence.id == licence_id)


def _anchor_of(policies: Policies, facts: Facts, starts_on: date) -> date | None:
    """The purchase from which a recorded year was counted.

    The latest of those from which it can be counted. One in between that was registered late, or
    was withdrawn since, did not begin it.
    """
    found = [
        (licence.held(starts_on), day)
        for licence in facts.licences
        for day in anchors(policies, licence)
        if day <= starts_on and period(policies, day, starts_on)[0] == starts_on
    ]
    return max(found)[1] if found else None


def _like(policies: Policies, anchor: date, starts_on: date, day: date) -> ServiceYear:
    """The year that comes as many anniversaries after `day` as `starts_on` after `anchor`."""
    nth = 0
    first, end = period(policies, anchor, anchor)
    while first != starts_on:
        nth += 1
        first, end = period(policies, anchor, end)
    first, end = period(policies, day, day)
    for _ in range(nth):
        first, end = period(policies, day, end)
    return ServiceYear(first, end, policies.in_force(first).allowances.free_hours.minutes)


def rebound(
    policies: Policies,
    facts: Facts,
    moves: Moves,
    year: date,
    channel: Channel,
    opened_on: date,
) -> Source | None:
    """What pays for a case that was bound to a moved or undone year.

    It stays bound to a year that moved, unless that no longer covers the day of its opening and
    another one pays for new cases on that day. Where the year is undone, R18 binds it as of that
    day, never to a ticket. `facts` are the corrected ones, with nothing charged to those years.
    """
    target = moves[year]
    if target is None:
        return bind(stand(policies, facts, opened_on), channel, HOURS)
    if not covers(policies, facts, target.starts_on, opened_on):
        then = service_year(policies, facts, opened_on)
        if then is not None:
            return Source("free_hours", starts_on=then.starts_on)
    return Source("free_hours", starts_on=target.starts_on)
