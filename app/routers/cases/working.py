"""Time really worked: recorded, charged, and reversed where it was wrong (R20, R21, R30)."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import insert, update
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AlreadyReversed, NotFound, WorkedBeforeOpening, WrongState, invalid
from app.http.fields import Id, Key
from app.http.legacy import (
    Connection,
    CurrentCaller,
    Now,
    Route,
    Rules,
    acts,
    find,
    needs,
    posts,
    reachable,
)
from app.http.responses import json_response
from app.ids import new_id
from app.policy.civil import civil_date
from app.routers.cases.records import OpenedCase, read_entry
from app.routers.cases.shapes import NewTimeEntry, ReasonGiven, TimeEntry
from app.store.facts import load
from app.store.ledger import Work
from app.store.tables import time_entries

router = APIRouter(route_class=Route)

_INSERT = insert(time_entries)


@router.post(
    "/cases/{case}/time-entries",
    status_code=201,
    operation_id="record_time",
    openapi_extra=needs("cases:work"),
    response_model=TimeEntry,
    responses=posts(NotFound, WrongState, WorkedBeforeOpening),
)
async def record_time(
    request: Request,
    case: Key,
    body: NewTimeEntry,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
) -> Response:
    """Record minutes worked; what no allowance covers is overrun, never refused."""
    opened = await OpenedCase.lock(connection, caller, policies, case)
    opened.next("work")
    worked_at = body.worked_at or now
    if worked_at > now:
        raise invalid("/worked_at", "in_future")
    worked_on = civil_date(worked_at, policies.zone)
    if worked_on < opened.row.opened_on:
        raise WorkedBeforeOpening
    entry_id = new_id()
    await connection.execute(
        _INSERT,
        {
            "id": entry_id,
            "customer_id": opened.row.customer_id,
            "case_id": opened.id,
            "technician": body.technician,
            "minutes": body.minutes,
            "worked_at": worked_at,
            "worked_on": worked_on,
            "note": body.note,
            "recorded_at": now,
        },
    )
    if opened.row.category != "bug":
        facts = (await load(connection, opened.row.customer_id)).facts()
        work = [Work(entry_id, worked_on, body.minutes)]
        source = await opened.source()
        await opened.ledger(now).charge(facts, opened.id, source, opened.row.channel, work)
    entry = await read_entry(connection, caller, opened.id, entry_id)
    await opened.change("time.recorded", now, {}, _recorded(entry))
    location = f"/v1/cases/{opened.id}/time-entries/{entry_id}"
    return json_response(request, entry, 201, {"Location": location})


@router.post(
    "/cases/{case}/time-entries/{entry_id}/reversal",
    operation_id="reverse_time",
    openapi_extra=needs("cases:work"),
    response_model=TimeEntry,
    responses=acts(NotFound, WrongState, AlreadyReversed),
)
async def reverse_time(
    request: Request,
    case: Key,
    entry_id: Id,
    body: ReasonGiven,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
) -> Response:
    """Take a wrong entry back, once; what it counted covers standing overrun first."""
    opened = await OpenedCase.lock(connection, caller, policies, case)
    rows = reachable(caller, time_entries).where(time_entries.c.case_id == opened.id)
    entry = await find(connection, caller, time_entries, entry_id, rows)
    opened.next("reverse")
    if entry.reversed_at is not None:
        raise AlreadyReversed
    await connection.execute(
        update(time_entries)
        .where(time_entries.c.id == entry_id)
        .values(reversed_at=now, reversal_reason=body.reason)
    )
    moved = await opened.ledger(now).reverse(opened.id, [entry_id])
    data: dict[str, Any] = {
        "time_entry_id": str(entry_id),
        "minutes": entry.minutes,
        "reason": body.reason,
    }
    await opened.change("time.reversed", now, {}, data | ({"covered": moved} if moved else {}))
    return json_response(request, await read_entry(connection, caller, opened.id, entry_id))


def _recorded(entry: TimeEntry) -> dict[str, Any]:
    shown = entry.model_dump(
        mode="json", include={"technician", "minutes", "worked_at", "charges", "overrun_minutes"}
    )
    return {"time_entry_id": str(entry.id), **shown}
