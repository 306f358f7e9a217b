"""A tiny application with the handlers and the edge, no database."""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query

from app import errors
from app.http import fields, paging
from app.http.errors import handlers
from app.http.middleware import RequestMiddleware
from app.http.routes import OpenRoute
from app.policy.decide import decide
from app.policy.document import load
from app.policy.facts import Facts
from app.routers.problems import problems


class Contact(fields.Input):
    name: fields.Name
    email: fields.Email | None = None


class Body(fields.Input):
    name: fields.Name
    minutes: fields.Minutes = 1
    on: fields.CivilDate | None = None
    at: fields.Instant | None = None
    owner: fields.Id | None = None
    contacts: list[Contact] = []
    refs: dict[fields.Code, fields.Name] = {}


class Patch(fields.MergePatch):
    name: fields.Name = fields.absent()
    vat_number: fields.Code | None = fields.absent()


class Things(paging.PageQuery):
    at: fields.QueryInstant | None = None
    open: fields.QueryFlag | None = None
    country: fields.Country | None = None


def _not_entitled() -> errors.NotEntitled:
    policies = load()
    nobody = Facts()
    decision = decide(policies, nobody, date(2026, 11, 23))
    error = errors.NotEntitled(decision.answer.services[3], decision.standing.policy)
    error.details["status"] = 1
    return error


def make_app() -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, redirect_slashes=False)
    handlers.install(app)
    problems.install(app)
    router = APIRouter(prefix="/v1", route_class=OpenRoute)

    @router.post("/things")
    async def create(body: Body) -> dict[str, Any]:
        return body.model_dump(mode="json")

    @router.get("/things")
    async def things(
        query: Annotated[Things, Query()], tag: Annotated[list[str] | None, Query()] = None
    ) -> dict[str, Any]:
        return {**query.model_dump(mode="json"), "tag": tag}

    @router.get("/things/{key}")
    async def thing(key: fields.Key) -> str:
        return key

    @router.patch("/things/{key}")
    async def change(key: fields.Key, body: Patch) -> dict[str, Any]:
        return body.changes()

    @router.get("/raise/{code}")
    async def refuse(code: str) -> None:
        special: dict[str, Callable[[], Exception]] = {
            "wrong_state": lambda: errors.WrongState("closed", "in_progress"),
            "insufficient_scope": lambda: errors.InsufficientScope("cases:work"),
            "wrong_token": lambda: errors.Unauthorized(token_sent=True),
            "not_entitled": _not_entitled,
            "crash": lambda: RuntimeError("the customer's own words"),
        }
        raise special.get(code, errors.by_code().get(code, errors.NotFound))()

    app.include_router(router)
    app.add_middleware(RequestMiddleware)
    return app
