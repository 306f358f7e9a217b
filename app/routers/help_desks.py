"""Calls about closures of help desks (R48)."""

from datetime import datetime
from typing import Annotated

from fastapi import Query as FromQuery
from pydantic import Field
from starlette.responses import Response

from app.http.context import Ctx
from app.http.fields import Clock, Id, Input, Instant, Key, Listed, NotBlank, Sound, StoredOutput
from app.http.paging import PageQuery, paginate
from app.http.resource import Resource
from app.http.responses import created, if_match, ok
from app.services import help_desks as service

help_desks = Resource("Help desks")

Reason = Annotated[str, Field(min_length=1, max_length=80), Sound, NotBlank]


class GivenHours(Listed):
    """A time of the day in which the desk is open, by its own clock."""

    opens: Clock
    closes: Clock


class GivenReason(Input):
    """Why, as callers hear it, in each language."""

    it: Reason
    en: Reason
    de: Reason


class NewClosure(Input):
    """Days on which a desk is closed, or keeps other hours."""

    starts_at: Instant
    ends_at: Instant = Field(description="Exclusive; at most 366 days later.")
    hours: Annotated[list[GivenHours], Field(min_length=1, max_length=10)] | None = Field(
        default=None,
        description="The hours that take the place of the desk's own on its working days in the"
        " period, in order; on its other days it stays closed. Absent: closed.",
    )
    reason: GivenReason


class ClosureHours(StoredOutput):
    """A time of the day in which the desk is open, by its own clock."""

    opens: str
    closes: str


class ClosureReason(StoredOutput):
    """Why, in each language."""

    it: str
    en: str
    de: str


class HelpDeskClosure(StoredOutput):
    """A period in which a desk is closed, or keeps other hours."""

    id: Id
    help_desk: str = Field(description="The id of the desk, such as `it`.")
    starts_at: datetime
    ends_at: datetime
    hours: list[ClosureHours] | None = Field(description="Null: closed.")
    reason: ClosureReason
    created_at: datetime


@help_desks.creates("/help-desks/{desk}/closures", HelpDeskClosure, "admin")
async def close_help_desk(context: Ctx, desk: Key, body: NewClosure) -> Response:
    """Close a help desk for some time.

    Or let it keep other hours. Every answer about the desk takes it into account at once, and what
    is spoken gives the reason. Where closures overlap, the desk is open during the hours that all
    of them allow. At most 10 may overlap, and at most 100 may not have ended.
    """
    row = await service.close(context, desk, **body.model_dump())
    location = f"/v1/help-desks/{row.help_desk}/closures/{row.id}"
    return created(context, HelpDeskClosure.of(row), location)


@help_desks.lists("/help-desks/{desk}/closures", HelpDeskClosure, None)
async def list_help_desk_closures(
    context: Ctx, desk: Key, query: Annotated[PageQuery, FromQuery()]
) -> Response:
    """List the closures of a help desk.

    In the order in which they start, those of the past included.
    """
    return await paginate(context, query, service.search(context, desk), HelpDeskClosure.of)


@help_desks.reads("/help-desks/{desk}/closures/{closure_id}", HelpDeskClosure, None)
async def get_help_desk_closure(context: Ctx, desk: Key, closure_id: Id) -> Response:
    """Read a closure of a help desk.

    Closures are not changed: remove one, and add another.
    """
    return ok(context, HelpDeskClosure.of(await service.read(context, desk, closure_id)))


@help_desks.deletes("/help-desks/{desk}/closures/{closure_id}", "admin")
async def reopen_help_desk(context: Ctx, desk: Key, closure_id: Id) -> Response:
    """Remove a closure of a help desk.

    The desk keeps its hours as if the closure had never been.
    """
    await service.reopen(context, desk, closure_id, if_match(context, HelpDeskClosure.of))
    return Response(status_code=204)
