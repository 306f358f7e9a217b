"""When an allowance is announced: before it ends, as it is used up, and when overrun begins (R41).

A notice has a kind, `ending` or `used`, and a level of the policy document in force: days before
the end, or per cent used. What R41 leaves open is decided here:

- *An episode* is counted for each allowance. It ends with `recovered`: when the share falls under
  the lowest share announced in it. It also ends, without a word, when the end moves so far away
  that the last announced number of days no longer stands: a correction of the contract, a purchase
  that keeps DEV, a ticket that got days back. A level is announced once in each episode; one that
  still stands when an episode ends is not announced again.
- *Several levels at once*: the highest share, or the fewest days, is announced; the others count as
  passed. A level that was added to the policy document is announced where it stands.
- *A successor* silences `ending` alone. If it goes, the level that stands then is announced, unless
  it was before.
- *Ended*: nothing is announced as used or ending from the day on which an allowance has ended, or
  before its first day. A contract ends on the day of its cancellation. A pack is announced as
  ending while one of its tickets is neither consumed nor cancelled (R19).
- *Free hours* end on the day on which they stop paying for new cases. A year that sleeps (R14) is
  announced as used, not as ending.
- *Exhausted* is told with the share of 100 per cent, whether the document has that level or not,
  once in each episode.
- *Overrun* is told each time that it begins, after the end as well: it may be recorded late.
- *First look*: of a customer that was there before notices were kept, what stands is recorded and
  not announced, so that an upgrade does not announce every allowance at once. Of a new customer it
  is announced: the highest level alone, and nothing of what has ended.
"""

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Literal, NamedTuple

from app.policy.allowance_standings import AllowanceStanding
from app.policy.document import Policy
from app.policy.usage import AllowanceKind

NoticeKind = Literal["ending", "used"]
NoticeType = Literal[
    "allowance.notice", "allowance.exhausted", "allowance.overrun", "allowance.recovered"
]
_ALL = 100


class Announced(NamedTuple):
    """What was announced of an allowance, and what has to be known to announce what comes."""

    episode: int = 1
    ending: tuple[int, ...] = ()
    """Levels that were announced, in days."""
    used: tuple[int, ...] = ()
    """Levels that were announced in this episode, in per cent."""
    exhausted: bool = False
    overrun: bool = False
    days: int | None = None
    """The last level in days that was passed, announced or not."""
    percent: int = 0
    """The highest level in per cent that was passed, announced or not."""


class Notice(NamedTuple):
    """One event of an allowance. `kind` and `level` are those of `allowance.notice`."""

    type: NoticeType
    episode: int
    kind: NoticeKind | None = None
    level: int | None = None
    on: date | None = None
    """The day at whose start time alone reached the level of `ending`."""


def ending_levels(policy: Policy, kind: AllowanceKind) -> Sequence[int]:
    """Days before the end, the most first."""
    days = policy.notices.days_before_end
    match kind:
        case "free_hours":
            return days.free_hours
        case "contract":
            return days.contract
        case "ticket_pack":
            return days.ticket


def announce(
    policy: Policy, one: AllowanceStanding, before: Announced, on: date
) -> tuple[list[Notice], Announced]:
    """What is announced of an allowance on a date, and what is known afterwards."""
    told: list[Notice] = []
    after = before
    if _has_begun(one, on) and on < one.ends_on:
        after = _used(policy, one, after, told)
    if _may_end(one, on):
        after = _ending(policy, one, after, on, told)
    if one.overrun and not before.overrun:
        told.append(Notice("allowance.overrun", after.episode))
    return told, after._replace(overrun=one.overrun > 0)


def silently(before: Announced, after: Announced) -> Announced:
    """What is known after a look whose notices are not sent."""
    return after._replace(ending=before.ending, used=before.used, exhausted=before.exhausted)


def next_look(policy: Policy, one: AllowanceStanding, on: date) -> date | None:
    """The next day on which time alone may announce an allowance."""
    if on < one.starts_on:
        return one.starts_on
    if not _may_end(one, on) or one.renewed_by is not None:
        return None
    days = (one.stops_on - timedelta(level) for level in ending_levels(policy, one.kind))
    return min((day for day in days if day > on), default=None)


def moved_years(gone: Collection[date], new: Collection[date]) -> dict[date, date]:
    """Which service year became which when purchases were corrected (R40): new and old first day.

    What was announced of a year that moved is not announced anew.
    """
    rest = set(gone)
    found = {}
    for day in sorted(new):
        if rest:
            found[day] = min(rest, key=lambda one: (abs(one - day), one))
            rest.remove(found[day])
    return found


def _has_begun(one: AllowanceStanding, on: date) -> bool:
    return one.begun and one.starts_on <= on


def _may_end(one: AllowanceStanding, on: date) -> bool:
    has_any = one.kind != "ticket_pack" or bool(one.held or one.ends)
    return has_any and _has_begun(one, on) and on < one.stops_on


def _used(
    policy: Policy, one: AllowanceStanding, known: Announced, told: list[Notice]
) -> Announced:
    share = one.used_percent
    if share is None:
        return known
    announced = (*known.used, _ALL) if known.exhausted else known.used
    if announced and share < min(announced):
        told.append(Notice("allowance.recovered", known.episode))
        known = known._replace(episode=known.episode + 1, used=(), exhausted=False)
    levels = policy.notices.used_percent
    if new := [level for level in levels if known.percent < level <= share]:
        told.append(Notice("allowance.notice", known.episode, "used", max(new)))
        known = known._replace(used=(*known.used, max(new)))
    if known.percent < _ALL <= share:
        told.append(Notice("allowance.exhausted", known.episode))
        known = known._replace(exhausted=True)
    reached = max((level for level in (*levels, _ALL) if level <= share), default=0)
    # What was passed in an episode is passed until it ends.
    if known.used or known.exhausted:
        reached = max(reached, known.percent)
    return known._replace(percent=reached)


def _ending(
    policy: Policy, one: AllowanceStanding, known: Announced, on: date, told: list[Notice]
) -> Announced:
    left = (one.stops_on - on).days
    standing = [level for level in ending_levels(policy, one.kind) if left <= level]
    if known.days is not None and known.days < left:
        known = known._replace(
            episode=known.episode + 1,
            ending=tuple(level for level in known.ending if left <= level),
            days=min(standing, default=None),
        )
    if one.renewed_by is not None:
        return known
    new = [level for level in standing if known.days is None or level < known.days]
    if not new:
        return known
    level = min(new)
    told.append(
        Notice("allowance.notice", known.episode, "ending", level, one.stops_on - timedelta(level))
    )
    return known._replace(ending=(*known.ending, level), days=level)
