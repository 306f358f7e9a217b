"""Ticket packs: prepaid tickets, each of which pays for one case (R16, R19)."""

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field
from sqlalchemy import JSON, Row, Select, literal_column
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AlreadyExists, CustomerNotFound, NotFound, invalid
from app.http.fields import CivilDate, Code, Id, Input, Key, Output, QueryFlag
from app.http.legacy import (
    CACHED,
    Connection,
    CurrentCaller,
    Now,
    Route,
    Rules,
    Today,
    beyond,
    find,
    lock_named_customer,
    needs,
    page_of,
    posts,
    reachable,
    reads,
)
from app.http.paging import Page, PageQuery, decode_cursor, encode_cursor
from app.http.responses import json_response
from app.ids import new_id
from app.policy.civil import add_months
from app.policy.document import Policies
from app.services.unit_of_work import Caller
from app.store import events
from app.store.numbers import insert_numbered
from app.store.states import tickets_available, tickets_expired
from app.store.tables import balances, ticket_packs

router = APIRouter(route_class=Route, tags=["Ticket packs"])


class NewTicketPack(Input):
    customer_id: Id
    number: Code | None = Field(default=None, description="Without it one is made.")
    quantity: Annotated[int, Field(ge=1, le=1000)]
    purchased_on: CivilDate


class TicketPacksQuery(PageQuery):
    customer_id: Id | None = None
    available: QueryFlag | None = Field(
        default=None, description="With a ticket that can pay for a new case, or without."
    )


class Ticket(Output):
    position: int
    state: Literal["available", "held", "consumed", "expired"]
    case_number: str | None


class TicketPack(Output):
    id: UUID
    number: str
    customer_id: UUID
    quantity: int
    purchased_on: date
    expires_on: date
    available: int
    held: int
    consumed: int
    expired: int
    tickets: list[Ticket]


_OWN = [ticket_packs.c[name] for name in TicketPack.model_fields if name in ticket_packs.c]
_USES = literal_column(
    """coalesce((SELECT json_object_agg(u.position, json_build_array(u.state, k.number))
        FROM ticket_uses u JOIN cases k ON k.id = u.case_id WHERE u.pack_id = ticket_packs.id),
        '{}')""",
    JSON,
).label("uses")


def _representations(caller: Caller, today: date) -> Select[Any]:
    return (
        reachable(caller, ticket_packs)
        .join(balances, balances.c.allowance_id == ticket_packs.c.id)
        .with_only_columns(
            *_OWN,
            balances.c.held,
            balances.c.consumed,
            tickets_available(today),
            tickets_expired(today),
            _USES,
        )
    )


def _pack(row: Row[Any]) -> TicketPack:
    fields = row._asdict()
    uses: dict[str, tuple[str, str]] = fields.pop("uses")
    unused = ("expired" if row.expired else "available", None)
    tickets = []
    for position in range(1, row.quantity + 1):
        state, case_number = uses.get(str(position), unused)
        tickets.append({"position": position, "state": state, "case_number": case_number})
    return TicketPack.model_validate({**fields, "tickets": tickets})


async def _read(
    connection: AsyncConnection, caller: Caller, today: date, key: str | UUID
) -> TicketPack:
    rows = _representations(caller, today)
    return _pack(await find(connection, caller, ticket_packs, key, rows))


def expiry(policies: Policies, purchased_on: date) -> date:
    """The day on which a pack's tickets are good no more, by the policy of its purchase (R17)."""
    return add_months(purchased_on, policies.in_force(purchased_on).allowances.ticket.months)


@router.post(
    "/ticket-packs",
    status_code=201,
    operation_id="create_ticket_pack",
    openapi_extra=needs("tickets:write"),
    response_model=TicketPack,
    responses=posts(CustomerNotFound, AlreadyExists),
)
async def create_ticket_pack(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
    body: NewTicketPack,
) -> Response:
    """Record a purchase of tickets. With or without an Editor licence; never in the future."""
    await lock_named_customer(connection, caller, body.customer_id)
    if body.purchased_on > today:
        raise invalid("/purchased_on", "in_future")
    values = {
        **body.model_dump(),
        "id": new_id(),
        "expires_on": expiry(policies, body.purchased_on),
        "created_at": now,
    }
    id_ = await insert_numbered(connection, ticket_packs, values, today)
    pack = await _read(connection, caller, today, id_)
    await events.record(
        connection,
        "tickets.purchased",
        caller.actor,
        now,
        customer_id=pack.customer_id,
        subject_id=id_,
        data=pack.model_dump(
            mode="json", include={"number", "quantity", "purchased_on", "expires_on"}
        ),
    )
    return json_response(request, pack, 201, {"Location": f"/v1/ticket-packs/{id_}"})


@router.get(
    "/ticket-packs",
    operation_id="list_ticket_packs",
    openapi_extra=needs("tickets:read"),
    response_model=Page[TicketPack],
    responses=reads(),
)
async def list_ticket_packs(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    today: Today,
    query: Annotated[TicketPacksQuery, FromQuery()],
) -> Response:
    """Ticket packs in the order in which they were recorded."""
    rows = _representations(caller, today)
    if query.customer_id is not None:
        rows = rows.where(ticket_packs.c.customer_id == query.customer_id)
    if query.available is not None:
        available = tickets_available(today) > 0
        rows = rows.where(available if query.available else ~available)
    if query.cursor is not None:
        last = decode_cursor("ticket_packs", query.cursor, UUID)
        rows = rows.where(beyond([ticket_packs.c.id], last))
    rows = rows.order_by(ticket_packs.c.id).limit(query.limit + 1)
    shown, cursor = page_of(
        (await connection.execute(rows)).all(),
        query.limit,
        lambda row: encode_cursor("ticket_packs", row.id),
    )
    items = [_pack(row) for row in shown]
    return json_response(request, Page[TicketPack](items=items, next_cursor=cursor), etag=False)


@router.get(
    "/ticket-packs/{ticket_pack}",
    operation_id="get_ticket_pack",
    openapi_extra=needs("tickets:read"),
    response_model=TicketPack,
    responses={**reads(NotFound), **CACHED},
)
async def get_ticket_pack(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    today: Today,
    ticket_pack: Key,
) -> Response:
    """One ticket pack with its tickets, by id or number."""
    return json_response(request, await _read(connection, caller, today, ticket_pack))
