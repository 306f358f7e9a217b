"""A case's steps from state to state, and the ticket's with them (R19, R29); comments."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import CaseHasWork, InsufficientScope, NotFound, WrongState
from app.http.fields import Key
from app.http.legacy import (
    Connection,
    CurrentCaller,
    Now,
    Route,
    Rules,
    Today,
    acts,
    find,
    needs,
    posts,
)
from app.http.responses import json_response
from app.routers.cases.records import OpenedCase
from app.routers.cases.shapes import (
    Case,
    Closure,
    NewComment,
    ReasonGiven,
    TimelineEntry,
    Transition,
)
from app.store import events
from app.store.tables import cases

router = APIRouter(route_class=Route)


@router.post(
    "/cases/{case}/comments",
    status_code=201,
    operation_id="comment_case",
    openapi_extra=needs("cases:write"),
    response_model=TimelineEntry,
    responses=posts(NotFound),
)
async def comment(
    request: Request,
    case: Key,
    body: NewComment,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
) -> Response:
    """Add to the timeline. An internal comment is for staff."""
    if body.internal and not caller.may("cases:work"):
        raise InsufficientScope("cases:work")
    row = await find(connection, caller, cases, case)
    data = {"number": row.number, "body": body.body, "internal": body.internal}
    await events.record(
        connection,
        "case.commented",
        caller.actor,
        now,
        customer_id=row.customer_id,
        subject_id=row.id,
        case_id=row.id,
        data=data,
    )
    entry = TimelineEntry(at=now, type="case.commented", actor=caller.name, data=data)
    location = {"Location": f"/v1/cases/{row.id}/timeline"}
    return json_response(request, entry, 201, location)


@router.post(
    "/cases/{case}/transition",
    operation_id="move_case",
    openapi_extra=needs("cases:work"),
    response_model=Case,
    responses=acts(NotFound, WrongState),
)
async def move(
    request: Request,
    case: Key,
    body: Transition,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
) -> Response:
    """Take a case up, or wait for the customer."""
    opened = await OpenedCase.lock(connection, caller, policies, case)
    state = opened.next("take" if body.to == "in_progress" else "wait")
    return await _done(request, opened, "case.changed", now, {"state": state})


@router.post(
    "/cases/{case}/closure",
    operation_id="close_case",
    openapi_extra=needs("cases:work"),
    response_model=Case,
    responses=acts(NotFound, WrongState),
)
async def close(
    request: Request,
    case: Key,
    body: Closure,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
) -> Response:
    """Close a case with its resolution; a ticket that pays for it is consumed (R19)."""
    opened = await OpenedCase.lock(connection, caller, policies, case)
    state = opened.next("close")
    if opened.ticket is not None:
        await opened.ledger(now).consume(opened.id, *opened.ticket, today)
    fields = {"state": state, "resolution": body.resolution, "closed_at": now}
    # The requester is always told (R32): by the CRM, from this event.
    told = {"resolution": body.resolution, "requester": opened.requester}
    return await _done(request, opened, "case.closed", now, fields, told)


@router.post(
    "/cases/{case}/reopening",
    operation_id="reopen_case",
    openapi_extra=needs("cases:work"),
    response_model=Case,
    responses=acts(NotFound, WrongState),
)
async def reopen(
    request: Request,
    case: Key,
    body: ReasonGiven,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
) -> Response:
    """Open a closed case again; it takes back the same ticket, expired since or not (R29)."""
    opened = await OpenedCase.lock(connection, caller, policies, case)
    state = opened.next("reopen")
    if opened.ticket is not None:
        await opened.ledger(now).take_back(opened.id, *opened.ticket, today)
    fields = {"state": state, "resolution": None, "closed_at": None}
    return await _done(request, opened, "case.reopened", now, fields, {"reason": body.reason})


@router.post(
    "/cases/{case}/cancellation",
    operation_id="cancel_case",
    openapi_extra=needs("cases:work"),
    response_model=Case,
    responses=acts(NotFound, WrongState, CaseHasWork),
)
async def cancel(
    request: Request,
    case: Key,
    body: ReasonGiven,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
) -> Response:
    """Cancel a case on which no time stands; its ticket is released (R19)."""
    opened = await OpenedCase.lock(connection, caller, policies, case)
    state = opened.next("cancel")
    if await opened.work():
        raise CaseHasWork
    if opened.ticket is not None:
        await opened.ledger(now).release(opened.id, *opened.ticket, today)
    return await _done(
        request, opened, "case.cancelled", now, {"state": state}, {"reason": body.reason}
    )


async def _done(
    request: Request,
    opened: OpenedCase,
    event_type: str,
    now: datetime,
    fields: dict[str, Any],
    data: dict[str, Any] | None = None,
) -> Response:
    return json_response(request, await opened.change(event_type, now, fields, data))
