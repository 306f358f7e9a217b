"""Ticket packs: prepaid tickets, each of which pays for one case (R16, R17, R19, R45)."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Date,
    Integer,
    Row,
    Select,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.errors import CorrectionConflicts, NotEnoughTickets, invalid
from app.ids import new_id
from app.policy.civil import add_months
from app.policy.document import Policies
from app.services.corrections import correction
from app.services.dry_runs import lock_owner
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import (
    find,
    find_locked,
    lock_customer,
    of_customer,
    visible,
    within,
)
from app.store import entries
from app.store.event_types import Corrected, EventType, TicketsCancelled, TicketsPurchased
from app.store.keyset import Listing
from app.store.ledger import Ledger
from app.store.numbers import insert_numbered
from app.store.states import (
    has_tickets,
    last_without_tickets,
    tickets_available,
    tickets_expired,
)
from app.store.tables import balances, cases, ledger, ticket_packs, ticket_uses

TICKETS_SHOWN = 100
"""How many tickets are read with a pack; `tickets` lists them all."""

_COLUMNS = [column for column in ticket_packs.c if column.name != "created_at"]
_PACK = ticket_packs.alias("pack")
_NUMBERED = (
    func.generate_series(1, _PACK.c.quantity)
    .table_valued(column("position", Integer), name="numbered")
    .render_derived()
)
_POSITION = _NUMBERED.c.position
# Days that a bug gave back (R19). Few packs have any: the others are not searched.
_LENGTHENED = case(
    (
        balances.c.lengthened_days > 0,
        select(func.coalesce(cast(func.sum(ledger.c.lengthened_days), Integer), 0))
        .where(ledger.c.allowance_id == _PACK.c.id, ledger.c.ticket_position == _POSITION)
        .scalar_subquery(),
    ),
    else_=0,
)
_EXPIRES_ON = _PACK.c.expires_on + _LENGTHENED


def _packs(work: UnitOfWork) -> Select[Any]:
    """Every pack in sight, with its balance, as of `today`."""
    return (
        visible(work.caller, ticket_packs)
        .join(balances, balances.c.allowance_id == ticket_packs.c.id)
        .with_only_columns(
            *_COLUMNS,
            balances.c.held,
            balances.c.consumed,
            balances.c.cancelled,
            tickets_available(work.today),
            tickets_expired(work.today),
        )
    )


def _tickets(today: date) -> Select[Any]:
    """Every ticket of the packs `_PACK`, with the case that it serves."""
    return (
        select(
            _POSITION,
            func.coalesce(
                ticket_uses.c.state,
                case((literal(today, Date) >= _EXPIRES_ON, "expired"), else_="available"),
            ).label("state"),
            _EXPIRES_ON.label("expires_on"),
            cases.c.number.label("case_number"),
        )
        .select_from(_PACK)
        .join(balances, balances.c.allowance_id == _PACK.c.id)
        .join(_NUMBERED, true())
        .outerjoin(
            ticket_uses,
            and_(ticket_uses.c.pack_id == _PACK.c.id, ticket_uses.c.position == _POSITION),
        )
        .outerjoin(cases, cases.c.id == ticket_uses.c.case_id)
    )


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """One pack, with its first `TICKETS_SHOWN` tickets as `tickets`. Raises NotFound."""
    first = (
        _tickets(work.today)
        .where(_PACK.c.id == ticket_packs.c.id, _POSITION <= TICKETS_SHOWN)
        .correlate(ticket_packs)
        .subquery("first")
    )
    members: list[ColumnElement[Any]] = []
    for one in first.c:
        members += (literal_column(f"'{one.name}'"), one)
    as_json = func.json_build_object(*members)
    shown = select(func.json_agg(aggregate_order_by(as_json, first.c.position), type_=JSON))
    rows = _packs(work).add_columns(shown.scalar_subquery().label("tickets"))
    return await find(work, ticket_packs, key, rows)


def search(work: UnitOfWork, customer: str | None, available: bool | None) -> Listing:
    """Packs with their balances, in the order in which they were recorded.

    `customer`: the id or code of one. `available`: with a ticket that can pay for a new case today
    (True), or without (False). Those of all customers come in the order in which they expire, which
    an index has.
    """
    where = [within(work.caller, ticket_packs)]
    if customer is not None:
        where.append(of_customer(ticket_packs, customer))
    if available is not None:
        where.append(has_tickets(work.today) if available else ~has_tickets(work.today))
    key = ticket_packs.c.id
    own = work.caller.customer_id or customer
    if own is not None or available is None:
        return Listing("ticket_packs", _packs(work), (key,), where=tuple(where))
    if available:
        where.append(ticket_packs.c.expires_on > last_without_tickets(work.today))
    order = (ticket_packs.c.expires_on, key)
    return Listing("ticket_packs by expires_on", _packs(work), order, where=tuple(where))


async def tickets(work: UnitOfWork, key: str) -> Listing:
    """The tickets of a pack by position, each with its state today. Raises NotFound."""
    pack = await find(work, ticket_packs, key)
    rows = _tickets(work.today).where(_PACK.c.id == pack.id)
    return Listing(f"tickets {pack.id}", rows, (_POSITION,))


def expiry(policies: Policies, purchased_on: date) -> date:
    """The first day on which a pack's tickets are no longer valid.

    Fixed by the policy in force on the day of purchase (R17).
    """
    return add_months(purchased_on, policies.in_force(purchased_on).allowances.ticket.months)


async def purchase(
    work: UnitOfWork,
    *,
    customer_id: str,
    number: str | None,
    quantity: int,
    purchased_on: date,
) -> Row[Any]:
    """Record a purchase of tickets by the customer with an id or code.

    Raises CustomerNotFound, InvalidInput.
    """
    owner = await lock_customer(work, customer_id)
    if purchased_on > work.today:
        raise invalid("/purchased_on", "in_future")
    values = {
        "id": new_id(),
        "customer_id": owner,
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
    await _record(work, EventType.TICKETS_PURCHASED, pack, data)
    return pack


async def lock(work: UnitOfWork, key: str) -> list[UUID]:
    """Lock the customer of a pack, for a correction that is tried out. Raises NotFound."""
    return await lock_owner(work, ticket_packs, key)


async def cancel(
    work: UnitOfWork, key: str, *, cancelled_on: date, reason: str, quantity: int | None = None
) -> Row[Any]:
    """Take unused tickets out of a pack as of a day, by default all that there are (R45).

    Those that end last go first. Raises NotFound, InvalidInput, NotEnoughTickets.
    """
    pack = await find_locked(work, ticket_packs, key, _packs(work))
    if cancelled_on > work.today:
        raise invalid("/cancelled_on", "in_future")
    if cancelled_on < pack.purchased_on:
        raise invalid("/cancelled_on", "wrong_order")
    books = Ledger(work.connection, work.policies, pack.customer_id, work.now)
    unused = await books.standing(entries.UNUSED_TICKETS, pack=pack.id)
    positions = [ticket.position for ticket in unused if cancelled_on < ticket.expires_on]
    wanted = len(positions) if quantity is None else quantity
    if not 0 < wanted <= len(positions):
        raise NotEnoughTickets(len(positions))
    await books.cancel_tickets(pack.id, positions[:wanted], cancelled_on)
    data: TicketsCancelled = {
        "number": pack.number,
        "reason": reason,
        "quantity": wanted,
        "cancelled_on": cancelled_on.isoformat(),
        "positions": sorted(positions[:wanted]),
        "before": {"cancelled": pack.cancelled},
        "after": {"cancelled": pack.cancelled + wanted},
    }
    await _record(work, EventType.TICKETS_CANCELLED, pack, data)
    return await read(work, pack.id)


async def correct(
    work: UnitOfWork,
    key: str,
    *,
    reason: str,
    purchased_on: date | None = None,
    number: str | None = None,
) -> Row[Any]:
    """Correct a pack's day of purchase or number, as if it had been right from the start (R40).

    Each ticket ends as many days earlier or later as the pack does. Values that are stored already
    change nothing. Raises NotFound, InvalidInput, and CorrectionConflicts for tickets taken on a
    day outside the corrected year; the database refuses a number that is taken.
    """
    pack = await find_locked(work, ticket_packs, key, _packs(work))
    day = purchased_on or pack.purchased_on
    if day > work.today:
        raise invalid("/purchased_on", "in_future")
    values: dict[str, Any] = {"number": number or pack.number, "purchased_on": day}
    changed = {name: value for name, value in values.items() if getattr(pack, name) != value}
    if not changed:
        return await read(work, pack.id)
    if "purchased_on" in changed:
        changed["expires_on"] = expiry(work.policies, day)
        await _require_tickets_inside(work, pack, day, changed["expires_on"])
    query = update(ticket_packs).where(ticket_packs.c.id == pack.id)
    await work.connection.execute(query.values(changed))
    await _record(work, EventType.TICKETS_CORRECTED, pack, correction(pack, changed, reason))
    return await read(work, pack.id)


async def _require_tickets_inside(
    work: UnitOfWork, pack: Row[Any], purchased_on: date, expires_on: date
) -> None:
    """Raises CorrectionConflicts for tickets that a case took on a day outside their own year."""
    rows = await work.connection.execute(entries.TAKEN_TICKETS, {"pack": pack.id})
    outside = [
        {"kind": "ticket", "name": row.number, "on": row.taken_on}
        for row in rows
        if not purchased_on <= row.taken_on < expires_on + timedelta(days=row.lengthened_days)
    ]
    if outside:
        raise CorrectionConflicts(outside)


async def _record(
    work: UnitOfWork, event_type: EventType, pack: Row[Any], data: Corrected | TicketsPurchased
) -> None:
    await work.record(event_type, data, customer_id=pack.customer_id, subject_id=pack.id)
