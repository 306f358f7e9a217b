"""Usage by time and dimension on the wire."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

from orjson import Fragment
from pydantic import Field

from app.errors import InputError, InvalidInput
from app.http.cursors import LONGEST
from app.http.decisions import CustomerName
from app.http.encoding import json_bytes
from app.http.fields import (
    Country,
    DeskName,
    Digits,
    Key,
    Output,
    QueryDayOrInstant,
    Sound,
)
from app.http.tables import Kind, Row, Table, TableQuery
from app.policy.civil import civil_date, start_of_day
from app.policy.document import Channel
from app.policy.facts import CasePaidBy
from app.policy.usage import AllowanceKind
from app.services import usage_reports as service
from app.services.cases import Category, Priority
from app.services.unit_of_work import UnitOfWork
from app.services.usage_series import Line, Series
from app.store.usage_reports import DIMENSIONS, MEASURES, Dimension, Window

MOST_ROWS = 10_000
"""The rows of a page."""


class DaysQuery(TableQuery):
    """A period of civil days, given by days or instants."""

    from_: QueryDayOrInstant | None = Field(
        default=None,
        alias="from",
        description=(
            "The first day of the period, or an instant within it. By default the first day of "
            "this month."
        ),
    )
    to: QueryDayOrInstant | None = Field(
        default=None,
        description=(
            "The day after the last one of the period, or an instant: the last one is then the "
            "day in which the period ends. By default tomorrow."
        ),
    )

    def period(self, work: UnitOfWork) -> tuple[date, date]:
        """The first day, and the day after the last. Raises InvalidInput."""
        zone = work.policies.zone
        start = work.today.replace(day=1) if self.from_ is None else self.from_
        end = work.today + timedelta(days=1) if self.to is None else self.to
        if isinstance(start, datetime):
            start = civil_date(start, zone)
        if isinstance(end, datetime):
            day = civil_date(end, zone)
            end = day if start_of_day(day, zone) == end else day + timedelta(days=1)
        if end <= start:
            raise InvalidInput(InputError("query/to", "wrong_order"))
        return start, end


class PeriodQuery(DaysQuery):
    """A period, its windows and dimensions."""

    window: Window = Field(
        default="all",
        description=(
            "How long a bucket is; `all`: one for the whole period. Weeks begin on Monday (ISO "
            "8601). The period cuts off the first and the last bucket. At most 4,000 buckets."
        ),
    )
    group_by: list[Dimension] = Field(
        default=[],
        max_length=2,
        description="A row for each value of this, or for each pair of values of these two.",
    )
    customer: Key | None = Field(
        default=None, description="Only what is of this customer, by id or code."
    )
    technician: Annotated[str, Field(min_length=1, max_length=200), Sound] | None = Field(
        default=None, description="Only what is of the technician with exactly this name."
    )
    channel: Channel | None = Field(
        default=None, description="Only what belongs to cases that came by this channel."
    )
    category: Category | None = Field(
        default=None, description="Only what belongs to cases of this category."
    )
    priority: Priority | None = Field(
        default=None, description="Only what belongs to cases of this priority."
    )
    paid_by: CasePaidBy | None = Field(
        default=None, description="Only what this kind of allowance pays for, or grants."
    )
    country: Country | None = None
    help_desk: DeskName | None = Field(
        default=None, description="Only customers of this help desk, by its id."
    )

    def question(self, work: UnitOfWork) -> service.Question:
        """What is asked. Raises InvalidInput."""
        start, end = self.period(work)
        if len(set(self.group_by)) < len(self.group_by):
            raise InvalidInput(InputError("query/group_by", "duplicate"))
        filters = {one: getattr(self, one) for one in DIMENSIONS if getattr(self, one) is not None}
        return service.Question(start, end, self.window, self.group_by, filters)


class ReportQuery(PeriodQuery):
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS), Digits] = Field(
        default=MOST_ROWS,
        description=(
            "At most so many rows on the page. By customer a page has at most 1,000, and may end "
            "early."
        ),
    )
    cursor: Annotated[str, Field(max_length=LONGEST)] | None = None

    def asked(self, question: service.Question) -> str:
        """What was asked apart from the page, as one text."""
        page = {"limit", "cursor", "format", "dialect"}
        said = self.model_dump_json(exclude=page, exclude_defaults=True)
        return f"usage {said} {question.start} {question.end}"


_WORKED = "Reversed time counts no more."
_MOVED = "A case that was moved counts with its new customer alone."


class Figures(Output):
    """The measures. Each counts on one civil date of the vendor's time zone."""

    cases_opened: int = Field(
        description=f"On the day on which each case was opened, as it is classified now. {_MOVED}"
    )
    cases_closed: int = Field(
        description=(
            "On the day of closing, cases that are closed now: reopening one takes it from that "
            f"day, and it counts on the day on which it is closed again. {_MOVED}"
        )
    )
    cases_cancelled: int = Field(
        description="On the day of cancelling. A case that was moved away does not count."
    )
    cases_refused: int = Field(
        description=(
            "On the day of the refusal. The same, refused again to a customer's own token within "
            "an hour, counts each time, on the day of the first. It has a channel and a customer, "
            "and none of a case's other dimensions."
        )
    )
    cases_bug: int = Field(
        description=(
            "On the day on which each case was opened, cases that are bugs now: reclassifying one "
            f"changes that day. {_MOVED}"
        )
    )
    worked_minutes: int = Field(
        description=(
            "On the day worked, whoever pays, by the technician who worked and by what the case "
            f"is now. {_WORKED} What was worked on a bug stays. Moving a case moves its time on "
            "the same days."
        )
    )
    charged_minutes: int = Field(
        description=(
            "On the day worked, by the kind of allowance that pays, which may differ from what "
            "the case is bound to; minutes that a contract took over, on its first day. A "
            "reversal, a bug or a move changes the day that it corrects."
        )
    )
    overrun_minutes: int = Field(
        description=(
            "On the day worked, what no allowance paid for. Minutes that are paid for afterwards, "
            "reversed, or found to be a bug's are taken from that day."
        )
    )
    tickets_sold: int = Field(
        description=(
            "On the day of purchase, as it is corrected. They have a customer and no case, so "
            "that none of a case's dimensions but `paid_by` applies."
        )
    )
    tickets_consumed: int = Field(
        description=(
            "On the day on which each closing consumed a ticket. Reopening the case, or finding "
            "it a bug, takes one from the day on which that was done, as in the statement, so "
            "that a day can be negative. A move takes it from the day of the closing."
        )
    )
    tickets_expired: int = Field(
        description=(
            "On the day from which each ticket was not valid any more, if it was unused. A ticket "
            "whose end is moved counts on its new day, once that has come."
        )
    )
    tickets_cancelled: int = Field(
        description="On the day as of which each ticket was taken out of its pack unused."
    )
    minutes_granted: int = Field(
        description=(
            "On the first day of each contract and service year, once that has come. A "
            "correction moves them to the corrected day."
        )
    )
    minutes_lapsed: int = Field(
        description=(
            "On the day from which a contract or service year pays no more, what it had left. "
            "What is reversed or charged afterwards changes that day."
        )
    )


class UsageRow(Figures):
    """The figures of one bucket, and of one value of each dimension that was grouped by."""

    bucket_start: date
    bucket_end: date
    customer: UUID | None = Field(default=None, description="The customer's id.")
    customer_code: str | None = Field(default=None, description="The customer's code.")
    customer_name: str | None = Field(default=None, description="The company's name.")
    technician: str | None = Field(
        default=None,
        description="Who worked; of cases and tickets, who has taken the case.",
    )
    channel: Channel | None = Field(default=None, description="How the case came.")
    category: Category | None = Field(default=None, description="What the case is about now.")
    priority: Priority | None = Field(default=None, description="The case's priority now.")
    paid_by: CasePaidBy | None = Field(
        default=None,
        description=(
            "Of cases and worked minutes, what the case is bound to now; of all others, the kind "
            "of allowance itself."
        ),
    )
    country: Country | None = None
    help_desk: str | None = Field(default=None, description="The customer's help desk now.")


class UsageReport(Output):
    """Usage of all customers by time and dimension."""

    from_: date = Field(alias="from")
    to: date
    window: Window
    time_zone: str = Field(description="Whose civil dates the days are.")
    as_of: datetime | None = Field(
        description=(
            "The instant up to which everything is counted. Cases, time and charges are always "
            "those of now; `minutes_granted`, `minutes_lapsed` and `tickets_expired` follow a "
            "write or the end of a day within a second or so, and are those of this instant. Null "
            "while the service computes them for all customers, after an update."
        )
    )
    items: list[UsageRow] = Field(
        description=(
            "By bucket, then by dimension in the order in which a row has them, null last. "
            "Without a dimension each bucket has a row; otherwise each value that occurs in the "
            "period has one in each bucket; by customer only where there is something. A measure "
            "that lacks a dimension stands in the row where that is null."
        )
    )
    totals: Figures = Field(description="The sums of the rows of all pages.")
    next_cursor: str | None

    @staticmethod
    def of(
        report: service.Report, zone: str, as_of: datetime | None, next_cursor: str | None
    ) -> dict[str, Any]:
        """The answer, ready to be serialised."""
        question = report.question
        return {
            "from": question.start,
            "to": question.end,
            "window": question.window,
            "time_zone": zone,
            "as_of": as_of,
            "items": _items(report),
            "totals": dict(zip(MEASURES, report.totals, strict=True)),
            "next_cursor": next_cursor,
        }


_FIGURES = ",".join(f'"{one}":%d' for one in MEASURES)


def _items(report: service.Report) -> Fragment:
    """The JSON of the rows. Made of 10,000 dicts it took twice as long, and the garbage collector
    that these set off as long again."""
    names = list(dimension_columns(report.dimensions))
    periods: dict[date, str] = {}
    labels: dict[tuple[Any, ...], str] = {}
    items = []
    for start, end, values, measures in report.rows:
        if start not in periods:
            periods[start] = _fields(names[:2], (start, end))
        if values not in labels:
            labels[values] = _fields(names[2:], _named(report, values))
        items.append(f"{{{periods[start]}{labels[values]}{_FIGURES % measures}}}")
    return Fragment(f"[{','.join(items)}]")


def _fields(names: Sequence[str], values: Iterable[Any]) -> str:
    """Fields of a JSON object, before others."""
    fields = json_bytes(dict(zip(names, values, strict=True))).decode()[1:-1]
    return f"{fields}," if fields else ""


def _named(report: service.Report, values: Sequence[Any]) -> Sequence[Any]:
    """The dimensions of a row, with the code and the name of its customer."""
    if report.dimensions[:1] != ("customer",):
        return values
    return [values[0], *report.names[values[0]], *values[1:]]


def dimension_columns(dimensions: Iterable[Dimension]) -> dict[str, Kind]:
    """The names of a row's fields before its figures, and what each is."""
    found: dict[str, Kind] = {"bucket_start": "date", "bucket_end": "date"}
    for one in dimensions:
        names = ["customer", "customer_code", "customer_name"] if one == "customer" else [one]
        found |= dict.fromkeys(names, "text")
    return found


def columns(dimensions: Iterable[Dimension]) -> dict[str, Kind]:
    """The names of a row's fields, and what each is."""
    return dimension_columns(dimensions) | dict.fromkeys(MEASURES, "integer")


@lru_cache(maxsize=64)
def _table(dimensions: tuple[Dimension, ...]) -> Table:
    return Table("usage", **columns(dimensions))


def table_of(report: service.Report) -> Table:
    """The shape of its rows as a table."""
    return _table(report.dimensions)


def rows(report: service.Report) -> Iterator[Row]:
    """Each row's fields, as `columns` names them."""
    for start, end, values, measures in report.rows:
        yield [start, end, *_named(report, values), *measures]


# --- one customer over time -----------------------------------------------------------------------


class SeriesQuery(DaysQuery):
    window: Window = Field(
        default="day",
        description=(
            "How long a bucket is; `all`: one for the whole period. Weeks begin on Monday (ISO "
            "8601). The period cuts off the first and the last bucket. At most 1,100 buckets."
        ),
    )


class SeriesPoint(Output):
    """The balance at the end of a bucket: minutes for free hours and contracts, else tickets."""

    bucket_start: date
    bucket_end: date
    granted: int
    used: int = Field(description="Minutes charged, or tickets consumed.")
    held: int = Field(description="Tickets held by open cases.")
    left: int = Field(description="What can still be used.")
    lapsed: int = Field(description="What was left when the allowance ended.")
    overrun: int = Field(description="Minutes worked that nothing covers.")
    cancelled: int = Field(description="Tickets taken out of their pack unused.")


class SeriesItem(Output):
    """One allowance over time."""

    kind: AllowanceKind
    id: UUID | None
    number: str | None
    starts_on: date
    ends_on: date
    runs_out_on: date | None = Field(
        description=(
            "The day on which nothing will be left at the pace of the last 90 days, or of the days "
            "since it began if they are fewer; today if nothing is left. Null: not before it ends, "
            "or it pays for nothing today."
        )
    )
    points: list[SeriesPoint] = Field(
        description="From the bucket in which it begins. They end with today."
    )


class UsageSeries(Output):
    """How the allowances of a customer go down over time."""

    customer: CustomerName
    from_: date = Field(alias="from")
    to: date
    window: Window
    time_zone: str = Field(description="Whose civil dates the days are.")
    items: list[SeriesItem]

    @staticmethod
    def of(series: Series, window: Window, zone: str) -> dict[str, Any]:
        """The answer, ready to be serialised."""
        one = series.customer
        return {
            "customer": {"id": one.id, "code": one.code, "name": one.name},
            "from": series.start,
            "to": series.end,
            "window": window,
            "time_zone": zone,
            "items": [_item(line) for line in series.lines],
        }


_BALANCE: dict[str, Kind] = dict.fromkeys(
    ("granted", "used", "held", "left", "lapsed", "overrun", "cancelled"), "integer"
)
_OF_ALLOWANCE: dict[str, Kind] = {
    "allowance_kind": "text",
    "allowance_number": "text",
    "allowance_starts_on": "date",
    "allowance_ends_on": "date",
    "runs_out_on": "date",
}
SERIES = Table(
    "series",
    **_OF_ALLOWANCE,
    bucket_start="date",
    bucket_end="date",
    **_BALANCE,
)


def _item(line: Line) -> dict[str, Any]:
    one = line.allowance
    return {
        "kind": one.kind,
        "id": None if one.kind == "free_hours" else one.key,
        "number": one.number,
        "starts_on": one.starts_on,
        "ends_on": one.ends_on,
        "runs_out_on": line.runs_out_on,
        "points": [
            {
                "bucket_start": point.bucket_start,
                "bucket_end": point.bucket_end,
                **{name: getattr(point.allowance, name) for name in _BALANCE},
            }
            for point in line.points
        ],
    }


def series_rows(series: Series) -> Iterator[Row]:
    """One row for each point of each allowance, as `SERIES` names its columns."""
    for line in series.lines:
        one = line.allowance
        known = (one.kind, one.number, one.starts_on, one.ends_on, line.runs_out_on)
        for point in line.points:
            balance = [getattr(point.allowance, name) for name in _BALANCE]
            yield [*known, point.bucket_start, point.bucket_end, *balance]
