"""Every movement behind the balances (R37), and the same as a file."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from starlette.responses import Response

from app.pages.api import Problem, path
from app.pages.area.site import area, own_customer
from app.pages.forms import Form
from app.pages.visit import Visit

_DAYS = 366
_FILES = {"csv": {"format": "csv", "dialect": "excel"}, "xlsx": {"format": "xlsx"}}


@area.get("/area/movements")
async def movements(visit: Visit) -> Response:
    """The movements of a period, with the balance after each."""
    customer = await own_customer(visit)
    start, end = _period(visit)
    # A field for dates shows dates alone.
    form = Form({"from": _date(start), "to": _date(end)})
    statement = None
    try:
        statement = await visit.api.get(
            path("/v1/customers/{}/statement", customer["id"]), **{"from": start, "to": end}
        )
    except Problem as problem:
        if problem.status != 422:
            raise
        form.refuse(problem)
        form.errors = {name.removeprefix("query/"): said for name, said in form.errors.items()}
    return visit.render(
        "area/movements.html",
        200 if statement else 422,
        customer=customer,
        form=form,
        groups=statement and [_with_balances(group) for group in statement["groups"]],
        start=start,
        end=end,
    )


@area.get("/area/movements.{extension}")
async def movements_file(visit: Visit) -> Response:
    """The movements of a period as a file for a spreadsheet."""
    asked = _FILES.get(visit.request.path_params["extension"])
    if asked is None:
        raise Problem(404, {"code": "not_found"})
    customer = await own_customer(visit)
    start, end = _period(visit)
    address = path("/v1/customers/{}/statement", customer["id"])
    return visit.pass_on(address, **asked, **{"from": start, "to": end})


def _period(visit: Visit) -> tuple[str, str]:
    """The period asked for; by default the last year, with today."""
    today = visit.today
    start = visit.query.get("from") or str(today - timedelta(days=_DAYS))
    return start[:40], (visit.query.get("to") or str(today + timedelta(days=1)))[:40]


def _date(text: str) -> str:
    """The text if it is a date."""
    try:
        return str(date.fromisoformat(text))
    except ValueError:
        return ""


def _left(allowance: Mapping[str, Any] | None, balance: Mapping[str, int]) -> int | None:
    if allowance is None:
        return None
    gone = sum(balance[part] for part in ("used_minutes", "held", "consumed", "cancelled"))
    return max(int(allowance["granted"]) - gone, 0)


def _with_balances(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group of a statement, its movements with what was left after each."""
    allowance = group["allowance"]
    moved = [
        {**one, "allowance": allowance, "left": _left(allowance, one["balance"])}
        for one in group["movements"]
    ]
    return {
        **group,
        "movements": moved,
        "left_before": _left(allowance, group["opening"]),
        "left_after": _left(allowance, group["closing"]),
    }


def latest(statement: Mapping[str, Any], most: int) -> Sequence[dict[str, Any]]:
    """The movements that were recorded last, the newest first."""
    every = [one for group in statement["groups"] for one in _with_balances(group)["movements"]]
    return sorted(every, key=lambda one: -one["entry"])[:most]
