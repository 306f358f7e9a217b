"""Create the ASGI application from its parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

from fastapi import FastAPI

from app.http import cors, logs
from app.http.bound_writes import BoundWrites
from app.http.draining import Draining
from app.http.errors import handlers
from app.http.following import Watch
from app.http.metrics import JobMetrics, Metrics
from app.http.middleware import RequestMiddleware
from app.http.openapi import document, pages
from app.http.short_way import ShortWay
from app.jobs.housekeeping import Housekeeping
from app.jobs.together import Jobs
from app.policy.document import Policies, load
from app.routers.calls import calls
from app.routers.cases.endpoints import cases
from app.routers.contracts.endpoints import contracts
from app.routers.customers.endpoints import customers
from app.routers.entitlements.endpoints import entitlements
from app.routers.events.endpoints import events
from app.routers.help_desks import help_desks
from app.routers.imports import imports
from app.routers.licences.endpoints import licences
from app.routers.operations import operations
from app.routers.problems import problems
from app.routers.published import published
from app.routers.ticket_packs.endpoints import ticket_packs
from app.routers.tokens import tokens
from app.routers.usage.endpoints import usage
from app.routers.webhooks.endpoints import webhooks
from app.services.help_desks import check_default
from app.settings import Settings
from app.store.database import Database
from app.store.replica import Replica

_DESCRIPTION = "What support a software vendor's customer may use, on what grounds, what is left."
# Routes are matched in this order, so those called most come first.
_RESOURCES = (
    entitlements,
    cases,
    customers,
    licences,
    contracts,
    ticket_packs,
    tokens,
    usage,
    published,
    help_desks,
    calls,
    imports,
    events,
    webhooks,
    operations,
    problems,
)


def create_app(
    settings: Settings, *, policies: Policies | None = None, database: Database | None = None
) -> FastAPI:
    """The service. Without `database` it opens one from the settings, and closes it at the end.

    It runs the jobs of `jobs.together` itself unless the background process does.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        own = app.state.database = database or Database(settings)
        beside = [
            asyncio.create_task(app.state.housekeeping.run(own)),
            asyncio.create_task(app.state.metrics.watch(own)),
            asyncio.create_task(app.state.watch.run(own)),
        ]
        if settings.read_database_url is not None:
            replica = app.state.replica = Replica(settings)
            beside.append(asyncio.create_task(replica.run(own)))
        try:
            async with app.state.jobs.running(own) if app.state.jobs else nullcontext():
                # For the server and its connections (`serving.processes`,
                # `http.uvicorn_protocol`).
                yield {"draining": app.state.draining, "end_waiting": app.state.watch.close}
        finally:
            for task in beside:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await app.state.housekeeping.tidy(own)
            if app.state.replica is not None:
                await app.state.replica.close()
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
        # Off: its logs quote exceptions, which may contain customers' words, and it costs time in
        # every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.housekeeping = Housekeeping(
        settings.case_text_keep_days, settings.call_number_keep_days
    )
    app.state.watch = Watch()
    app.state.draining = Draining()
    app.state.replica = None
    app.state.metrics = Metrics()
    app.state.bound_writes = BoundWrites(settings.bound_writes_per_minute)
    app.state.policies = policies or load(settings.policy_dir)
    check_default(settings.default_desk, app.state.policies)
    app.state.jobs = None
    if not settings.background_process:
        app.state.jobs = Jobs(app.state.policies, settings, JobMetrics(app.state.metrics))
    if database is not None:
        app.state.database = database
    handlers.install(app)
    document.install(app)
    for resource in _RESOURCES:
        resource.install(app)
    pages.install(app, people="welcome" if settings.pages else "docs")
    if settings.pages:
        # Not at the head of this file: a service without pages imports nothing of them.
        from app.pages.install import install as install_pages

        install_pages(app)
    for resource in _RESOURCES:
        resource.install_heads(app)
    app.add_middleware(ShortWay, routes=app.router.routes)
    cors.add_inside(app, settings.cors_origins)
    app.add_middleware(RequestMiddleware, metrics=app.state.metrics)
    cors.add_outside(app, settings.cors_origins)
    return app


def from_environment() -> FastAPI:
    """The application for an ASGI server other than `assistenza serve`.

    Its settings are in the environment. No background process stands beside it, so it runs the jobs
    itself.
    """
    settings = Settings(background_process=False)
    logs.configure(settings.log_level, settings.log_format)
    return create_app(settings)
