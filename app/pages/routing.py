"""How pages are declared, and what they answer when something fails.

area = Pages(AREA)

@area.get("/area/cases/{number}")
async def show_case(visit: Visit) -> Response: ...
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from app.http import logs
from app.http.context import record_of
from app.http.languages import LANGUAGES
from app.pages import sessions
from app.pages.api import Client, Problem
from app.pages.sessions import ForgedRequest, Session
from app.pages.visit import Visit

Handler = Callable[[Visit], Awaitable[Response]]
log = structlog.get_logger(__name__)


class PageRoute(Route):
    """A route of a page: no part of the API, and not in its document."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        # For the log and the metrics, which name requests by their route.
        return match, {**found, "route": self}


class Pages:
    """Pages of one kind of session. `install` adds them to the application."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._declared: list[tuple[str, str, Handler, bool, bool]] = []

    def get(self, path: str, *, signed_in: bool = True) -> Callable[[Handler], Handler]:
        """GET, and HEAD. Without a session it answers that there is none, if `signed_in`."""
        return self._declare("GET", path, signed_in)

    def post(
        self, path: str, *, signed_in: bool = True, with_files: bool = False
    ) -> Callable[[Handler], Handler]:
        """POST of a form, received and checked for forgery, which is `visit.form`."""
        return self._declare("POST", path, signed_in, with_files)

    def _declare(
        self, method: str, path: str, signed_in: bool, with_files: bool = False
    ) -> Callable[[Handler], Handler]:
        def declare(handler: Handler) -> Handler:
            self._declared.append((method, path, handler, signed_in, with_files))
            return handler

        return declare

    def install(self, app: FastAPI, client: Client) -> None:
        """Add every page to the application."""
        for method, path, handler, signed_in, with_files in self._declared:
            endpoint = _endpoint(handler, client, self._session, signed_in, with_files)
            route = PageRoute(path, endpoint, methods=[method], include_in_schema=False)
            app.router.routes.append(route)


def _endpoint(
    handler: Handler, client: Client, session: Session, signed_in: bool, with_files: bool
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        visit = Visit(request, client, session)
        try:
            async with asyncio.timeout(visit.settings.request_timeout):
                chosen = visit.query.get("language")
                if chosen is not None and request.method in ("GET", "HEAD"):
                    return _choose(visit, chosen)
                if request.method == "POST":
                    await visit.receive_form(signed_in=signed_in, with_files=with_files)
                if signed_in and visit.token is None:
                    raise Problem(401, {"code": "unauthorized"})
                return await handler(visit)
        except Problem as problem:
            record_of(request.scope).problem = problem.code or None
            return visit.refused(problem)
        except ForgedRequest:
            return visit.refused(Problem(403, {"code": "forged_request"}))
        except HTTPException as error:
            return visit.refused(Problem(error.status_code, {}))
        except TimeoutError:
            return visit.refused(Problem(503, {}))
        except Exception as error:
            log.error("page_failed", error=type(error).__name__, at=logs.frames(error))
            return visit.refused(Problem(500, {}))

    return answer


def _choose(visit: Visit, language: str) -> Response:
    """Remember a language, and lead back to the page without the parameter."""
    query = {name: value for name, value in visit.query.items() if name != "language"}
    response = visit.redirect(visit.request.scope["path"], **query)
    if language in LANGUAGES:
        sessions.keep_language(response, visit.request, language)
    return response
