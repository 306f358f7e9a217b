"""Calls about ticket packs."""

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.errors import AlreadyExists, CorrectionConflicts, CustomerNotFound, NotEnoughTickets
from app.http.context import Ctx
from app.http.corrections import corrected
from app.http.fields import Key
from app.http.paging import PageQuery, paginate
from app.http.resource import Resource
from app.http.responses import created, ok
from app.routers.ticket_packs.schemas import (
    NewTicketPack,
    Ticket,
    TicketCancellation,
    TicketPack,
    TicketPackCorrection,
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

    In the order in which they were recorded, without their tickets. Those of all customers with
    `available`: in the order in which they expire.
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


@ticket_packs.corrects(
    "/ticket-packs/{ticket_pack}/cancellation", TicketPack, "tickets:write", NotEnoughTickets
)
async def cancel_tickets(context: Ctx, ticket_pack: Key, body: TicketCancellation) -> Response:
    """Cancel unused tickets.

    Takes tickets out of a pack for good: those that no case holds or has used and that had not
    expired on the day given, those that end last first.
    """
    lock = partial(service.lock, context, ticket_pack)
    step = partial(service.cancel, context, ticket_pack)
    return await corrected(context, body, lock, step, TicketPack.of)


@ticket_packs.corrects(
    "/ticket-packs/{ticket_pack}/correction",
    TicketPack,
    "tickets:write",
    AlreadyExists,
    CorrectionConflicts,
)
async def correct_ticket_pack(
    context: Ctx, ticket_pack: Key, body: TicketPackCorrection
) -> Response:
    """Correct a ticket pack.

    As if its day of purchase and number had been right from the start. Refused where a case took a
    ticket on a day on which it would not have been valid.
    """
    lock = partial(service.lock, context, ticket_pack)
    step = partial(service.correct, context, ticket_pack)
    return await corrected(context, body, lock, step, TicketPack.of)
