"""The short way of the questions that arrive most often, past the layers of the frameworks.

Starlette and FastAPI look for the route of a request among all of them, in order, and open three
stacks for dependencies and files that a `LookupRoute` does not have (DECISION-fast-read.md). The
route itself is the same, and so are its answers.
"""

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors.handlers import ANSWERED, on_error
from app.http.lookups import LookupRoute
from app.http.routes import Handler


class ShortWay:
    """Answers GET of the lookups among `routes`, and passes every other request on.

    It stands where the routers begin: inside of every other middleware of ours.
    """

    def __init__(self, app: ASGIApp, routes: list[BaseRoute]) -> None:
        self._app = app
        self._lookups: dict[str, tuple[LookupRoute, Handler]] = {
            route.path: (route, route.get_route_handler())
            for route in routes
            if isinstance(route, LookupRoute) and route.methods == {"GET"}
        }

    @property
    def paths(self) -> set[str]:
        """The paths that it answers."""
        return set(self._lookups)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "GET" and not scope.get("root_path"):
            found = self._lookups.get(scope["path"])
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], handler = found
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except ANSWERED as error:
            response = await on_error(request, error)
        await response(scope, receive, send)
