"""PATCH of a case: who works on it, how urgent it is, and whether it is a bug (R22, R31)."""

from datetime import date, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound, WrongState
from app.http.etags import check_if_match, strong_etag
from app.http.fields import Key
from app.http.legacy import Connection, CurrentCaller, Now, Route, Rules, Today, changes, needs
from app.http.responses import json_bytes, json_response
from app.policy.allocate import bind
from app.policy.decide import decide
from app.routers.cases.records import OpenedCase, bound_to, read
from app.routers.cases.shapes import Case, CasePatch
from app.store.facts import load

router = APIRouter(route_class=Route)


@router.patch(
    "/cases/{case}",
    operation_id="change_case",
    openapi_extra=needs("cases:work"),
    response_model=Case,
    responses=changes("patch", NotFound, WrongState),
)
async def change_case(
    request: Request,
    case: Key,
    body: CasePatch,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
) -> Response:
    """Change a case. A case found to be a bug counts nothing; proven none, it is charged again."""
    opened = await OpenedCase.lock(connection, caller, policies, case)
    current = await read(connection, caller, opened.id)
    check_if_match(request, strong_etag(json_bytes(current)))
    if opened.state == "cancelled":
        raise WrongState("cancelled", "in_progress")
    fields = {
        name: value for name, value in body.changes().items() if value != opened.row._mapping[name]
    }
    event_type = "case.changed"
    data: dict[str, Any] = {}
    if "technician" in fields:
        event_type = "case.assigned"
    if "category" in fields:
        event_type = "case.reclassified"
        if fields["category"] == "bug":
            rebound, data = await _to_bug(opened, now, today)
            fields |= rebound
        elif opened.row.category == "bug":
            fields |= await _from_bug(opened, now, today)
    if fields:
        current = await opened.change(event_type, now, fields, data) or current
    return json_response(request, current)


async def _to_bug(
    opened: OpenedCase, now: datetime, today: date
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything counted is given back; the worked minutes stay on record (R22)."""
    opened.next("to_bug")
    ledger = opened.ledger(now)
    moved = await ledger.reverse(opened.id, [work.id for work in await opened.work()])
    if opened.ticket is not None:
        await ledger.release(opened.id, *opened.ticket, today)
    return bound_to(None, None, None), {"covered": moved} if moved else {}


async def _from_bug(opened: OpenedCase, now: datetime, today: date) -> dict[str, Any]:
    """Bound to its first allowance again, else by what is left now, and charged (R22)."""
    opened.next("from_bug")
    ledger = opened.ledger(now)
    row = opened.row
    facts = (await load(opened.connection, row.customer_id)).facts()
    source = await opened.source(first=True)
    allowance_id, position = row.first_allowance_id, row.first_ticket_position
    first: dict[str, Any] = {}
    gone = position is not None and not await ledger.ticket_is_free(allowance_id, position)
    if source is None or gone:
        source = bind(decide(opened.policies, facts, today), row.channel)
        allowance_id = await ledger.allowance_id(facts, source)
        position = None
        if source is not None and source.kind == "ticket" and allowance_id is not None:
            position = await ledger.free_position(allowance_id)
        bound = bound_to(source, allowance_id, position)
        first = {f"first_{name}": value for name, value in bound.items()}
    if position is not None:
        await ledger.hold(opened.id, allowance_id, position, today)
        if opened.state == "closed":
            await ledger.consume(opened.id, allowance_id, position, today)
    await ledger.charge(facts, opened.id, source, row.channel, await opened.work())
    return {**bound_to(source, allowance_id, position), **first}
