"""The customer's cases: all of them, one with its path, opening one, and commenting."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from app.pages.api import Problem, path
from app.pages.area.site import area, own_customer
from app.pages.forms import Form
from app.pages.visit import Visit

_FIELDS = (
    "requester/name",
    "requester/email",
    "requester/phone",
    "serial_number",
    "channel",
    "category",
    "priority_requested",
    "subject",
    "description",
    "steps_to_reproduce",
    "example_url",
)
_AT_FIELD = {
    "serial_number_required": "serial_number",
    "serial_number_not_of_customer": "serial_number",
    "training_not_covered": "category",
}
"""The field to which an error without pointers belongs, by its code."""
_KEPT = (401, 404)
"""Statuses that no form can show."""
_PAGE = 25


@area.get("/area/cases")
async def list_cases(visit: Visit) -> Response:
    """All cases, newest first, or those that a search finds."""
    customer = await own_customer(visit)
    search = visit.query.get("q", "").strip()[:200]
    found = await visit.api.get(
        "/v1/cases", limit=_PAGE, q=search or None, cursor=visit.query.get("cursor")
    )
    return visit.render("area/cases.html", customer=customer, found=found, search=search)


@area.get("/area/cases/new")
async def new_case(visit: Visit) -> Response:
    """The form for a new case."""
    customer = await own_customer(visit)
    return await _form(visit, customer, Form({"channel": "email", "category": "problem"}))


@area.post("/area/cases/new")
async def open_case(visit: Visit) -> Response:
    """Open the case, or show the form again with what is wrong and all that was entered."""
    form = visit.form
    try:
        opened = await visit.api.send("POST", "/v1/cases", form.body(*_FIELDS), key=form.key)
    except Problem as problem:
        if problem.status in _KEPT:
            raise
        form.refuse(problem, _AT_FIELD)
        if problem.status == 503:
            return _form_alone(visit, form)
        return await _form(visit, await own_customer(visit), form, problem.status)
    return visit.redirect(path("/area/cases/{}", opened.body["number"]), opened="1")


async def _form(
    visit: Visit, customer: Mapping[str, Any], form: Form, status: int = 200
) -> Response:
    licences, person, rules = await asyncio.gather(
        visit.api.whole_list("/v1/licences"),
        visit.api.find(path("/v1/customers/{}", customer["id"])),
        visit.api.get("/v1/service-matrix"),
    )
    held = [one for one in licences or () if not (one["withdrawn_on"] or one["transferred_on"])]
    return visit.render(
        "area/new_case.html",
        status,
        customer=customer,
        form=form,
        licences=held,
        contacts=person["contacts"] if person else [],
        advice=rules["advice"],
    )


def _form_alone(visit: Visit, form: Form) -> Response:
    """The form while the service is away: nothing that was entered is lost."""
    nothing: dict[str, Any] = {"licences": [], "contacts": [], "advice": [], "customer": None}
    return visit.render("area/new_case.html", 503, form=form, **nothing)


@area.get("/area/cases/{number}")
async def show_case(visit: Visit) -> Response:
    """A case and its whole path."""
    return await _case(visit, Form())


@area.post("/area/cases/{number}/comments")
async def comment(visit: Visit) -> Response:
    """Add a comment, or show the case again with what is wrong."""
    number, form = visit.request.path_params["number"], visit.form
    try:
        await visit.api.send(
            "POST", path("/v1/cases/{}/comments", number), form.body("body"), key=form.key
        )
    except Problem as problem:
        if problem.status in _KEPT:
            raise
        form.refuse(problem)
        if problem.status == 503:
            return visit.render("area/comment.html", 503, form=form, number=number, customer=None)
        return await _case(visit, form, problem.status)
    return visit.redirect(path("/area/cases/{}", number), commented="1")


async def _case(visit: Visit, form: Form, status: int = 200) -> Response:
    customer = await own_customer(visit)
    number = visit.request.path_params["number"]
    case, timeline = await asyncio.gather(
        visit.api.get(path("/v1/cases/{}", number)),
        visit.api.whole_list(path("/v1/cases/{}/timeline", number)),
    )
    return visit.render(
        "area/case.html",
        status,
        customer=customer,
        case=case,
        form=form,
        timeline=_shown(timeline or (), customer["client"]),
        zone=await _zone(visit),
    )


async def _zone(visit: Visit) -> str:
    """The time zone of the vendor's first desk, by whose clock cases are shown."""
    desks = await visit.api.get("/v1/help-desks")
    return str(desks["items"][0]["time_zone"])


def _shown(timeline: Sequence[Mapping[str, Any]], own: str) -> list[dict[str, Any]]:
    """What the page tells of a case's path: steps, comments and time. `own` is the client whose
    tokens open the area: what it wrote comes from the customer."""
    shown: list[dict[str, Any]] = []
    for entry in timeline:
        kind, data = entry["type"], entry["data"]
        told: dict[str, Any] = {"at": entry["at"], "kind": kind, "own": entry["actor"] == own}
        if kind == "case.commented":
            told["text"] = data.get("body")
        elif kind == "time.recorded":
            told |= {"minutes": data["minutes"], "technician": data["technician"]}
        elif kind == "case.assigned":
            told["technician"] = data["after"]["technician"]
        elif kind == "case.changed" and "state" in data.get("after", {}):
            told |= {"kind": "state", "state": data["after"]["state"]}
        elif kind not in _STEPS:
            continue
        shown.append(told)
    return shown


_STEPS = {"case.opened", "case.closed", "case.reopened", "case.cancelled", "case.reclassified"}
