"""Ticket packs: prepaid tickets, each of which pays for one case (R16, R17, R19)."""

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Date, Row, Select, literal, literal_column

from app.errors import invalid
from app.ids import new_id
from app.policy.civil import add_months
from app.policy.document import Policies
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, lock_customer, visible
from app.store.event_types import EventType, TicketsPurchased
from app.store.keyset import Listing
from app.store.numbers import insert_numbered
from app.store.states import tickets_available, tickets_expired
from app.store.tables import balances, ticket_packs

_USES = literal_column(
    """coalesce((SELECT json_object_agg(u.position, json_build_array(u.state, k.number))
        FROM ticket_uses u JOIN cases k ON k.id = u.case_id WHERE u.pack_id = ticket_packs.id),
        '{}')""",
    JSON,
).label("uses")
# Days that a bug gave back, by position (R19). Few packs have any.
_LENGTHENED = literal_column(
    """CASE WHEN balances.lengthened_days > 0 THEN (
        SELECT json_object_agg(l.ticket_position, l.days) FROM (
            SELECT ticket_position, sum(lengthened_days) AS days FROM ledger
            WHERE allowance_id = ticket_packs.id AND lengthened_days > 0
            GROUP BY ticket_position) l) ELSE '{}' END""",
    JSON,
).label("lengthened")
_COLUMNS = [column for column in ticket_packs.c if column.name != "created_at"]


def _whole(work: UnitOfWork) -> Select[Any]:
    """Every pack in sight, with its balance, as of `today`.

    By position, `uses` has the state and case number of used tickets, and `lengthened` the days by
    which a ticket ends later than its pack.
    """
    return (
        visible(work.caller, ticket_packs)
        .join(balances, balances.c.allowance_id == ticket_packs.c.id)
        .with_only_columns(
            *_COLUMNS,
            balances.c.held,
            balances.c.consumed,
            tickets_available(work.today),
            tickets_expired(work.today),
            _USES,
            _LENGTHENED,
            literal(work.today, Date).label("today"),
        )
    )


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """One pack with its tickets. Raises NotFound."""
    return await find(work, ticket_packs, key, _whole(work))


def search(work: UnitOfWork, customer_id: UUID | None, available: bool | None) -> Listing:
    """Packs as `read` gives them, in the order in which they were recorded.

    `available`: with a ticket that can pay for a new case today (True), or without (False).
    """
    rows = _whole(work)
    if customer_id is not None:
        rows = rows.where(ticket_packs.c.customer_id == customer_id)
    if available is not None:
        has_tickets = tickets_available(work.today) > 0
        rows = rows.where(has_tickets if available else ~has_tickets)
    return Listing("ticket_packs", rows, (ticket_packs.c.id,))


def expiry(policies: Policies, purchased_on: date) -> date:
    """The first day on which a pack's tickets are no longer valid.

    Fixed by the policy in force on the day of purchase (R17).
    """
    return add_months(purchased_on, policies.in_force(purchased_on).allowances.ticket.months)


async def purchase(
    work: UnitOfWork,
    *,
    customer_id: UUID,
    number: str | None,
    quantity: int,
    purchased_on: date,
) -> Row[Any]:
    """Record a purchase of tickets. Raises CustomerNotFound, InvalidInput."""
    await lock_customer(work, customer_id)
    if purchased_on > work.today:
        raise invalid("/purchased_on", "in_future")
    values = {
        "id": new_id(),
        "customer_id": customer_id,
        "number": number,
        "quantity": quantity,
        "purchased_on": purchased_on,
        "expires_on": expiry(work.policies, purchased_on),
        "created_at": work.now,
    }
    id_ = await insert_numbered(work.connection, ticket_packs, values, work.today)
    pack = await read(work, id_)
    data: TicketsPurchased = {
        "number": pack.number,
        "quantity": quantity,
        "purchased_on": purchased_on.isoformat(),
        "expires_on": pack.expires_on.isoformat(),
    }
    await work.record(EventType.TICKETS_PURCHASED, data, customer_id=customer_id, subject_id=id_)
    return pack
