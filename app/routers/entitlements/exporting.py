"""GET /v1/entitlements/export: every customer's answer, streamed from one snapshot."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from fastapi import Query as FromQuery
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.http.auth.bearer import sent_token
from app.http.decisions import entitlements_body
from app.http.fields import Query, QueryInstant
from app.http.languages import language_of
from app.http.legacy import Route, needs, reads
from app.http.responses import json_bytes
from app.policy.civil import civil_date
from app.policy.decide import decide
from app.policy.document import Policies
from app.services.tokens import authenticate, is_bound
from app.store.database import Database
from app.store.facts import EVERYBODY, known

router = APIRouter(prefix="/v1", route_class=Route, tags=["Entitlements"])

# Rows fetched and answers sent together: what one export holds in memory.
_AT_A_TIME = 50
MEDIA_TYPE = "application/x-ndjson"


class ExportQuery(Query):
    at: QueryInstant | None = None


@router.get(
    "/entitlements/export",
    operation_id="export_entitlements",
    openapi_extra=needs("entitlements:read", reads_token_itself=True),
    response_class=StreamingResponse,
    responses={
        **reads(),
        200: {
            "description": "One answer a line; the last line is `{end, count}`.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
    },
)
async def export(request: Request, query: Annotated[ExportQuery, FromQuery()]) -> Response:
    """Every customer's answer as a line of JSON. A stream without its last line was cut."""
    database: Database = request.app.state.database
    policies: Policies = request.app.state.policies
    now = request.state.now
    at = query.at or now
    on = civil_date(at, policies.zone)
    language = language_of(request)
    engine = database.bound if is_bound(sent_token(request)) else database.writing
    async with engine.connect() as connection:
        caller = await authenticate(connection, sent_token(request), "entitlements:read", now)
    parameters = {"mine": caller.customer_id, "at": at, "on": on}
    statement = EVERYBODY["past" if at < now else "now"]

    async def lines() -> AsyncIterator[bytes]:
        count = 0
        # Taken when the stream begins: one that never does must hold nothing.
        async with engine.connect() as connection:
            if caller.customer_id is not None:
                await authenticate(connection, sent_token(request), "entitlements:read", now)
            result = await connection.stream(statement, parameters)
            async for rows in result.partitions(_AT_A_TIME):
                chunk = bytearray()
                for row in rows:
                    customer = known(row)
                    facts = customer.facts()
                    decision = decide(policies, facts, on)
                    body = entitlements_body(customer, facts, decision, policies, at, language)
                    chunk += json_bytes(body)
                    chunk += b"\n"
                count += len(rows)
                yield bytes(chunk)
        yield json_bytes({"end": True, "count": count}) + b"\n"

    headers = {
        "Cache-Control": "private, no-store",
        "Vary": "Authorization, Accept-Language",
        "Content-Language": language,
    }
    return StreamingResponse(lines(), headers=headers, media_type=MEDIA_TYPE)
