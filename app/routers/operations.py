"""For whoever runs the service: alive, ready to serve, and in numbers."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.errors import ServiceUnavailable
from app.http.fields import Output
from app.http.legacy import Route, needs, reads
from app.http.metrics import Metrics
from app.http.openapi.responses import problems
from app.http.responses import json_response
from app.store import migrations
from app.store.database import Database
from app.store.failures import FAILURES

router = APIRouter(tags=["Operations"])


class Health(Output):
    status: str


@router.get("/livez", operation_id="livez", response_model=Health)
async def livez(request: Request) -> Response:
    """The process answers. It asks nothing of the database."""
    return json_response(request, {"status": "ok"}, etag=False)


@router.get(
    "/readyz",
    operation_id="readyz",
    response_model=Health,
    responses=problems(ServiceUnavailable),
)
async def readyz(request: Request) -> Response:
    """The database is reachable and this version of the service may serve its schema."""
    database: Database = request.app.state.database
    try:
        async with asyncio.timeout(request.app.state.settings.request_timeout):
            refused = await migrations.refusal(database.reading)
    except FAILURES as error:
        raise ServiceUnavailable from error
    if refused:
        raise ServiceUnavailable
    return json_response(request, {"status": "ok"}, etag=False)


async def metrics(request: Request) -> Response:
    """Counters and durations, as Prometheus reads them. While the database is away no token can
    be checked: set ASSISTENZA_METRICS_PORT to be told then too."""
    numbers: Metrics = request.app.state.metrics
    text, media_type = numbers.render(request.headers.get("accept", ""))
    return Response(text, media_type=media_type, headers={"Cache-Control": "no-store"})


router.add_api_route(
    "/metrics",
    metrics,
    operation_id="metrics",
    openapi_extra=needs("admin"),
    route_class_override=Route,
    response_class=PlainTextResponse,
    responses=reads(),
)
