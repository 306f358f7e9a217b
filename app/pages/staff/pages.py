"""All pages of staff, in the order in which they are matched."""

from starlette.responses import Response

from app.pages import dashboard, desk, office
from app.pages.api import Problem
from app.pages.staff import entering
from app.pages.staff.site import staff, whoami
from app.pages.visit import Visit

__all__ = ["dashboard", "desk", "entering", "office", "staff"]


@staff.get("/desk/nothing")
async def nothing_to_see(visit: Visit) -> Response:
    """For a key whose scopes open no page."""
    return visit.render("staff/nothing.html", who=await whoami(visit))


@staff.get("/desk/{rest:path}")
@staff.get("/dashboard/{rest:path}")
@staff.get("/office/{rest:path}")
async def nothing_here(visit: Visit) -> Response:
    """Every other address of staff."""
    raise Problem(404, {"code": "not_found"})
