"""create_app: the parts put together, and no rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from app.housekeeping import Housekeeping
from app.http import answers, docs, problem_pages
from app.http.edge import Edge
from app.http.logs import configure
from app.http.metrics import Metrics
from app.policy.document import Policies, load
from app.routers import (
    cases,
    contracts,
    customers,
    entitlements,
    licences,
    operations,
    published,
    ticket_packs,
    tokens,
    usage,
)
from app.settings import Settings
from app.store.database import Database

_DESCRIPTION = "What support a software vendor's customer may use, on what grounds, what is left."
_ROUTERS = (
    customers.router,
    licences.router,
    contracts.router,
    ticket_packs.router,
    cases.router,
    published.router,
    tokens.router,
    usage.router,
)


def create_app(
    settings: Settings, *, policies: Policies | None = None, database: Database | None = None
) -> FastAPI:
    """The service on the database of `settings`, or on one that the caller opens and closes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        own = app.state.database = database or Database(settings)
        beside = [
            asyncio.create_task(app.state.housekeeping.run(own)),
            asyncio.create_task(app.state.metrics.watch(own)),
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await app.state.housekeeping.tidy(own)
            if database is None:
                await own.close()

    app = FastAPI(
        title="Assistenza",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its logs quote exceptions, and so perhaps a customer's words; asking costs every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.housekeeping = Housekeeping()
    app.state.metrics = Metrics()
    app.state.policies = policies or load(settings.policy_dir)
    if database is not None:
        app.state.database = database
    answers.install(app)
    _describe(app)
    # The questions asked most, past FastAPI's matching of routers within routers: a twentieth.
    app.router.routes.extend(entitlements.router.routes)
    for router in _ROUTERS:
        app.include_router(router, prefix="/v1")
    app.include_router(operations.router)
    app.include_router(problem_pages.router)
    docs.install(app)
    app.add_middleware(Edge, metrics=app.state.metrics)
    return app


def _describe(app: FastAPI) -> None:
    """The OpenAPI document is FastAPI's, with the problems' shapes and how to sign in."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            answers.add_schemas(document)
            document["components"]["securitySchemes"] = {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token made by `assistenza keys create`.",
                }
            }
            for operation in document["paths"].values():
                for method in operation.values():
                    method.pop("x-assistenza", None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def from_environment() -> FastAPI:
    """What each process that serves runs: everything it needs is in its environment."""
    settings = Settings()
    configure(settings.log_level)
    return create_app(settings)
