"""Deleting a contact, and erasing what is held about a person (R43).

Neither can be undone. What an erasure would take out is shown first, of the API's own export.
"""

from typing import Any

from starlette.responses import Response

from app.pages.api import Problem, path
from app.pages.forms import Form
from app.pages.staff.site import Person, staff, whoami
from app.pages.visit import Visit

_SOUGHT = ("contact_id", "name", "email", "phone")
_SHOWN = 200


def _contact(visit: Visit) -> str:
    names = visit.request.path_params
    return path("/v1/customers/{}/contacts/{}", names["name"], names["contact"])


@staff.get("/office/customers/{name}/contacts/{contact}/deletion")
async def show_contact(visit: Visit) -> Response:
    """The contact, and a button that deletes it."""
    who = await whoami(visit)
    found = await visit.api.read(_contact(visit))
    visit.form = Form({"etag": found.headers["etag"]})
    return _contact_page(visit, who, found.body)


@staff.post("/office/customers/{name}/contacts/{contact}/deletion")
async def delete_contact(visit: Visit) -> Response:
    """Delete it, unless somebody has changed it since it was shown."""
    who, form = await whoami(visit), visit.form
    try:
        await visit.api.delete(_contact(visit), if_match=form["etag"])
    except Problem as problem:
        if problem.status in (401, 404):
            raise
        found = await visit.api.read(_contact(visit))
        form.values["etag"] = found.headers["etag"]
        form.refuse(problem)
        return _contact_page(visit, who, found.body, problem.status)
    return visit.redirect(path("/office/customers/{}", visit.request.path_params["name"]), done="1")


def _contact_page(visit: Visit, who: Person, contact: Any, status: int = 200) -> Response:
    facts = [contact["name"], contact["email"], *contact["phones"]]
    return visit.render(
        "office/remove.html",
        status,
        who=who,
        title="remove.contact",
        hint="remove.contact_hint",
        facts=[one for one in facts if one],
        back=path("/office/customers/{}", visit.request.path_params["name"]),
    )


@staff.get("/office/customers/{name}/erasure")
async def show_erasure(visit: Visit) -> Response:
    """The form for the person who is meant."""
    who = await whoami(visit)
    values = {
        name: visit.query[name][:254] for name in ("contact_id", "name") if name in visit.query
    }
    visit.form = Form(values)
    return await _erasure_page(visit, who)


@staff.post("/office/customers/{name}/erasure")
async def erase(visit: Visit) -> Response:
    """Show what would be taken out; or, after that, take it out and tell what has stayed."""
    who, form = await whoami(visit), visit.form
    data = path("/v1/customers/{}/personal-data", visit.request.path_params["name"])
    sought = form.body(*_SOUGHT)
    tries = form["phase"] != "do"
    try:
        if tries:
            held = (await visit.api.send("POST", f"{data}/export", sought)).body["held"]
            return await _erasure_page(visit, who, held=held)
        erased = await visit.api.send("POST", f"{data}/erasure", sought, key=form.key)
    except Problem as problem:
        if problem.status == 401:
            raise
        form.refuse(problem)
        return await _erasure_page(visit, who, problem.status)
    visit.form = Form()
    return await _erasure_page(visit, who, erased=erased.body)


async def _erasure_page(visit: Visit, who: Person, status: int = 200, **shown: Any) -> Response:
    record = await visit.api.get(path("/v1/customers/{}", visit.request.path_params["name"]))
    known: dict[str, Any] = {"held": None, "erased": None}
    return visit.render(
        "office/erasure.html", status, who=who, record=record, most=_SHOWN, **{**known, **shown}
    )
