"""GET /v1/customers/{id}/statement: opening, every movement, closing, per allowance."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotAcceptable, NotFound, invalid
from app.http import csv_text
from app.http.decisions import CustomerName
from app.http.fields import CivilDate, Key, Output, Query
from app.http.legacy import (
    CACHED,
    Connection,
    CurrentCaller,
    Route,
    Rules,
    find,
    needs,
    reads,
)
from app.http.negotiation import media_type_of
from app.http.openapi.responses import Responses
from app.http.responses import json_response
from app.policy.civil import add_months
from app.policy.usage import Allowance, AllowanceKind, AllowanceState, every_allowance
from app.store import usage
from app.store.tables import customers
from app.store.usage import Movement, Opening

router = APIRouter(route_class=Route, tags=["Usage"])

_FORMATS = ("application/json", csv_text.MEDIA_TYPE)
_LONGEST_MONTHS = 120


class StatementQuery(Query):
    """Civil dates, `to` excluded; at most ten years."""

    from_: CivilDate = Field(alias="from")
    to: CivilDate


class Balance(Output):
    used_minutes: int
    overrun_minutes: int
    held: int = Field(description="Tickets held by open cases.")
    consumed: int = Field(description="Tickets used up by closed cases.")


class StatementMovement(Output):
    """What it adds to each part of the balance, and the balance after it."""

    entry: int = Field(description="Numbers the customer's entries in the order of recording.")
    kind: Literal["charge", "overrun", "reversal", "hold", "consumption", "reopening", "release"]
    counts_on: date = Field(description="A reversal counts on the day of what it reverses.")
    recorded_at: datetime
    case_number: str
    cause_case_number: str | None = Field(
        description="The case that gave back the minutes which cover an overrun."
    )
    technician: str | None
    worked_at: datetime | None
    ticket_position: int | None
    reverses: int | None = Field(description="The `entry` that it takes back, in whole or in part.")
    used_minutes: int
    overrun_minutes: int
    held: int
    consumed: int
    balance: Balance


class StatementAllowance(Output):
    """Minutes for free hours and contracts, tickets for packs."""

    kind: AllowanceKind
    id: UUID | None
    number: str | None
    starts_on: date
    ends_on: date
    state: AllowanceState = Field(description="On the period's last day.")
    granted: int
    remaining: int = Field(description="What can still be used after the period.")
    lapsed: int = Field(description="What was left when the allowance ended.")


class StatementGroup(Output):
    """Opening + movements = closing, in each part of the balance."""

    allowance: StatementAllowance | None = Field(
        description="Null: what no allowance bears, the overrun of cases that nothing pays for."
    )
    opening: Balance
    movements: list[StatementMovement]
    closing: Balance


class Statement(Output):
    """Every movement that counts in [from, to)."""

    customer: CustomerName
    from_: date = Field(alias="from")
    to: date
    groups: list[StatementGroup]


_CSV: Responses = {
    200: {
        "headers": CACHED[200]["headers"],
        "content": {csv_text.MEDIA_TYPE: {"schema": {"type": "string"}}},
    },
    304: CACHED[304],
}


@router.get(
    "/customers/{customer}/statement",
    operation_id="get_customer_statement",
    openapi_extra=needs("usage:read"),
    response_model=Statement,
    responses={**reads(NotFound, NotAcceptable), **_CSV},
)
async def get_customer_statement(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    policies: Rules,
    customer: Key,
    query: Annotated[StatementQuery, FromQuery()],
) -> Response:
    """Opening, every movement and closing of each allowance, as JSON or CSV.

    A movement lies on the day on which it counts, however late it was recorded: what is recorded
    afterwards for an earlier day appears in that day's statement when it is asked for again.
    """
    start, end = query.from_, query.to
    if end <= start:
        raise invalid("query/to", "wrong_order")
    if end > add_months(start, _LONGEST_MONTHS):
        raise invalid("query/to", "out_of_range")
    format_ = media_type_of(request, *_FORMATS)
    if format_ is None:
        raise NotAcceptable(_FORMATS)
    row = await find(connection, caller, customers, customer)
    known, openings, movements = await usage.statement(connection, row.id, start, end)
    allowances = every_allowance(policies, known.facts(), end - timedelta(days=1))
    groups = _groups(allowances, openings, movements)
    if format_ == csv_text.MEDIA_TYPE:
        name = f"statement-{known.code}-{start}-{end}.csv"
        return json_response(
            request,
            csv_text.csv_bytes(_HEADER, _lines(groups, start, end)),
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
            media_type=csv_text.MEDIA_TYPE,
        )
    body = {
        "customer": {"id": known.id, "code": known.code, "name": known.name},
        "from": start,
        "to": end,
        "groups": groups,
    }
    return json_response(request, body)


_PARTS = ("used_minutes", "overrun_minutes", "held", "consumed")
_Group = dict[str, Any]


def _groups(
    allowances: Iterable[Allowance], openings: Iterable[Opening], movements: Iterable[Movement]
) -> list[_Group]:
    opened = {opening.allowance: opening for opening in openings}
    moved: dict[str | None, list[Movement]] = {}
    for movement in movements:
        moved.setdefault(movement.allowance, []).append(movement)
    groups = []
    for one in allowances:
        if one.state != "upcoming" or one.key in opened or one.key in moved:
            group = _group(opened.get(one.key), moved.get(one.key, ()))
            closing = group["closing"]
            tickets = one.kind == "ticket_pack"
            then = one._replace(
                used=closing["consumed" if tickets else "used_minutes"],
                held=closing["held"],
            )
            groups.append({"allowance": _allowance_body(then), **group})
    if None in opened or None in moved:
        groups.append({"allowance": None, **_group(opened.get(None), moved.get(None, ()))})
    return groups


def _group(opening: Opening | None, movements: Iterable[Movement]) -> _Group:
    balance = {part: getattr(opening, part) if opening else 0 for part in _PARTS}
    group: _Group = {"opening": balance, "movements": []}
    for movement in movements:
        fields = movement._asdict()
        del fields["allowance"]
        balance = {part: balance[part] + fields[part] for part in _PARTS}
        group["movements"].append({**fields, "balance": balance})
    return {**group, "closing": balance}


def _allowance_body(one: Allowance) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "id": None if one.kind == "free_hours" else one.key,
        "number": one.number,
        "starts_on": one.starts_on,
        "ends_on": one.ends_on,
        "state": one.state,
        "granted": one.granted,
        "remaining": one.left,
        "lapsed": one.lapsed,
    }


_OF_ALLOWANCE = ("kind", "number", "starts_on", "ends_on", "granted")
_OF_MOVEMENT = (
    "entry",
    "reverses",
    "recorded_at",
    "case_number",
    "cause_case_number",
    "technician",
    "worked_at",
    "ticket_position",
    *_PARTS,
)
_HEADER = (
    *(f"allowance_{name}" for name in _OF_ALLOWANCE),
    "line",
    "counts_on",
    *_OF_MOVEMENT,
    *(f"balance_{part}" for part in _PARTS),
    "remaining",
    "lapsed",
)


def _lines(groups: Iterable[_Group], start: date, end: date) -> Iterator[list[csv_text.Cell]]:
    """One line for each movement, between an opening and a closing one for each allowance."""
    blank: list[csv_text.Cell] = [None] * len(_OF_MOVEMENT)
    for group in groups:
        allowance: dict[str, csv_text.Cell] = group["allowance"] or {"kind": "none"}
        first = [allowance.get(name) for name in _OF_ALLOWANCE]
        yield [*first, "opening", start, *blank, *group["opening"].values(), None, None]
        for movement in group["movements"]:
            fields = [movement[name] for name in _OF_MOVEMENT]
            balance = movement["balance"].values()
            yield [*first, movement["kind"], movement["counts_on"], *fields, *balance, None, None]
        last = (allowance.get("remaining"), allowance.get("lapsed"))
        yield [*first, "closing", end, *blank, *group["closing"].values(), *last]
