"""All figures on one page, which asks for itself again each minute."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from starlette.responses import Response

from app.http.fields import EARLIEST
from app.pages.api import Problem
from app.pages.charts import line, pillars, share
from app.pages.staff.site import staff, unless_known, whoami
from app.pages.visit import Visit

_MONTHS = 12
_ENDS = (30, 60, 90)
_MINUTES = ("minutes_granted", ("charged_minutes", "minutes_lapsed"))
_TICKETS = ("tickets_sold", ("tickets_consumed", "tickets_expired", "tickets_cancelled"))
"""What adds to what all customers have left, and what takes from it."""
_COMPARED = (
    "cases_opened",
    "cases_closed",
    "cases_refused",
    "worked_minutes",
    "overrun_minutes",
    "tickets_sold",
)
_FORMATS = {"csv": {"format": "csv", "dialect": "excel"}, "xlsx": {"format": "xlsx"}}
_FILES: Mapping[str, tuple[str, Mapping[str, str] | None]] = {
    "usage": ("/v1/usage", None),
    "response-times": ("/v1/usage/response-times", None),
    "backlog": ("/v1/usage/backlog", {}),
    "columns": ("/v1/usage/columns", {}),
    "expiring": ("/v1/usage/expiring", {"within_days": str(_ENDS[-1])}),
}
"""The call and the query of each file; None stands for the months that are shown."""


def _first_month(today: date) -> date:
    """The first day of the month that is the oldest of those shown."""
    months = today.year * 12 + today.month - _MONTHS
    return date(months // 12, months % 12 + 1, 1)


def _monthly(visit: Visit) -> dict[str, str]:
    return {"from": str(_first_month(visit.today)), "window": "month"}


@staff.get("/dashboard")
async def dashboard(visit: Visit) -> Response:
    """The figures of the last twelve months, and how things stand."""
    who = await whoami(visit)
    monthly = _monthly(visit)
    earlier = {"from": str(EARLIEST), "to": monthly["from"], "window": "all"}
    before, usage, times, backlog, columns, ending = await asyncio.gather(
        visit.api.get("/v1/usage", **earlier),
        visit.api.get("/v1/usage", **monthly),
        visit.api.get("/v1/usage/response-times", **monthly),
        visit.api.get("/v1/usage/backlog"),
        visit.api.get("/v1/usage/columns"),
        visit.api.whole_list("/v1/usage/expiring", within_days=_ENDS[-1]),
    )
    months = usage["items"]
    ages = [one for one in backlog["items"] if one["dimension"] == "age"]
    response = visit.render(
        "dashboard/overview.html",
        who=who,
        compared=[(name, months[-1][name], months[-2][name]) for name in _COMPARED],
        months=months,
        cases=pillars([(one["cases_opened"], one["cases_closed"]) for one in months]),
        time=pillars([(one["worked_minutes"], one["charged_minutes"]) for one in months]),
        hours_left=_left(before["totals"], months, *_MINUTES),
        tickets_left=_left(before["totals"], months, *_TICKETS),
        refused=pillars([(one["cases_refused"],) for one in months]),
        times=times,
        answers=pillars(
            [
                (one["response_median_minutes"] or 0, one["response_p90_minutes"] or 0)
                for one in times["items"]
            ]
        ),
        backlog=backlog,
        ages=_shared(ages, "cases"),
        columns=_shared(columns["columns"], "customers"),
        customers=columns["customers"],
        ending=_by_end(ending or ()),
        over=[one for one in ending or () if one["overrun_minutes"]],
    )
    return unless_known(visit, response)


@staff.get("/dashboard/{name}.{extension}")
async def file(visit: Visit) -> Response:
    """The figures of a chart as a file for a spreadsheet."""
    asked = _FORMATS.get(visit.request.path_params["extension"])
    address, query = _FILES.get(visit.request.path_params["name"], ("", {}))
    if asked is None or not address:
        raise Problem(404, {"code": "not_found"})
    period = _monthly(visit) if query is None else query
    return visit.pass_on(address, **asked, **period)


def _left(
    before: Mapping[str, int], months: Sequence[Mapping[str, int]], added: str, taken: Sequence[str]
) -> dict[str, Any]:
    """What all customers together had left at the end of each month: rows, and a line over them.

    `before` has the sums of everything before the first month.
    """
    left = before[added] - sum(before[name] for name in taken)
    points = [(0.0, float(max(left, 0)))]
    rows = []
    for number, month in enumerate(months, start=1):
        left += month[added] - sum(month[name] for name in taken)
        points.append((number / len(months), float(max(left, 0))))
        rows.append({**month, "left": left})
    drawn, area = line(points, max(value for _, value in points))
    return {"rows": rows, "line": drawn, "area": area, "fields": (added, *taken)}


def _shared(rows: Sequence[Mapping[str, Any]], measure: str) -> list[dict[str, Any]]:
    """Rows with their share of the largest."""
    most = max((one[measure] for one in rows), default=0)
    return [{**one, "share": share(one[measure], most)} for one in rows]


def _by_end(items: Sequence[Mapping[str, Any]]) -> list[tuple[int, list[Mapping[str, Any]]]]:
    """What ends within 30, 60 and 90 days, each in the first of them that holds."""
    ending = [one for one in items if "ending" in one["why"]]
    start, found = -1, []
    for end in _ENDS:
        found.append((end, [one for one in ending if start < one["days_left"] <= end]))
        start = end
    return found
