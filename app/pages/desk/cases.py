"""A case with its whole path, and every step of work on it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from app.pages.api import Problem, path
from app.pages.forms import Form
from app.pages.staff.site import names_of, staff, typed, whoami, zone
from app.pages.visit import Visit

AT_FIELD = {
    "serial_number_required": "serial_number",
    "serial_number_not_of_customer": "serial_number",
    "training_not_covered": "category",
}
"""The field to which an error without pointers belongs, by its code."""
_CHANGED = ("priority", "category", "technician", "subject", "product", "product_version")
_WHOLE = ("minutes",)
_YES = ("internal",)


_STEPS = {
    "comments": ("body", "internal"),
    "time-entries": ("technician", "minutes", "note", "internal"),
    "transition": ("to",),
    "closure": ("resolution",),
    "reopening": ("reason",),
    "cancellation": ("reason",),
    "binding": ("pay_with",),
}
"""The fields of each step of work, by the last part of its path."""


class _Forms(dict[str, Form]):
    """The form of each step: a new one, unless it was refused. Each has a key of its own."""

    def __missing__(self, step: str) -> Form:
        self[step] = Form()
        return self[step]


async def take(visit: Visit, number: str, technician: str, etag: str, key: str) -> None:
    """Take a case, and begin to work on it if nobody has. Raises Problem (412) if it changed."""
    taken = await visit.api.send(
        "PATCH", path("/v1/cases/{}", number), {"technician": technician}, if_match=etag
    )
    if taken.body["state"] == "open":
        await visit.api.send(
            "POST",
            path("/v1/cases/{}/transition", number),
            {"to": "in_progress"},
            key=f"{key}-taken",
        )


@staff.get("/desk/cases/{number}")
async def show_case(visit: Visit) -> Response:
    """The case as it stands."""
    return await _case(visit, _Forms())


@staff.post("/desk/cases/{number}/take")
async def take_case(visit: Visit) -> Response:
    """Take the case."""
    who, number, form = await whoami(visit), visit.request.path_params["number"], visit.form
    try:
        await take(visit, number, who.technician, form["etag"], form.key)
    except Problem as problem:
        return await _refused(visit, "take", problem)
    return visit.redirect(path("/desk/cases/{}", number), done="take")


@staff.post("/desk/cases/{number}/change")
async def change_case(visit: Visit) -> Response:
    """Change what stands on the case, unless somebody else has changed it meanwhile."""
    number, form = visit.request.path_params["number"], visit.form
    body = {name: form[name].strip() or None for name in _CHANGED if name in form.values}
    try:
        await visit.api.send(
            "PATCH", path("/v1/cases/{}", number), body, if_match=form["etag"] or None
        )
    except Problem as problem:
        return await _refused(visit, "change", problem)
    return visit.redirect(path("/desk/cases/{}", number), done="change")


@staff.post("/desk/cases/{number}/time-entries/{entry}/reversal")
async def reverse_time(visit: Visit) -> Response:
    """Take back time that was noted by mistake."""
    names, form = visit.request.path_params, visit.form
    address = path("/v1/cases/{}/time-entries/{}/reversal", names["number"], names["entry"])
    try:
        await visit.api.send("POST", address, form.body("reason"), key=form.key)
    except Problem as problem:
        return await _refused(visit, f"reversal-{names['entry']}", problem)
    return visit.redirect(path("/desk/cases/{}", names["number"]), done="reversal")


@staff.post("/desk/cases/{number}/{step}")
async def work(visit: Visit) -> Response:
    """One step of work on the case."""
    number, name = (visit.request.path_params[one] for one in ("number", "step"))
    form = visit.form
    fields = _STEPS.get(name)
    if fields is None:
        raise Problem(404, {"code": "not_found"})
    body = typed(form, *fields, whole=_WHOLE, yes=_YES)
    try:
        await visit.api.send("POST", path(f"/v1/cases/{{}}/{name}", number), body, key=form.key)
    except Problem as problem:
        return await _refused(visit, name, problem)
    return visit.redirect(path("/desk/cases/{}", number), done=name)


async def _refused(visit: Visit, step: str, problem: Problem) -> Response:
    """The case as it stands, with what was entered and why it was not done."""
    if problem.status in (401, 404):
        raise problem
    visit.form.refuse(problem, AT_FIELD)
    if problem.status == 503:
        return visit.render(
            "desk/kept.html", 503, who=None, number=visit.request.path_params["number"]
        )
    return await _case(visit, _Forms({step: visit.form}), problem.status, step)


async def _case(visit: Visit, forms: _Forms, status: int = 200, refused: str = "") -> Response:
    who, number = await whoami(visit), visit.request.path_params["number"]
    address = path("/v1/cases/{}", number)
    answer, timeline, clock_of = await asyncio.gather(
        visit.api.read(address), visit.api.whole_list(f"{address}/timeline"), zone(visit)
    )
    case = answer.body
    names = await names_of(visit, [case["customer_id"]])
    change = forms["change"]
    if not change.is_wrong:
        change.values = {name: case[name] or "" for name in _CHANGED}
    if not forms["time-entries"].is_wrong:
        forms["time-entries"].values = {"technician": who.technician}
    return visit.render(
        "desk/case.html",
        status,
        who=who,
        case=case,
        etag=answer.headers["etag"],
        owner=names.get(case["customer_id"]),
        forms=forms,
        refused=refused,
        conflict=_conflict(change, case),
        timeline=_told(timeline or ()),
        zone=clock_of,
    )


def _conflict(form: Form, case: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What stands now beside what was entered, where they differ, if somebody else came first."""
    if form.problem is None or form.problem.status != 412:
        return []
    return [
        (name, case[name] or "", form[name])
        for name in _CHANGED
        if name in form.values and form[name] != (case[name] or "")
    ]


def _told(timeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The path of a case for staff, newest first: nothing is left out."""
    reversed_ids = {
        one["data"].get("time_entry_id") for one in timeline if one["type"] == "time.reversed"
    }
    told = []
    for entry in timeline:
        data = entry["data"]
        after = data.get("after") or {}
        before = data.get("before") or {}
        told.append(
            {
                "at": entry["at"],
                "kind": entry["type"],
                "actor": entry["actor"],
                "data": data,
                "reversed": data.get("time_entry_id") in reversed_ids,
                "changes": [(name, before.get(name), value) for name, value in after.items()],
            }
        )
    return told[::-1]
