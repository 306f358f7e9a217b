"""Response times of all customers by time and dimension (R42): whose figures, of which days."""

from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.errors import invalid
from app.services.unit_of_work import UnitOfWork
from app.services.usage_reports import Question, asked_of, buckets_of, order_of
from app.store import response_reports as store
from app.store import usage_reports
from app.store.facts import computed
from app.store.response_reports import Figures, Sums
from app.store.usage_reports import DIMENSIONS, Dimension

MOST_ROWS = 10_000
"""The rows of one answer: buckets times the values that occur in them."""
_CHARACTERS_OF_A_ROW = 400


class Row(NamedTuple):
    """Figures of the civil days [bucket_start, bucket_end) and one value of each dimension."""

    bucket_start: date
    bucket_end: date
    values: tuple[Any, ...]
    """In the order of `DIMENSIONS`."""
    responses: Figures
    """Of the cases opened in these days."""
    resolutions: Figures
    """Of those closed in them."""


class Report(NamedTuple):
    question: Question
    dimensions: tuple[Dimension, ...]
    rows: list[Row]
    responses: Figures
    """Of the whole period."""
    resolutions: Figures
    names: dict[UUID, tuple[str, str]]
    """Code and name of each customer in the rows."""
    as_of: datetime | None
    """Up to when cases were measured; None while those of before are, after an update."""

    @property
    def characters(self) -> int:
        """About the size of the answer, for `computed`."""
        return _CHARACTERS_OF_A_ROW * len(self.rows)


async def report(work: UnitOfWork, question: Question) -> Report:
    """The rows by bucket, then by dimension, null last.

    Without a dimension, and for every value that occurs in the period, each bucket has a row; by
    customer only where there is something. A bound token's figures are its customer's (R38).
    Raises InvalidInput for more buckets or rows than there may be.
    """
    dimensions = tuple(one for one in DIMENSIONS if one in question.group_by)
    buckets = list(buckets_of(question.start, question.end, question.window))
    asked = await asked_of(work, question, dimensions)
    as_of: datetime | None = work.now
    if work.caller.customer_id is None:
        walking, since = await store.behind(work.connection)
        as_of = None if walking else min(work.now, since or work.now)
    # One more than there may be, and the whole period.
    most = MOST_ROWS + 1
    opened, responses = await store.responses(work.connection, asked, most)
    closed, resolutions = await store.resolutions(work.connection, asked, most)
    if max(len(opened), len(closed)) > MOST_ROWS:
        raise invalid("query/group_by", "too_many", limit=MOST_ROWS)
    rows = await computed(
        _CHARACTERS_OF_A_ROW * len(buckets),
        _filled,
        question.end,
        dimensions,
        buckets,
        opened,
        closed,
    )
    named: dict[UUID, tuple[str, str]] = {}
    if "customer" in dimensions:
        named = await usage_reports.names(work.connection, list({row.values[0] for row in rows}))
    return Report(question, dimensions, rows, responses, resolutions, named, as_of)


_NOTHING = Figures()


def _filled(
    end: date,
    dimensions: tuple[Dimension, ...],
    buckets: list[date],
    opened: list[Sums],
    closed: list[Sums],
) -> list[Row]:
    responses = {(one.bucket, one.values): one.figures for one in opened}
    resolutions = {(one.bucket, one.values): one.figures for one in closed}
    there = responses.keys() | resolutions.keys()
    occurring = {values for _, values in there} if dimensions else {()}
    ordered = sorted(occurring, key=order_of)
    sparse = "customer" in dimensions
    if not sparse and len(ordered) * len(buckets) > MOST_ROWS:
        raise invalid("query/group_by", "too_many", limit=MOST_ROWS)
    return [
        Row(
            start,
            until,
            values,
            responses.get((start, values), _NOTHING),
            resolutions.get((start, values), _NOTHING),
        )
        for start, until in zip(buckets, [*buckets[1:], end], strict=True)
        for values in ordered
        if not sparse or (start, values) in there
    ]
