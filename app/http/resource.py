"""How a router declares its calls: one decorator for each kind of call.

    contracts = Resource("Contracts")

    @contracts.creates("/contracts", Contract, "contracts:write", EditorLicenceRequired)
    async def create_contract(context: Ctx, body: NewContract) -> Response: ...

The kind, the path and the errors named give the status, the headers and every documented response.
`sends` names headers of the successful answer besides those that the kind of call implies.
The function's name is the operation's id. The first line of its docstring is the summary, what
follows after a blank line the description.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.errors import (
    AmbiguousLookup,
    AnonymousCaller,
    CustomerNotFound,
    InvalidInput,
    NotFound,
    ServiceError,
    TooManyRequests,
)
from app.http import tables
from app.http.corrections import DryRun
from app.http.fields import Input
from app.http.following import FollowRoute
from app.http.lookups import LookupHandler, LookupRoute, Question, check_handler
from app.http.openapi import responses as documented
from app.http.paging import Page
from app.http.routes import ExchangeRoute, OpenRoute, ReadRoute, ScopedRoute, WriteRoute, limits

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Decorator = Callable[[Endpoint], Endpoint]
Errors = type[ServiceError]
# Options that go to the class of a route and not to FastAPI.
_OF_ROUTES = ("stores_answers", "question", "offers")


class Resource:
    """The calls of one resource, under `prefix`. `install` adds them to the application."""

    def __init__(self, tag: str, prefix: str = "/v1") -> None:
        self.tag = tag
        self.prefix = prefix
        self._declared: list[Callable[[FastAPI], None]] = []
        self._heads: list[Callable[[FastAPI], None]] = []

    def install(self, app: FastAPI) -> None:
        """Add every call to the application's own router: nested routers cost each request."""
        for declare in self._declared:
            declare(app)

    def install_heads(self, app: FastAPI) -> None:
        """Add HEAD to every GET: the same route, whose body the server leaves out.

        Install them after all other routes: routes are tried in order, and few clients send HEAD.
        The OpenAPI document leaves them out, because they would only repeat GET.
        """
        for declare in self._heads:
            declare(app)

    def reads(
        self,
        path: str,
        model: type[BaseModel] | None,
        scope: str | None,
        *errors: Errors,
        etag: bool = True,
        **options: Any,
    ) -> Decorator[Any]:
        """GET of one thing, with an entity tag unless `etag` is False."""
        responses = documented.reads(*_found_in(path), *errors)
        if etag:
            responses |= documented.CACHED
        return self._call("GET", path, ReadRoute, scope, responses, model, **options)

    def tabulates(
        self, path: str, model: type[BaseModel], scope: str, *errors: Errors, **options: Any
    ) -> Decorator[Any]:
        """GET of what is also a table, with an entity tag. Its query string is a `TableQuery`."""
        return self.reads(
            path,
            model,
            scope,
            *errors,
            # `format` goes before `Accept`: the handler negotiates.
            offers=(),
            responses=tables.ANSWERED,
            **options,
        )

    def opens(
        self,
        path: str,
        model: type[BaseModel],
        *errors: Errors,
        etag: bool = True,
        strict_query: bool = True,
        **options: Any,
    ) -> Decorator[Any]:
        """GET that needs no token. `strict_query=False` ignores unknown query parameters."""
        faults = [InvalidInput] if strict_query else []
        responses = documented.problems(*_found_in(path), *errors, *faults)
        if etag:
            responses |= documented.CACHED
        route = OpenRoute if strict_query else APIRoute
        return self._call("GET", path, route, None, responses, model, **options)

    def exchanges(self, path: str, model: type[BaseModel], *errors: Errors) -> Decorator[Any]:
        """POST that needs no token and gives something for a secret in its body."""
        responses = documented.exchanges(*errors)
        return self._call("POST", path, ExchangeRoute, None, responses, model)

    def looks_up(
        self,
        path: str,
        model: type[BaseModel],
        scope: str,
        question: type[Question],
        *errors: Errors,
        etag: bool = False,
        route: type[LookupRoute] = LookupRoute,
        **options: Any,
    ) -> Callable[[LookupHandler[Question]], LookupHandler[Question]]:
        """A question about one customer that a lookup names: GET with `question` as its query
        string, or POST with it as its body (an `Input`). A `route` of its own answers lookups that
        do not name one customer by itself.

        Raises TypeError for a handler that does not take the `AdmittedLookup[question]`.
        """
        if route is LookupRoute:
            errors = (CustomerNotFound, AmbiguousLookup, AnonymousCaller, *errors)
        in_body = issubclass(question, Input)
        if in_body:
            responses = documented.acts(*errors, etag=False)
        else:
            responses = documented.reads(*errors) | (documented.CACHED_IF_NOW if etag else {})
        declare = self._call(
            "POST" if in_body else "GET",
            path,
            route,
            scope,
            responses,
            model,
            question=question,
            sends=("Content-Language",),
            **options,
        )

        def check_and_declare(handler: LookupHandler[Question]) -> LookupHandler[Question]:
            check_handler(handler, question)
            declare(handler)
            return handler

        return check_and_declare

    def follows(
        self,
        path: str,
        model: type[BaseModel] | None,
        scope: str,
        *errors: Errors,
        **options: Any,
    ) -> Decorator[Any]:
        """GET that may wait for news, or goes on with them."""
        responses = documented.reads(NotFound, TooManyRequests, *errors)
        return self._call("GET", path, FollowRoute, scope, responses, model, **options)

    def lists(
        self, path: str, item: type[BaseModel], scope: str | None, *errors: Errors, **options: Any
    ) -> Decorator[Any]:
        """GET of a list, page by page."""
        page = Page[item]  # type: ignore[valid-type]
        return self.reads(path, page, scope, *errors, etag=False, **options)

    def creates(
        self,
        path: str,
        model: type[BaseModel],
        scope: str,
        *errors: Errors,
        etag: bool = True,
        **options: Any,
    ) -> Decorator[Any]:
        """POST that makes something: 201 with its address, and its tag unless `etag` is False."""
        responses = documented.creates(*_found_in(path), *errors, etag=etag)
        return self._call(
            "POST", path, WriteRoute, scope, responses, model, status_code=201, **options
        )

    def acts(
        self,
        path: str,
        model: type[BaseModel],
        scope: str,
        *errors: Errors,
        etag: bool = True,
        **options: Any,
    ) -> Decorator[Any]:
        """POST that changes what exists and answers with it; its tag too unless `etag` is False."""
        responses = documented.acts(*_found_in(path), *errors, etag=etag)
        return self._call("POST", path, WriteRoute, scope, responses, model, **options)

    def begins(
        self, path: str, model: type[BaseModel], scope: str, *errors: Errors
    ) -> Decorator[Any]:
        """POST that begins what goes on after the answer: 202 with the address of its progress."""
        responses = documented.begins(*_found_in(path), *errors)
        return self._call("POST", path, WriteRoute, scope, responses, model, status_code=202)

    def corrects(
        self, path: str, model: type[BaseModel], scope: str, *errors: Errors
    ) -> Decorator[Any]:
        """POST that corrects what was recorded, and answers with it as it is then.

        With `dry_run` it answers what would change instead (R40).
        """
        either = model | DryRun
        responses = documented.acts(*_found_in(path), *errors)
        language = ("Content-Language",)
        return self._call("POST", path, WriteRoute, scope, responses, either, sends=language)

    def patches(
        self, path: str, model: type[BaseModel], scope: str, *errors: Errors, **options: Any
    ) -> Decorator[Any]:
        """PATCH (RFC 7396) that honours `If-Match`."""
        responses = documented.patches(*_found_in(path), *errors)
        return self._call("PATCH", path, WriteRoute, scope, responses, model, **options)

    def puts(
        self, path: str, model: type[BaseModel], scope: str, *errors: Errors, **options: Any
    ) -> Decorator[Any]:
        """PUT that creates or replaces, and honours `If-Match` and `If-None-Match`."""
        responses = documented.puts(model, *errors)
        return self._call("PUT", path, WriteRoute, scope, responses, model, **options)

    def deletes(self, path: str, scope: str, *errors: Errors, **options: Any) -> Decorator[Any]:
        """DELETE that honours `If-Match`: 204."""
        responses = documented.deletes(*_found_in(path), *errors)
        return self._call(
            "DELETE",
            path,
            WriteRoute,
            scope,
            responses,
            None,
            status_code=204,
            offers=(),
            **options,
        )

    def _call(
        self,
        method: str,
        path: str,
        route: type[APIRoute],
        scope: str | None,
        derived: documented.Responses,
        model: Any,
        *,
        sends: Sequence[str] = (),
        **options: Any,
    ) -> Decorator[Any]:
        own = {name: options.pop(name) for name in _OF_ROUTES if name in options}
        if issubclass(route, WriteRoute) and limits(scope, **own):
            derived |= documented.problems(TooManyRequests)
        responses = derived | options.pop("responses", {})
        if issubclass(route, ScopedRoute):
            own["scope"] = scope
        responses = documented.sends(responses, options.get("status_code", 200), *sends)

        def declare(endpoint: Endpoint) -> Endpoint:
            def add(app: FastAPI, method: str = method, in_schema: bool = True) -> None:
                app.router.add_api_route(
                    self.prefix + path,
                    endpoint,
                    methods=[method],
                    include_in_schema=in_schema,
                    tags=[self.tag],
                    operation_id=endpoint.__name__,
                    response_model=model,
                    responses=responses,
                    route_class_override=partial(route, **own),  # type: ignore[arg-type]
                    **options,
                )

            self._declared.append(add)
            if method == "GET":
                self._heads.append(partial(add, method="HEAD", in_schema=False))
            return endpoint

        return declare


def _found_in(path: str) -> list[Errors]:
    # What a path names may not exist.
    return [NotFound] if "{" in path else []
