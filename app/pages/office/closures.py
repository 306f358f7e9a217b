"""Days on which a help desk is closed or keeps other hours: listed, added, removed (R48)."""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.responses import Response

from app import clock
from app.http.languages import LANGUAGES
from app.pages.api import Problem, path
from app.pages.forms import Form
from app.pages.staff.site import Person, staff, whoami
from app.pages.visit import Visit

_REASONS = tuple(f"reason/{language}" for language in LANGUAGES)
_DAYS = ("starts_at", "ends_at")
_LONGEST_HOURS = 200


@staff.get("/office/closures")
async def closures(visit: Visit) -> Response:
    """What is to come of every desk, and the form for more."""
    who = await whoami(visit)
    visit.form = Form(dict.fromkeys(_DAYS, str(visit.today)))
    return await _page(visit, who)


@staff.post("/office/closures")
async def add(visit: Visit) -> Response:
    """Close a desk on some days, or let it keep other hours on them."""
    who, form = await whoami(visit), visit.form
    desks = (await visit.api.get("/v1/help-desks"))["items"]
    desk = next((one for one in desks if one["id"] == form["help_desk"]), None)
    if desk is None:
        form.errors["help_desk"] = [visit.t("closures.no_desk")]
    body = form.body(*_REASONS)
    zone = ZoneInfo(desk["time_zone"] if desk else "UTC")
    for name, later in zip(_DAYS, (0, 1), strict=True):
        try:
            # By the clock of the desk, the last day included.
            day = date.fromisoformat(form[name]) + timedelta(days=later)
            body[name] = datetime.combine(day, time(), zone).isoformat()
        except (ValueError, OverflowError):
            form.errors[name] = [visit.t("closures.no_day")]
    body["reason"] = body.get("reason", {})
    if len(form["hours"]) > _LONGEST_HOURS:
        form.errors["hours"] = [visit.t("closures.long_hours", most=_LONGEST_HOURS)]
    elif form["hours"].strip():
        body["hours"] = _hours(form["hours"])
    if desk is None or form.errors:
        return await _page(visit, who, 422)
    try:
        address = path("/v1/help-desks/{}/closures", desk["id"])
        await visit.api.send("POST", address, body, key=form.key)
    except Problem as problem:
        if problem.status == 401:
            raise
        form.refuse(problem)
        for name in [one for one in form.errors if one.startswith("hours/")]:
            form.errors.setdefault("hours", []).extend(form.errors.pop(name))
        return await _page(visit, who, problem.status)
    return visit.redirect("/office/closures", done="1")


def _hours(text: str) -> list[dict[str, str]]:
    """`08:30-11:00, 14:00-16:00`; what is not of this form is left for the API to refuse."""
    found = []
    for part in text.replace("–", "-").replace(";", ",").split(","):
        opens, _, closes = part.partition("-")
        found.append({"opens": opens.strip(), "closes": closes.strip()})
    return found


async def _page(visit: Visit, who: Person, status: int = 200) -> Response:
    desks = (await visit.api.get("/v1/help-desks"))["items"]
    lists = await asyncio.gather(
        *(visit.api.whole_list(path("/v1/help-desks/{}/closures", one["id"])) for one in desks)
    )
    now = clock.now()
    coming = [
        [
            (one, said(visit, one, desk))
            for one in found or ()
            if datetime.fromisoformat(one["ends_at"]) > now
        ]
        for desk, found in zip(desks, lists, strict=True)
    ]
    return visit.render(
        "office/closures.html",
        status,
        who=who,
        desks=list(zip(desks, coming, strict=True)),
        reasons=_REASONS,
    )


def _closure(visit: Visit) -> str:
    names = visit.request.path_params
    return path("/v1/help-desks/{}/closures/{}", names["desk"], names["closure"])


@staff.get("/office/closures/{desk}/{closure}/removal")
async def show_closure(visit: Visit) -> Response:
    """The closure, and a button that removes it."""
    who = await whoami(visit)
    return await _closure_page(visit, who)


@staff.post("/office/closures/{desk}/{closure}/removal")
async def remove(visit: Visit) -> Response:
    """Remove it: the desk keeps its hours again."""
    who = await whoami(visit)
    try:
        await visit.api.delete(_closure(visit))
    except Problem as problem:
        if problem.status in (401, 404):
            raise
        visit.form.refuse(problem)
        return await _closure_page(visit, who, problem.status)
    return visit.redirect("/office/closures", done="1")


async def _closure_page(visit: Visit, who: Person, status: int = 200) -> Response:
    closure, desks = await asyncio.gather(
        visit.api.get(_closure(visit)), visit.api.get("/v1/help-desks")
    )
    desk = next((one for one in desks["items"] if one["id"] == closure["help_desk"]), None)
    if desk is None:
        # The policy has this desk no longer.
        raise HTTPException(404)
    return visit.render(
        "office/remove.html",
        status,
        who=who,
        title="remove.closure",
        hint="remove.closure_hint",
        facts=[desk["names"][visit.language], *said(visit, closure, desk)],
        back="/office/closures",
    )


def said(visit: Visit, closure: Mapping[str, Any], desk: Mapping[str, Any]) -> list[str]:
    """When it holds by the desk's own clock, its hours, and why."""
    t, zone = visit.t, ZoneInfo(desk["time_zone"])
    start, end = (datetime.fromisoformat(closure[name]).astimezone(zone) for name in _DAYS)
    if start.time() == end.time() == time():
        days = [t.short_date(start.date()), t.short_date(end.date() - timedelta(days=1))]
        period = " – ".join(dict.fromkeys(days))
    else:
        period = f"{t.instant(start, zone.key)} – {t.instant(end, zone.key)}"
    hours = t.joined([f"{one['opens']}–{one['closes']}" for one in closure["hours"] or ()])
    opens = t("closures.open", hours=hours) if hours else t("closures.closed")
    return [period, opens, closure["reason"][visit.language]]
