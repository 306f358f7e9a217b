"""Calls about telephone calls."""

from datetime import datetime
from typing import Annotated

from fastapi import Query as FromQuery
from pydantic import Field
from starlette.responses import Response

from app.http.context import Ctx
from app.http.fields import CUSTOMER, Id, Input, Instant, Key, NotBlank, Sound, StoredOutput
from app.http.lookups import exchange_of
from app.http.openapi.headers import references
from app.http.paging import PageQuery, paginate
from app.http.resource import Resource
from app.http.responses import created, ok
from app.services import calls as service
from app.services.calls import Outcome

calls = Resource("Telephone calls")

SentNumber = Annotated[str, Field(max_length=500), Sound]


class NewCall(Input):
    """A call, when it begins, and again as more of it is known."""

    call_id: Annotated[str, Field(min_length=1, max_length=200), Sound, NotBlank] = Field(
        description="The exchange's own id of the call. The same again completes the call."
    )
    number: SentNumber = Field(
        description="The caller, in any notation of a telephone exchange; may be withheld."
    )
    called: SentNumber | None = Field(default=None, description="The number that was dialled.")
    started_at: Instant
    ended_at: Instant | None = None
    case: Key | None = Field(
        default=None, description="The case that the call was about, by its id or number."
    )
    outcome: Outcome | None = Field(
        default=None, description="The `outcome` of `GET /v1/entitlements/check`."
    )


class Call(StoredOutput):
    """A telephone call."""

    id: Id
    call_id: str = Field(description="The exchange's own id of the call.")
    number: str | None = Field(
        description="The caller's number in E.164; null where it was withheld, is none, or is not"
        " kept any more."
    )
    called: str | None = Field(description="The number that was dialled, in E.164.")
    customer_id: Id | None = Field(
        description="The customer of the case, else the one whose contact has the number. Null if"
        " nobody has it, or several."
    )
    case: str | None = Field(description="The number of the case that the call was about.")
    outcome: Outcome | None = Field(description="What the service knew of the caller.")
    started_at: datetime
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime


class CallsQuery(PageQuery):
    customer_id: Key | None = Field(default=None, description=CUSTOMER)


@calls.creates(
    "/calls",
    Call,
    "calls:write",
    responses={200: {"model": Call, "description": "Completed.", "headers": references("ETag")}},
)
async def note_call(context: Ctx, body: NewCall) -> Response:
    """Note a telephone call.

    The same `call_id` again completes the call (200): what is sent takes the place of what was, and
    what is left out stays.
    """
    row, is_new = await service.note(context, exchange_of(context.request), **body.model_dump())
    call = Call.of(row)
    return created(context, call, f"/v1/calls/{call.id}") if is_new else ok(context, call)


@calls.lists("/calls", Call, "calls:read")
async def list_calls(context: Ctx, query: Annotated[CallsQuery, FromQuery()]) -> Response:
    """List telephone calls.

    Those noted last come first.
    """
    return await paginate(context, query, service.search(context, query.customer_id), Call.of)


@calls.reads("/calls/{call}", Call, "calls:read")
async def get_call(context: Ctx, call: Id) -> Response:
    """Read a telephone call."""
    return ok(context, Call.of(await service.read(context, call)))
