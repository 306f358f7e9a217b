"""Usage of all customers by time and dimension: whose figures, of which days, and page by page."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from app.errors import NotFound, invalid
from app.policy.civil import add_months, civil_date
from app.policy.document import Policies
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find
from app.store import feed
from app.store import usage_reports as store
from app.store.database import Connection, Database
from app.store.facts import computed
from app.store.reconcile import Difference
from app.store.tables import customers
from app.store.usage_reports import (
    DIMENSIONS,
    MEASURES,
    Asked,
    Desks,
    Dimension,
    Place,
    Rules,
    Window,
)

MOST_BUCKETS = 4_000
"""The buckets of one question: ten years by day."""
MOST_SUMS = 100_000
"""The sums of one question: buckets times the values that occur in them."""
MOST_BY_CUSTOMER = 1_000
"""The rows of a page by customer."""
_STEPS = 20
"""So many statements look for the rows of a page by customer; then it may end early."""
_CHARACTERS_OF_A_ROW = 400
_DAY = timedelta(days=1)
# The id of nobody.
_NOBODY = UUID(int=0)


class Question(NamedTuple):
    """Civil days [start, end) by `window` and `group_by`, of what the filters name.

    The filter by customer is an id or code.
    """

    start: date
    end: date
    window: Window
    group_by: Sequence[Dimension]
    filters: Mapping[Dimension, str]


class Row(NamedTuple):
    """Figures of the civil days [bucket_start, bucket_end) and one value of each dimension."""

    bucket_start: date
    bucket_end: date
    values: tuple[Any, ...]
    """In the order of `DIMENSIONS`. Null where a measure lacks the dimension (R26)."""
    measures: Sequence[int]
    """In the order of `MEASURES`."""


class Report(NamedTuple):
    """A page of rows, and the totals over all pages."""

    question: Question
    dimensions: tuple[Dimension, ...]
    rows: list[Row]
    totals: Sequence[int]
    names: dict[UUID, tuple[str, str]]
    """Code and name of each customer in the rows."""
    next: Place | None
    """After which row the next page begins."""

    @property
    def characters(self) -> int:
        """About the size of the answer, for `computed`."""
        return _CHARACTERS_OF_A_ROW * len(self.rows)


def rules_of(policies: Policies, today: date) -> Rules:
    """What decides on which day a figure counts, and for which help desk (R35)."""
    policy = policies.in_force(today)
    of_country = {country: desk.id for desk in policy.help_desks for country in desk.countries}
    # The countries of others are those of no desk.
    desks = Desks([one.id for one in policy.help_desks], of_country, policy.desk_for("", None).id)
    return Rules(str(policies.zone), desks)


class Seen(NamedTuple):
    """What the figures of all customers depend on, read before them."""

    marks: tuple[Any, ...]
    """Equal as long as nothing has happened that could change them."""
    as_of: datetime | None
    """Up to when allowances were followed; None while those of all customers are looked at."""


async def seen(work: UnitOfWork) -> Seen:
    """What is there to be summed, for an unbound token, in one small statement."""
    news = await store.news(work.connection, work.now)
    as_of = None if news.walking else min(work.now, news.behind_since or work.now)
    return Seen((*news.marks, work.today, work.policies.fingerprint), as_of)


async def report(work: UnitOfWork, question: Question, limit: int, after: Place | None) -> Report:
    """The rows after a place, at most so many, by bucket, then by dimension, null last.

    Without a dimension, and for every value that occurs in the period, each bucket has a row; by
    customer only where there is something. A bound token's figures are its customer's (R38).
    Raises InvalidInput for more buckets or sums than there may be.
    """
    dimensions = tuple(one for one in DIMENSIONS if one in question.group_by)
    starts = list(buckets_of(question.start, question.end, question.window))
    asked = await asked_of(work, question, dimensions)
    if dimensions[:1] == ("customer",) and "customer" not in asked.filters:
        totals = (await _sums(work, asked._replace(window="all", group_by=())))[:1]
        limit = min(limit, MOST_BY_CUSTOMER)
        found, following = await _by_customer(work, asked, starts, limit, after)
        ends = dict(zip(starts, [*starts[1:], question.end], strict=True))
        rows = [Row(one.bucket, ends[one.bucket], one.values, one.measures) for one in found]
        total: Sequence[int] = totals[0].measures if totals else _ZEROS
    else:
        sums = await _sums(work, asked)
        size = 8 * len(MEASURES) * len(sums)
        rows, following, total = await computed(
            size, _filled, question.end, dimensions, starts, sums, limit, after
        )
    named: dict[UUID, tuple[str, str]] = {}
    if "customer" in dimensions:
        named = await store.names(work.connection, list({row.values[0] for row in rows}))
    return Report(question, dimensions, rows, total, named, following)


async def whole(work: UnitOfWork, question: Question, most: int, after: Place | None) -> Report:
    """All rows after a place, as `report`. Raises InvalidInput for more than `most`."""
    found = await report(work, question, most, after)
    while found.next is not None:
        if len(found.rows) >= most:
            raise invalid("query/limit", "too_many", limit=most)
        more = await report(work, question, most - len(found.rows), found.next)
        found = more._replace(rows=found.rows + more.rows, names=found.names | more.names)
    return found


_ZEROS = (0,) * len(MEASURES)


def buckets_of(start: date, end: date, window: Window, most: int = MOST_BUCKETS) -> Iterator[date]:
    """The first day of each bucket of [start, end). Raises InvalidInput for more than `most`."""
    step = _STEP[window]
    day, number = start, 0
    while day < end:
        number += 1
        if number > most:
            raise invalid("query/window", "too_many", limit=most)
        yield day
        if step is None:
            return
        day = step(day)


def _first_after(months: int) -> Callable[[date], date]:
    """The first day of the next period of so many months."""

    def step(day: date) -> date:
        return add_months(date(day.year, (day.month - 1) // months * months + 1, 1), months)

    return step


_STEP: dict[Window, Callable[[date], date] | None] = {
    "day": lambda day: day + _DAY,
    # ISO weeks begin on Monday.
    "week": lambda day: day + timedelta(days=7 - day.weekday()),
    "month": _first_after(1),
    "quarter": _first_after(3),
    "year": _first_after(12),
    "all": None,
}


async def asked_of(
    work: UnitOfWork, question: Question, dimensions: tuple[Dimension, ...]
) -> Asked:
    """What is summed: of the customer that is named, or a bound token's own."""
    filters: dict[Dimension, Any] = dict(question.filters)
    own = work.caller.customer_id
    named = filters.pop("customer", None)
    if named is not None:
        try:
            filters["customer"] = (await find(work, customers, named)).id
        except NotFound:
            # As for a customer without anything: nobody learns whether another one exists (R38).
            filters["customer"] = _NOBODY
    elif own is not None:
        filters["customer"] = own
    return Asked(
        question.start,
        question.end,
        question.window,
        dimensions,
        filters,
        work.today,
        rules_of(work.policies, work.today),
    )


async def _sums(work: UnitOfWork, asked: Asked) -> list[store.Sums]:
    found = await store.sums(work.connection, asked, MOST_SUMS + 1)
    if len(found) > MOST_SUMS:
        raise invalid("query/group_by", "too_many", limit=MOST_SUMS)
    return found


def order_of(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """By what rows are sorted within a bucket: null last."""
    return tuple((value is None, "" if value is None else str(value)) for value in values)


def _filled(
    end: date,
    dimensions: tuple[Dimension, ...],
    buckets: list[date],
    sums: Sequence[store.Sums],
    limit: int,
    after: Place | None,
) -> tuple[list[Row], Place | None, Sequence[int]]:
    """A page of the rows of all sums, the place of the next one, and the totals."""
    totals = [sum(column) for column in zip(*(one.measures for one in sums), strict=True)]
    cells: dict[date, dict[tuple[Any, ...], Sequence[int]]] = {start: {} for start in buckets}
    for bucket, values, measures in sums:
        cells[bucket][values] = measures
    occurring = {one.values for one in sums} if dimensions else {()}
    ordered = sorted(occurring, key=order_of)
    first = 0 if after is None else bisect_right(buckets, after.bucket) - 1
    begin = None if after is None else after.bucket
    done = () if after is None else order_of((after.first, after.second)[: len(dimensions)])
    # Of one customer: only where there is something.
    sparse = "customer" in dimensions
    rows = (
        Row(start, until, values, cells[start].get(values, _ZEROS))
        for start, until in zip(buckets[first:], [*buckets[first + 1 :], end], strict=True)
        for values in ordered
        if not (sparse and values not in cells[start])
        and not (start == begin and order_of(values) <= done)
    )
    page, following = _cut(list(islice(rows, limit + 1)), limit, dimensions)
    return page, following, totals or _ZEROS


def _cut(
    rows: list[Any], limit: int, dimensions: tuple[Dimension, ...]
) -> tuple[list[Any], Place | None]:
    """The rows of a page, and the place after them if there were more."""
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    bucket, *_ = last = rows[-1]
    texts = [value if value is None else str(value) for value in last.values]
    first, second = [*texts, None, None][:2]
    return rows, Place(bucket, first, second, len(dimensions) == 1)


async def _by_customer(
    work: UnitOfWork, asked: Asked, buckets: list[date], limit: int, after: Place | None
) -> tuple[list[store.Sums], Place | None]:
    """A page of the rows by customer, and the place of the next one, which may end early.

    Nothing is sorted but the figures of a page, or `store.MOST_FIGURES` at most: where a bucket
    has more, customers are looked at one after another.
    """
    connection = work.connection
    place = after or Place(buckets[0])
    rows: list[store.Sums] = []
    for _ in range(_STEPS):
        room = limit + 1 - len(rows)
        index = bisect_right(buckets, place.bucket) - 1
        rest = asked._replace(start=place.bucket)
        one = rest._replace(end=buckets[index + 1]) if index + 1 < len(buckets) else rest
        if await store.are_few(connection, rest):
            rows += await store.page(connection, rest, place, room, walk=False)
            return _cut(rows, limit, asked.group_by)
        walked = None
        if await store.are_few(connection, one):
            rows += await store.page(connection, one, place, room, walk=False)
        else:
            walked = await store.walked_through(connection, place)
            rows += await store.page(connection, one, place, room, walk=True)
        if len(rows) > limit:
            return _cut(rows, limit, asked.group_by)
        if walked is not None:
            place = Place(place.bucket, walked, whole=True)
        elif index + 1 < len(buckets):
            place = Place(buckets[index + 1])
        else:
            return rows, None
    return rows, place


# --- sums by day ------------------------------------------------------------------------------

DAYS_AT_ONCE = 3
"""The days of a statement: a second of work where a million customers work together."""


async def are_days_due(database: Database, policies: Policies, today: date) -> bool:
    """Whether the sums of a day before today have to be brought up to date."""
    return await store.are_days_due(database, rules_of(policies, today), today - _DAY)


async def sum_next_days(connection: Connection, policies: Policies, today: date) -> bool:
    """Bring the sums of the next days up to date, if any have to be: True if more may be waiting.

    Days before today have sums. The connection is in a transaction of its own.
    """
    if not await store.lock(connection):
        return False
    rules = rules_of(policies, today)
    through, known = await store.state(connection)
    if known != rules.said():
        await store.begin_again(connection, rules)
        return True
    await store.ignore_later(connection, through)
    if through is not None:
        changed = await store.changed_days(connection, through, DAYS_AT_ONCE)
        if changed:
            await store.sum_days(connection, changed, rules)
            return True
    if through is not None and through >= today - _DAY:
        return False
    if not await feed.lock(connection):
        return True
    if through is None:
        first = await store.first_day(connection)
        through = min(first or today, today) - _DAY
    last = min(through + DAYS_AT_ONCE * _DAY, today - _DAY)
    days = [through + n * _DAY for n in range(1, (last - through).days + 1)]
    await store.sum_days(connection, days, rules)
    await store.advance(connection, max(last, through))
    return last < today - _DAY


async def differences(
    connection: Connection, policies: Policies, now: datetime
) -> AsyncIterator[Difference]:
    """What differs from what is recorded, of the sums of days that should be right.

    Nothing where new rules are on their way to them. The connection reads one snapshot.
    """
    rules = rules_of(policies, civil_date(now, policies.zone))
    through, known = await store.state(connection)
    first = await store.first_day(connection)
    if known != rules.said() or through is None or first is None:
        return
    async for subject, field, kept, right in store.differences(connection, rules, first):
        yield Difference("usage", None, subject, field, kept, right)
