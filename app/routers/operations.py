"""For whoever runs the service: whether it is alive, whether it is ready, and its metrics."""

import asyncio

from pydantic import Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.errors import PayloadTooLarge, ServiceUnavailable
from app.http.context import Ctx
from app.http.fields import Output
from app.http.resource import Resource
from app.http.responses import json_response
from app.store import migrations
from app.store.failures import FAILURES

operations = Resource("Operations", prefix="")


class Health(Output):
    """That the service is well."""

    status: str = Field(description="`ok`.")


# A probe may add parameters of its own, so both health checks ignore the query string.
@operations.opens("/livez", Health, PayloadTooLarge, etag=False, strict_query=False)
async def livez(request: Request) -> Response:
    """Ask whether the process answers.

    This does not use the database.
    """
    return json_response(request, {"status": "ok"}, etag=False)


@operations.opens(
    "/readyz", Health, PayloadTooLarge, ServiceUnavailable, etag=False, strict_query=False
)
async def readyz(request: Request) -> Response:
    """Ask whether the service can serve.

    The database is reachable, this version of the service may serve its schema, and the service is
    not about to end.
    """
    if not request.app.state.draining.ready:
        raise ServiceUnavailable
    try:
        async with asyncio.timeout(request.app.state.settings.request_timeout):
            refused = await migrations.refusal(request.app.state.database.operations)
    except FAILURES as error:
        raise ServiceUnavailable from error
    if refused:
        raise ServiceUnavailable
    return json_response(request, {"status": "ok"}, etag=False)


@operations.reads(
    "/metrics",
    None,
    "admin",
    etag=False,
    offers=("text/plain", "application/openmetrics-text"),
    response_class=PlainTextResponse,
)
async def metrics(context: Ctx) -> Response:
    """Read counters and durations, as Prometheus does.

    While the database is unavailable no token can be checked, and this answers 503. Set
    ASSISTENZA_METRICS_PORT to serve the same on a port that needs no token.
    """
    request = context.request
    text, media_type = request.app.state.metrics.render(request.headers.get("accept", ""))
    return Response(text, media_type=media_type, headers={"Cache-Control": "no-store"})
