"""The short way from the middleware to the route of a call, past the layers of the frameworks.

Starlette and FastAPI look for the route of a request among all of them, in order, and every step of
a handler passes through ten more frames on its way (DECISION-fast-read.md). The route itself is the
same, and so are its answers.
"""

from contextlib import AsyncExitStack
from typing import NamedTuple

from starlette.convertors import StringConvertor
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors.handlers import ANSWERED, on_error
from app.http.lookups import LookupRoute
from app.http.routes import Handler
from app.http.strict_query import StrictRoute

_STACKS = ("fastapi_middleware_astack", "fastapi_inner_astack", "fastapi_function_astack")


class _Taken(NamedTuple):
    route: StrictRoute
    handler: Handler
    bare: bool
    """FastAPI takes no part in its handler, and needs no stack for it."""


class ShortWay:
    """Answers the calls of the API among `routes`, and passes every other request on.

    It stands where the routers begin: inside of every other middleware of ours. Dependencies end
    before the answer is sent, as none of ours needs to live longer.
    """

    def __init__(self, app: ASGIApp, routes: list[BaseRoute]) -> None:
        self._app = app
        self._routes: dict[tuple[str, int, str], list[_Taken]] = {}
        for route in routes:
            if isinstance(route, StrictRoute) and _is_plain(route):
                bare = isinstance(route, LookupRoute) and route.methods == {"GET"}
                taken = _Taken(route, route.get_route_handler(), bare)
                for method in route.methods or ():
                    self._routes.setdefault(_key(method, route.path), []).append(taken)

    def find(self, scope: Scope) -> _Taken | None:
        """The first route of the method that matches the path; None for the long way."""
        path: str = scope["path"]
        for taken in self._routes.get(_key(scope["method"], path), ()):
            found = taken.route.path_regex.match(path)
            if found is not None:
                scope["path_params"] = found.groupdict()
                return taken
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and not scope.get("root_path"):
            found = self.find(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = found.route
        scope["endpoint"] = found.route.endpoint
        request = Request(scope, receive, send)
        has_begun = False

        async def begin(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            if found.bare:
                response = await found.handler(request)
            else:
                async with AsyncExitStack() as stack:
                    scope.update(dict.fromkeys(_STACKS, stack))
                    response = await found.handler(request)
            # A stream may be refused too, until its answer begins.
            await response(scope, receive, begin)
        except ANSWERED as error:
            if has_begun:
                raise
            response = await on_error(request, error)
            await response(scope, receive, send)


def _is_plain(route: StrictRoute) -> bool:
    """Whether it is below `/v1`, and all parameters of its path are single segments."""
    of_segments = (isinstance(one, StringConvertor) for one in route.param_convertors.values())
    return route.path.startswith("/v1/") and all(of_segments)


def _key(method: str, path: str) -> tuple[str, int, str]:
    """What a path and the template that it matches have in common: method, number of segments, and
    the segment after `/v1`, which names the resource."""
    segments = path.split("/", 3)
    return method, path.count("/"), segments[2] if len(segments) > 2 else path
