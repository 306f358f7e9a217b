"""How each allowance of a customer goes down over time, and when it will run out."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from app.errors import invalid
from app.policy.document import Policies
from app.policy.usage import Allowance
from app.services.unit_of_work import UnitOfWork
from app.services.usage import MOST_MOVEMENTS, Balance, allowances_at
from app.services.usage_reports import buckets_of
from app.services.visibility import find
from app.store import usage
from app.store.facts import Known, computed
from app.store.tables import customers
from app.store.usage import Opening
from app.store.usage_reports import Window

MOST_POINTS = 1_100
"""The buckets of one question: three years by day."""
PACE_DAYS = 90
_DAY = timedelta(days=1)


class Point(NamedTuple):
    """An allowance at the end of the bucket [bucket_start, bucket_end)."""

    bucket_start: date
    bucket_end: date
    allowance: Allowance
    """As the statement up to `bucket_end` shows it."""


class Line(NamedTuple):
    """The balances of one allowance."""

    allowance: Allowance
    """As it stands today."""
    points: list[Point]
    runs_out_on: date | None
    """The day on which nothing will be left if it goes on like in the last 90 days (or since it
    began); None if that is not before it ends, or if it pays for nothing today."""


class Series(NamedTuple):
    customer: Known
    start: date
    end: date
    lines: list[Line]


async def of_customer(
    work: UnitOfWork, customer: str, start: date, end: date, window: Window
) -> Series:
    """The balance of each allowance at the end of each bucket of the civil dates [start, end).

    Buckets end today at the latest: what lies in the future has not happened. Raises NotFound, and
    InvalidInput for too many buckets or movements.
    """
    last = min(end, work.today + _DAY)
    firsts = list(buckets_of(start, last, window, MOST_POINTS))
    row = await find(work, customers, customer)
    since = min(start, work.today - PACE_DAYS * _DAY)
    known, entries = await usage.statement(
        work.connection, row.id, since, max(last, work.today + _DAY), MOST_MOVEMENTS + 1
    )
    characters = (len(known.document) + len(entries)) * (1 + len(firsts) // 10)
    ends = [*firsts[1:], last]
    spans = list(zip(firsts, ends, strict=True)) if firsts else []
    lines = await computed(characters, _lines, work.policies, known, entries, spans, work.today)
    return Series(known, start, end, lines)


def _lines(
    policies: Policies, known: Known, entries: str, spans: Sequence[tuple[date, date]], today: date
) -> list[Line]:
    openings, movements = usage.read_entries(entries)
    if len(movements) > MOST_MOVEMENTS:
        raise invalid("query/from", "too_many", limit=MOST_MOVEMENTS)
    asked = set(spans)
    facts = known.facts()
    balances = {one.allowance: Balance.of(one) for one in openings}
    points: dict[str, list[Point]] = {}
    now: dict[str, Allowance] = {}
    waiting = iter(movements)
    following = next(waiting, None)
    tomorrow = today + _DAY
    for start, end in sorted({*spans, (today, tomorrow)}, key=lambda span: span[1]):
        while following is not None and following.counts_on < end:
            before = balances.get(following.allowance, _NOTHING)
            balances[following.allowance] = before.after(following)
            following = next(waiting, None)
        then = [Opening(key, *balance) for key, balance in balances.items()]
        for one in allowances_at(policies, facts, then, end - _DAY):
            if (start, end) in asked:
                points.setdefault(one.key, []).append(Point(start, end, one))
            if end == tomorrow:
                now[one.key] = one
    recent = Counter[str | None]()
    for movement in movements:
        if today - PACE_DAYS * _DAY < movement.counts_on <= today:
            recent[movement.allowance] += movement.used_minutes + movement.held + movement.consumed
    return [
        Line(now.get(key, found[-1].allowance), found, _runs_out(now.get(key), recent[key], today))
        for key, found in points.items()
    ]


_NOTHING = Balance(0, 0, 0, 0, 0)


def _runs_out(allowance: Allowance | None, used: int, today: date) -> date | None:
    """The first day on which nothing will be left at this pace: so much `used` in the last days."""
    if allowance is None or allowance.state != "in_force":
        return None
    if not allowance.left:
        return today
    if used <= 0:
        return None
    days = min(PACE_DAYS, (today - allowance.starts_on).days + 1)
    lasts = -(-allowance.left * days // used)
    if lasts >= (allowance.ends_on - today).days:
        return None
    return today + lasts * _DAY
