"""Response times on the wire."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic import Field

from app.http.fields import Country, Output
from app.http.tables import Kind, Row, Table
from app.policy.document import Channel
from app.policy.facts import CasePaidBy
from app.routers.usage.report_schemas import dimension_columns
from app.services import response_reports as service
from app.services.cases import Category, Priority
from app.store.response_reports import Figures
from app.store.usage_reports import Dimension, Window

_MINUTES = "in working minutes of the customer's help desk"


class ResponseFigures(Output):
    """How fast cases were answered and resolved; minutes are null where there are none."""

    responses: int = Field(
        description=(
            "Cases opened in these days that have a first response: a public comment by staff, "
            "work, taking or closing."
        )
    )
    response_median_minutes: float | None = Field(
        description=f"The median of the time from opening to first response, {_MINUTES}."
    )
    response_p90_minutes: float | None = Field(
        description="The time within which nine in ten of them were answered."
    )
    responses_met: int = Field(
        description="Answered within what the policy promises. 0 where it promises nothing."
    )
    responses_missed: int = Field(
        description="Answered later, or not at all although that time is over."
    )
    unanswered: int = Field(description="Cases opened in these days that still wait for it.")
    resolutions: int = Field(
        description=(
            "Cases closed in these days. A reopened case is none, until it is closed again: it "
            "counts on that day, with the time that it ran before and after."
        )
    )
    resolution_median_minutes: float | None = Field(
        description=(
            f"The median of the time from opening to closing, {_MINUTES}, without that for which "
            "a case waited for the customer."
        )
    )
    resolution_p90_minutes: float | None = Field(
        description="The time within which nine in ten of them were resolved."
    )
    resolutions_met: int = Field(
        description="Resolved within what the policy promises. 0 where it promises nothing."
    )
    resolutions_missed: int = Field(description="Resolved later.")


class ResponseRow(ResponseFigures):
    """The figures of one bucket, and of one value of each dimension that was grouped by."""

    bucket_start: date
    bucket_end: date
    customer: UUID | None = Field(default=None, description="The customer's id.")
    customer_code: str | None = Field(default=None, description="The customer's code.")
    customer_name: str | None = Field(default=None, description="The company's name.")
    technician: str | None = Field(default=None, description="Who has the case now.")
    channel: Channel | None = Field(default=None, description="How the case came.")
    category: Category | None = Field(default=None, description="What the case is about now.")
    priority: Priority | None = Field(default=None, description="The case's priority now.")
    paid_by: CasePaidBy | None = Field(default=None, description="What the case is bound to now.")
    country: Country | None = None
    help_desk: str | None = Field(
        default=None, description="The desk by whose working time the case was measured."
    )


class ResponseTimes(Output):
    """How fast cases were answered and resolved, by time and dimension."""

    from_: date = Field(alias="from")
    to: date
    window: Window
    time_zone: str = Field(description="Whose civil dates the days are.")
    as_of: datetime | None = Field(
        description=(
            "Up to when cases were measured, which follows a write within a second or so. Null "
            "while the service measures all cases, after an update."
        )
    )
    items: list[ResponseRow] = Field(
        description=(
            "By bucket, then by dimension in the order in which a row has them, null last. "
            "Without a dimension each bucket has a row; otherwise each value that occurs in the "
            "period has one in each bucket; by customer only where there is something."
        )
    )
    totals: ResponseFigures = Field(
        description="The figures of the whole period, which its medians are not sums of."
    )

    @staticmethod
    def of(report: service.Report, zone: str) -> dict[str, Any]:
        """The answer without `as_of`, ready to be serialised."""
        question, names = report.question, columns(report.dimensions)
        return {
            "from": question.start,
            "to": question.end,
            "window": question.window,
            "time_zone": zone,
            "items": [dict(zip(names, row, strict=True)) for row in response_rows(report)],
            "totals": dict(
                zip(FIGURES, _figures(report.responses, report.resolutions), strict=True)
            ),
        }


FIGURES: dict[str, Kind] = {
    name: "number" if name.endswith("minutes") else "integer"
    for name in ResponseFigures.model_fields
}


def _figures(responses: Figures, resolutions: Figures) -> list[Any]:
    return [*responses, *resolutions[:-1]]


def columns(dimensions: Iterable[Dimension]) -> dict[str, Kind]:
    """The names of a row's fields, and what each is."""
    return dimension_columns(dimensions) | FIGURES


@lru_cache(maxsize=64)
def _table(dimensions: tuple[Dimension, ...]) -> Table:
    return Table("response_times", **columns(dimensions))


def response_table(report: service.Report) -> Table:
    """The shape of its rows as a table."""
    return _table(report.dimensions)


def response_rows(report: service.Report) -> Iterator[Row]:
    """Each row's fields, as `columns` names them."""
    by_customer = report.dimensions[:1] == ("customer",)
    for start, end, values, responses, resolutions in report.rows:
        named: list[Any] = list(values)
        if by_customer:
            named[1:1] = report.names[values[0]]
        yield [start, end, *named, *_figures(responses, resolutions)]
