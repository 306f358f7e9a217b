"""The way in by a sign-in link, and the way out.

Opening a link uses nothing up: mail scanners open links, and so do previews. Its page has a button,
and only the button redeems the code.
"""

import re
from datetime import datetime

from starlette.responses import Response

from app.http.public_address import SIGN_IN_PATH
from app.pages import sessions
from app.pages.api import Problem
from app.pages.area.site import area
from app.pages.sessions import AREA
from app.pages.visit import Visit

_code = re.compile(r"[A-Za-z0-9_-]{1,100}")


@area.get(SIGN_IN_PATH + "{code}", signed_in=False)
async def enter(visit: Visit) -> Response:
    """The page with the button."""
    code = visit.request.path_params["code"]
    if not _code.fullmatch(code):
        raise Problem(404, {"code": "not_found"})
    return visit.render("area/enter.html", code=code)


@area.post(SIGN_IN_PATH + "{code}", signed_in=False)
async def entered(visit: Visit) -> Response:
    """The button: redeem the code and begin the session."""
    body = {"code": visit.request.path_params["code"]}
    try:
        redeemed = await visit.api.send("POST", "/v1/sign-in-links/redemption", body)
    except Problem as problem:
        if problem.status == 422:
            raise Problem(404, {"code": "not_found"}) from None
        if problem.status == 410 and await _has_session(visit):
            # The link was followed a second time by the browser in which it had opened the area.
            return visit.redirect("/area")
        raise
    expires_at = datetime.fromisoformat(redeemed.body["expires_at"])
    response = visit.redirect("/area")
    sessions.begin(response, visit.request, AREA, redeemed.body["token"], expires_at)
    return response


async def _has_session(visit: Visit) -> bool:
    if visit.token is None:
        return False
    try:
        await visit.api.get("/v1/token")
    except Problem:
        return False
    return True


@area.post("/area/sign-out")
async def sign_out(visit: Visit) -> Response:
    """Let the browser forget the session."""
    response = visit.render("failed.html", kind="left", session=AREA, said="")
    sessions.end(response, visit.request, AREA)
    return response
