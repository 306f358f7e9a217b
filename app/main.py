"""create_app: the parts put together, and no rules."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.http import answers
from app.http.edge import Edge
from app.policy.document import Policies, load
from app.routers import entitlements, operations
from app.settings import Settings
from app.store.database import Database

_DESCRIPTION = "What support a software vendor's customer may use, on what grounds, what is left."
_ROUTERS = (entitlements.router,)


def create_app(
    settings: Settings, *, policies: Policies | None = None, database: Database | None = None
) -> FastAPI:
    """The service on the database of `settings`, or on one that the caller opens and closes."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = database or Database(settings)
        try:
            yield
        finally:
            if database is None:
                await app.state.database.close()

    app = FastAPI(
        title="Assistenza",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.policies = policies or load(settings.policy_dir)
    if database is not None:
        app.state.database = database
    answers.install(app)
    for router in _ROUTERS:
        app.include_router(router, prefix="/v1")
    app.include_router(operations.router)
    app.add_middleware(Edge)
    return app
