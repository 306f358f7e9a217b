"""Calls about ticket packs."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.errors import AlreadyExists, CustomerNotFound
from app.http.context import Ctx
from app.http.fields import Key
from app.http.paging import PageQuery, paginate
from app.http.resource import Resource
from app.http.responses import created, ok
from app.routers.ticket_packs.schemas import (
    NewTicketPack,
    Ticket,
    TicketPack,
    TicketPacksQuery,
    TicketPackSummary,
)
from app.services import ticket_packs as service

ticket_packs = Resource("Ticket packs")


@ticket_packs.creates("/ticket-packs", TicketPack, "tickets:write", CustomerNotFound, AlreadyExists)
async def create_ticket_pack(context: Ctx, body: NewTicketPack) -> Response:
    """Record a purchase of tickets.

    The customer needs no Editor licence.
    """
    row = await service.purchase(context, **body.model_dump())
    return created(context, TicketPack.of(row), f"/v1/ticket-packs/{row.id}")


@ticket_packs.lists("/ticket-packs", TicketPackSummary, "tickets:read")
async def list_ticket_packs(context: Ctx, query: Annotated[TicketPacksQuery, Query()]) -> Response:
    """List ticket packs.

    In the order in which they were recorded, without their tickets.
    """
    listing = service.search(context, query.customer_id, query.available)
    return await paginate(context, query, listing, TicketPackSummary.of)


@ticket_packs.reads("/ticket-packs/{ticket_pack}", TicketPack, "tickets:read")
async def get_ticket_pack(context: Ctx, ticket_pack: Key) -> Response:
    """Read a ticket pack.

    By id or number, with its first 100 tickets.
    """
    return ok(context, TicketPack.of(await service.read(context, ticket_pack)))


@ticket_packs.lists("/ticket-packs/{ticket_pack}/tickets", Ticket, "tickets:read")
async def list_tickets(
    context: Ctx, ticket_pack: Key, query: Annotated[PageQuery, Query()]
) -> Response:
    """List the tickets of a pack.

    By position. A ticket that serves a case names it.
    """
    return await paginate(context, query, await service.tickets(context, ticket_pack), Ticket.of)
