"""Finding a customer, and one customer whole."""

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from starlette.responses import Response

from app.pages.api import Problem, path
from app.pages.area.movements import latest
from app.pages.staff.site import staff, whoami, zone
from app.pages.visit import Visit

_FOUND = 50
_DAYS = 366
_MOVEMENTS = 30
_EVENTS = 40
_EVENT_PAGES = 5
_FORMATS = {"csv": {"format": "csv", "dialect": "excel"}, "xlsx": {"format": "xlsx"}}


@staff.get("/office")
async def office(visit: Visit) -> Response:
    """The customers whom a search finds; without words, the first ones."""
    who = await whoami(visit)
    words = visit.query.get("q", "").strip()[:200]
    archived = visit.query.get("archived") == "1"
    found = await visit.api.get(
        "/v1/customers",
        q=words or None,
        archived="true" if archived else None,
        limit=_FOUND,
        cursor=visit.query.get("cursor"),
    )
    return visit.render("office/search.html", who=who, words=words, archived=archived, found=found)


@staff.get("/office/customers/{name}")
async def customer(visit: Visit) -> Response:
    """Everything of one customer that the key may read."""
    who = await whoami(visit)
    record = await visit.api.get(path("/v1/customers/{}", visit.request.path_params["name"]))
    id_ = record["id"]
    usage_of = path("/v1/customers/{}/usage", id_)
    today = visit.today
    period = {"from": today - timedelta(days=_DAYS), "to": today + timedelta(days=1)}
    (
        licences,
        contracts,
        packs,
        cases,
        usage,
        series,
        statement,
        events,
        clock_of,
    ) = await asyncio.gather(
        visit.api.whole_list("/v1/licences", customer_id=id_),
        visit.api.whole_list("/v1/contracts", customer_id=id_),
        visit.api.whole_list("/v1/ticket-packs", customer_id=id_),
        visit.api.find("/v1/cases", customer_id=id_, limit=_FOUND),
        visit.api.find(usage_of),
        visit.api.find(f"{usage_of}/series", **{"from": period["from"]}, window="month"),
        visit.api.find(path("/v1/customers/{}/statement", id_), **period),
        _events(visit, id_) if "events:read" in who.scopes else asyncio.sleep(0),
        zone(visit),
    )
    return visit.render(
        "office/customer.html",
        who=who,
        record=record,
        licences=licences,
        contracts=contracts,
        packs=packs,
        cases=cases and cases["items"],
        usage=usage,
        series=_running(series, visit.today),
        movements=statement and latest(statement, _MOVEMENTS),
        events=events,
        zone=clock_of,
    )


def _running(series: Mapping[str, Any] | None, on: date) -> list[Mapping[str, Any]]:
    """The allowances that run on a day, each with how it went down."""
    return [one for one in (series["items"] if series else ()) if one["ends_on"] > str(on)]


async def _events(visit: Visit, customer_id: str) -> list[dict[str, Any]]:
    """The latest events of a customer, newest first, as far back as a page can look."""
    found: list[dict[str, Any]] = []
    after = None
    for _ in range(_EVENT_PAGES):
        page = await visit.api.get("/v1/events", customer_id=customer_id, limit=200, after=after)
        found += page["items"]
        after = page["next_cursor"]
        if not page["has_more"]:
            break
    return found[-_EVENTS:][::-1]


@staff.get("/office/customers/{name}/movements.{extension}")
async def movements_file(visit: Visit) -> Response:
    """The movements of a year as a file for a spreadsheet."""
    names = visit.request.path_params
    asked = _FORMATS.get(names["extension"])
    if asked is None:
        raise Problem(404, {"code": "not_found"})
    today = visit.today
    return visit.pass_on(
        path("/v1/customers/{}/statement", names["name"]),
        **asked,
        **{"from": str(today - timedelta(days=_DAYS)), "to": str(today + timedelta(days=1))},
    )
