"""Adds all pages to the application."""

from fastapi import FastAPI

from app.pages import assets
from app.pages.api import Client
from app.pages.area import area
from app.pages.routing import PageRoute
from app.pages.staff.pages import staff

_PAGES = (area, staff)
"""The last one answers every address below its own that no page has."""


def install(app: FastAPI) -> None:
    """Add the pages, after all calls of the API: those are matched first."""
    client = Client(app)
    for pages in _PAGES:
        pages.install(app, client)
    path = assets.PATH + "{name}"
    app.router.routes.append(PageRoute(path, assets.serve, include_in_schema=False))
