"""Cases as they are read: one, lists, the work queue, and the path between opening and closing."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from sqlalchemy import case as chosen
from sqlalchemy import func, or_, select
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound, invalid
from app.http.fields import Id, Key
from app.http.legacy import (
    CACHED,
    Connection,
    CurrentCaller,
    Route,
    beyond,
    find,
    needs,
    page_of,
    reads,
    within,
)
from app.http.paging import Page, decode_cursor, encode_cursor
from app.http.responses import json_response
from app.policy.cases import OPEN
from app.routers.cases.records import case_of, read, read_entry, representations
from app.routers.cases.shapes import Case, CasesQuery, TimeEntry, Timeline, TimelineEntry
from app.store.tables import cases, events

router = APIRouter(route_class=Route)

_RANK = chosen({"high": 0, "normal": 1, "low": 2}, value=cases.c.priority)
_EXACT = ("customer_id", "state", "technician", "channel", "category")


def _filters(query: CasesQuery) -> list[Any]:
    found = [
        cases.c[name] == value for name in _EXACT if (value := getattr(query, name)) is not None
    ]
    if query.opened_after is not None:
        found.append(cases.c.opened_at > query.opened_after)
    if query.opened_before is not None:
        found.append(cases.c.opened_at < query.opened_before)
    if query.q is not None:
        found.append(
            or_(
                cases.c.subject.icontains(query.q, autoescape=True),
                cases.c.number.istartswith(query.q, autoescape=True),
            )
        )
    return found


@router.get(
    "/cases",
    operation_id="list_cases",
    openapi_extra=needs("cases:read"),
    response_model=Page[Case],
    responses=reads(),
)
async def list_cases(
    request: Request,
    query: Annotated[CasesQuery, FromQuery()],
    connection: Connection,
    caller: CurrentCaller,
) -> Response:
    """Cases, newest first; with `queue=true` the open ones in the order to be worked (R31)."""
    wanted = representations(caller).where(*_filters(query))
    if query.queue:
        if query.cursor is not None:
            raise invalid("query/cursor", "unknown_parameter")
        order = (cases.c.priority_support.desc(), _RANK, cases.c.opened_at, cases.c.id)
        wanted = wanted.where(cases.c.state.in_(OPEN)).order_by(*order).limit(query.limit)
        rows = (await connection.execute(wanted)).all()
        page = Page[Case](items=[case_of(row) for row in rows], next_cursor=None)
        return json_response(request, page, etag=False)
    columns = (cases.c.opened_at, cases.c.id)
    if query.cursor is not None:
        keys = decode_cursor("cases", query.cursor, datetime, UUID)
        wanted = wanted.where(beyond(columns, keys, descending=True))
    wanted = wanted.order_by(*(column.desc() for column in columns)).limit(query.limit + 1)
    rows = (await connection.execute(wanted)).all()
    shown, cursor = page_of(
        rows, query.limit, lambda row: encode_cursor("cases", row.opened_at, row.id)
    )
    page = Page[Case](items=[case_of(row) for row in shown], next_cursor=cursor)
    return json_response(request, page, etag=False)


@router.get(
    "/cases/{case}",
    operation_id="get_case",
    openapi_extra=needs("cases:read"),
    response_model=Case,
    responses={**reads(NotFound), **CACHED},
)
async def get_case(
    request: Request, case: Key, connection: Connection, caller: CurrentCaller
) -> Response:
    """One case, by id or number."""
    return json_response(request, await read(connection, caller, case))


@router.get(
    "/cases/{case}/timeline",
    operation_id="get_case_timeline",
    openapi_extra=needs("cases:read"),
    response_model=Timeline,
    responses=reads(NotFound),
)
async def get_timeline(
    request: Request, case: Key, connection: Connection, caller: CurrentCaller
) -> Response:
    """The path of a case: every change, comment, time entry and reversal, who and when."""
    row = await find(connection, caller, cases, case)
    query = (
        select(events.c.occurred_at, events.c.type, events.c.actor, events.c.data)
        .where(events.c.case_id == row.id, within(caller, events))
        .order_by(events.c.id)
    )
    if caller.customer_id is not None:
        # What staff write for themselves is never shown to a customer.
        query = query.where(func.coalesce(events.c.data["internal"].as_boolean(), False).is_(False))
    found = (await connection.execute(query)).all()
    items = [
        TimelineEntry(at=event.occurred_at, type=event.type, actor=event.actor, data=event.data)
        for event in found
    ]
    return json_response(request, Timeline(items=items), etag=False)


@router.get(
    "/cases/{case}/time-entries/{entry_id}",
    operation_id="get_time_entry",
    openapi_extra=needs("cases:read"),
    response_model=TimeEntry,
    responses={**reads(NotFound), **CACHED},
)
async def get_time_entry(
    request: Request, case: Key, entry_id: Id, connection: Connection, caller: CurrentCaller
) -> Response:
    """One time entry, with what stands of its charges."""
    row = await find(connection, caller, cases, case)
    return json_response(request, await read_entry(connection, caller, row.id, entry_id))
