"""Calls about usage."""

from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from app import __version__
from app.errors import invalid, out_of_range
from app.http.context import Ctx
from app.http.cursors import cursors_of
from app.http.encoding import json_bytes
from app.http.etags import CACHING, if_none_match, weak_etag
from app.http.fields import Key
from app.http.resource import Resource
from app.http.responses import ok
from app.http.tables import TableQuery, form_of
from app.policy.civil import add_months
from app.routers.usage.backlog_schemas import BACKLOG, BacklogBody, backlog_rows
from app.routers.usage.expiring_schemas import (
    EXPIRING,
    ExpiringBody,
    ExpiringQuery,
    expiring_rows,
)
from app.routers.usage.report_schemas import (
    SERIES,
    PeriodQuery,
    ReportQuery,
    SeriesQuery,
    UsageReport,
    UsageSeries,
    rows,
    series_rows,
    table_of,
)
from app.routers.usage.response_schemas import ResponseTimes, response_rows, response_table
from app.routers.usage.schemas import (
    COLUMNS,
    MOVEMENTS,
    ColumnsBody,
    ColumnsQuery,
    Statement,
    StatementQuery,
    UsageBody,
    UsageQuery,
    column_rows,
    statement_rows,
)
from app.services import (
    backlog,
    expiring,
    response_reports,
    standings,
    usage_reports,
    usage_series,
)
from app.services import usage as service
from app.store.facts import computed
from app.store.usage_reports import Place, Window

usage = Resource("Usage")

_LONGEST_STATEMENT_MONTHS = 120


@usage.reads("/customers/{customer}/usage", UsageBody, "usage:read")
async def get_customer_usage(
    context: Ctx, customer: Key, query: Annotated[UsageQuery, Query()]
) -> Response:
    """Read a customer's allowances and totals.

    Every allowance that the customer ever had, ended ones included. For a past instant: work up to
    that day as known now, tickets and cases as they were then.
    """
    found = await service.of_customer(context, customer, query.at)
    body = UsageBody.of(found)
    # Asked about now, only the instant differs from one answer to the next.
    etag = weak_etag(json_bytes(body)) if query.at is None else True
    return ok(context, {**body, "at": found.at}, etag=etag)


@usage.tabulates("/usage/columns", ColumnsBody, "usage:read")
async def get_usage_columns(context: Ctx, query: Annotated[ColumnsQuery, Query()]) -> Response:
    """Count the customers by column and service.

    How many stand in each column and may use each service: the figures of all customers, or of one
    by a token bound to it. They follow a write within a second or so, as the event
    `entitlements.changed` does. Those of a past instant are as they were told then, and reach as
    far back as events are kept.
    """
    form = form_of(context.request, query)
    counts = await standings.counts(context, query.at)
    if form != "json":
        return await COLUMNS.answer(context, form, "columns", column_rows(counts))
    body = ColumnsBody.of(counts)
    # Asked about now, only the instant differs from one answer to the next.
    etag = weak_etag(json_bytes(body)) if query.at is None else True
    return ok(context, {"at": query.at or context.now, **body}, etag=etag)


@usage.tabulates("/usage/response-times", ResponseTimes, "usage:read")
async def get_response_times(context: Ctx, query: Annotated[PeriodQuery, Query()]) -> Response:
    """Tell how fast cases were answered and resolved.

    In working time of each customer's help desk, which stands still while a case waits for the
    customer: numbers, medians and what nine in ten took, by window and by up to two dimensions; of
    all customers, or of one by a token bound to it. First responses count on the day of opening,
    resolutions on the day of closing. At most 10,000 rows. Where the policy promises times, it says
    how often they were met and missed.
    """
    question = query.question(context)
    form = form_of(context.request, query)
    report = await response_reports.report(context, question)
    if form != "json":
        name = f"response-times-{question.start}-{question.end}"
        return await response_table(report).answer(context, form, name, response_rows(report))
    zone = str(context.policies.zone)
    body, content = await computed(report.characters, _response_times, report, zone)
    return ok(context, body, etag=weak_etag(content))


def _response_times(report: response_reports.Report, zone: str) -> tuple[bytes, bytes]:
    """The answer, and what of it does not change while nothing happens."""
    body = ResponseTimes.of(report, zone)
    return json_bytes({**body, "as_of": report.as_of}), json_bytes(body)


@usage.tabulates("/usage/backlog", BacklogBody, "usage:read")
async def get_backlog(context: Ctx, query: Annotated[TableQuery, Query()]) -> Response:
    """Count the open cases.

    By state, channel, priority, technician and age, those without a first response apart, and the
    oldest by their numbers; of all customers, or of one by a token bound to it. The age is the
    working time of the customer's help desk for which a case has run. As CSV or an Excel workbook
    it has the counts alone.
    """
    form = form_of(context.request, query)
    found = await backlog.backlog(context)
    if form != "json":
        return await BACKLOG.answer(context, form, "backlog", backlog_rows(found))
    body = BacklogBody.of(found)
    return ok(context, {"as_of": context.now, **body}, etag=weak_etag(json_bytes(body)))


@usage.tabulates("/customers/{customer}/statement", Statement, "usage:read")
async def get_customer_statement(
    context: Ctx, customer: Key, query: Annotated[StatementQuery, Query()]
) -> Response:
    """Read a statement of a customer's allowances.

    Opening, every movement and closing of each allowance from the day `from` up to, not including,
    the day `to`; as JSON, CSV or an Excel workbook, by `Accept` or `format`. A movement belongs to
    the day on which it counts, not to the day of recording: what is recorded late appears in the
    statement of that earlier day when it is requested again. A period with more than 10,000
    movements is refused: ask for shorter ones.
    """
    start, end = query.from_, query.to
    if end <= start:
        raise invalid("query/to", "wrong_order")
    longest = add_months(start, _LONGEST_STATEMENT_MONTHS)
    if end > longest:
        raise out_of_range("query/to", start + timedelta(days=1), longest)
    form = form_of(context.request, query)
    statement = await service.statement(context, customer, start, end)
    if form == "json":
        return ok(context, await computed(statement.characters, _json, statement))
    name = f"statement-{statement.customer.code}-{start}-{end}"
    return await MOVEMENTS.answer(context, form, name, statement_rows(statement))


def _json(statement: service.Statement) -> bytes:
    return json_bytes(Statement.of(statement))


@usage.tabulates("/usage", UsageReport, "usage:read")
async def get_usage(context: Ctx, query: Annotated[ReportQuery, Query()]) -> Response:
    """Count usage by time and dimension.

    Cases, minutes and tickets of all customers, or of one by a token bound to it: in the civil days
    from `from` up to, not including, `to`, by `window` and by up to two dimensions. As CSV or an
    Excel workbook it has all rows, `limit` at most. Poll it with `If-None-Match`: as long as
    nothing has happened, the answer is 304 and costs next to nothing.
    """
    question = query.question(context)
    form = form_of(context.request, query)
    asked = query.asked(question)
    cursors = await cursors_of(context.request.app.state)
    after = None
    if query.cursor is not None:
        after = Place(*cursors.decode(asked, query.cursor, (date, str, str, bool)))
    as_of: datetime | None = context.now
    tag = None
    if context.caller.customer_id is None:
        seen = await usage_reports.seen(context)
        as_of = seen.as_of
        essence = [__version__, asked, query.limit, query.cursor, form, context.language]
        tag = weak_etag(json_bytes([*essence, seen.marks]))
        if if_none_match(context.request, tag):
            return Response(status_code=304, headers={**CACHING, "ETag": tag})
    if form != "json":
        report = await usage_reports.whole(context, question, query.limit, after)
        name = f"usage-{question.start}-{question.end}"
        return await table_of(report).answer(context, form, name, rows(report), etag=tag or True)
    report = await usage_reports.report(context, question, query.limit, after)
    next_cursor = None if report.next is None else cursors.encode(asked, *report.next)
    zone = str(context.policies.zone)
    body, tag = await computed(report.characters, _report, report, zone, as_of, next_cursor, tag)
    return ok(context, body, etag=tag)


@usage.tabulates("/usage/expiring", ExpiringBody, "usage:read")
async def list_expiring_allowances(
    context: Ctx, query: Annotated[ExpiringQuery, Query()]
) -> Response:
    """List allowances that end soon, are nearly spent, or are over.

    Contracts, ticket packs and service years that pay for new cases today and end within
    `within_days`, or of which `used_percent` is used; and those with overrun that nothing has taken
    over, also after their end. By the day on which they end, so that those come first. As CSV or an
    Excel workbook it is the whole list, of at most 10,000 rows. It follows a write within a second
    or so.
    """
    form = form_of(context.request, query)
    asked = query.asked()
    if form != "json":
        page = await expiring.whole(context, asked)
        return await EXPIRING.answer(
            context, form, f"expiring-{page.on}", expiring_rows(page.items)
        )
    cursors = await cursors_of(context.request.app.state)
    after = None
    if query.cursor is not None:
        after = expiring.Place(*cursors.decode(query.text(), query.cursor, (date, UUID, str)))
    page = await expiring.page(context, asked, query.limit, after)
    next_cursor = None if page.next is None else cursors.encode(query.text(), *page.next)
    return ok(context, ExpiringBody.of(page, next_cursor))


@usage.tabulates("/customers/{customer}/usage/series", UsageSeries, "usage:read")
async def get_customer_usage_series(
    context: Ctx, customer: Key, query: Annotated[SeriesQuery, Query()]
) -> Response:
    """Read how a customer's allowances go down over time.

    The balance of each allowance at the end of each bucket, as a statement up to that day would
    close, and when it will run out at the pace of the last 90 days.
    """
    start, end = query.period(context)
    form = form_of(context.request, query)
    series = await usage_series.of_customer(context, customer, start, end, query.window)
    if form != "json":
        name = f"series-{series.customer.code}-{start}-{end}"
        return await SERIES.answer(context, form, name, series_rows(series))
    zone = str(context.policies.zone)
    size = 200 * sum(len(line.points) for line in series.lines)
    return ok(context, await computed(size, _series, series, query.window, zone))


def _series(series: usage_series.Series, window: Window, zone: str) -> bytes:
    return json_bytes(UsageSeries.of(series, window, zone))


def _report(
    report: usage_reports.Report,
    zone: str,
    as_of: datetime | None,
    next_cursor: str | None,
    tag: str | None,
) -> tuple[bytes, str]:
    """The answer and its tag.

    That of a bound token is made of the answer, so that it tells nothing of what others did (R38).
    """
    body = UsageReport.of(report, zone, as_of, next_cursor)
    return json_bytes(body), tag or weak_etag(json_bytes({**body, "as_of": None}))
