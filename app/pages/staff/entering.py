"""Signing in with an API key, once, and signing out."""

import re

from starlette.responses import Response

from app.pages import sessions
from app.pages.api import Problem
from app.pages.sessions import AREA, DESK
from app.pages.staff.site import TECHNICIAN, Person, person, staff, whoami
from app.pages.visit import Visit

_key = re.compile(r"[A-Za-z0-9_-]{1,200}")
_MOST = 120


@staff.get("/welcome", signed_in=False)
async def welcome(visit: Visit) -> Response:
    """Where `/` leads a browser: to the pages of whoever is signed in, else to both ways in."""
    if visit.token is not None:
        try:
            return visit.redirect(_first(await whoami(visit)))
        except Problem as problem:
            if problem.status != 401:
                raise
    if sessions.token_of(visit.request, AREA) is not None:
        return visit.redirect("/area")
    return visit.render("staff/welcome.html")


@staff.get("/login", signed_in=False)
async def login(visit: Visit) -> Response:
    """The form, or the way in for whoever is signed in already."""
    if visit.token is not None:
        try:
            return visit.redirect(_first(await whoami(visit)))
        except Problem as problem:
            if problem.status != 401:
                raise
    return visit.render("staff/login.html", kind=None, next=visit.query.get("next", "")[:600])


@staff.post("/login", signed_in=False)
async def signed_in(visit: Visit) -> Response:
    """Begin a session with a key that is valid and belongs to staff."""
    form = visit.form
    # The page never shows the key again.
    key = form.values.pop("key", "").strip()
    try:
        if not _key.fullmatch(key):
            raise Problem(401, {"code": "unauthorized"})
        technician = form["technician"].strip()[:_MOST]
        who = person(await visit.api_of(key).get("/v1/token"), technician)
    except Problem as problem:
        if problem.status not in (401, 503):
            raise
        said = "login.wrong_key" if problem.status == 401 else "failed.unavailable.text"
        form.errors["key"] = [visit.t(said)]
        return visit.render(
            "staff/login.html", 422 if problem.status == 401 else 503, kind=None, next=form["next"]
        )
    path, _, query = sessions.return_path(form["next"], "").partition("?")
    response = visit.redirect(path or _first(who))
    if path and query:
        response.headers["location"] += f"?{query}"
    sessions.begin(response, visit.request, DESK, key)
    sessions.remember(response, visit.request, DESK, TECHNICIAN, technician)
    return response


def _first(who: Person) -> str:
    """The first page that the scopes of a key open."""
    return who.places[0].path if who.places else "/desk/nothing"


@staff.post("/sign-out")
async def sign_out(visit: Visit) -> Response:
    """Let the browser forget the key."""
    response = visit.render("staff/login.html", kind="left", next="")
    sessions.end(response, visit.request, DESK)
    return response
