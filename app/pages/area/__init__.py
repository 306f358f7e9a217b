"""The reserved area: what a customer has, and its cases."""

from starlette.responses import Response

from app.pages.api import Problem
from app.pages.area import cases, entering, movements, overview
from app.pages.area.site import area
from app.pages.visit import Visit

__all__ = ["area", "cases", "entering", "movements", "overview"]


@area.get("/area/{rest:path}", signed_in=False)
async def nothing_here(visit: Visit) -> Response:
    """Every other address below /area."""
    raise Problem(404, {"code": "not_found"})
