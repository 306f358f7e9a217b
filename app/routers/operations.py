"""For whoever runs the service: alive, and ready to serve."""

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import Response

from app.http.answers import problems
from app.http.etags import json_response
from app.http.fields import Output
from app.http.problems import ServiceUnavailable
from app.store import migrations
from app.store.database import Database

router = APIRouter(tags=["Operations"])

_VERSION = text("SELECT version_num FROM alembic_version")


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
    """The database is reachable and its schema is this version's."""
    database: Database = request.app.state.database
    try:
        async with database.reading.connect() as connection:
            version = await connection.scalar(_VERSION)
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        raise ServiceUnavailable from error
    if version != migrations.head():
        raise ServiceUnavailable
    return json_response(request, {"status": "ok"}, etag=False)
