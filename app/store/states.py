"""The states of contracts and ticket packs as SQL expressions, so that lists can filter by them.

The policy computes the same states in Python; a test compares the two.
"""

from datetime import date
from typing import Literal

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Date,
    Integer,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql.elements import BindParameter

from app.store.tables import balances, contracts, ledger, licences, ticket_packs

ContractState = Literal["upcoming", "in_force", "suspended", "expired", "cancelled"]


def _day(on: date) -> BindParameter[date]:
    return bindparam("state_on", on, Date)


def editor_held(on: date) -> ColumnElement[bool]:
    """The contract's customer holds an Editor (R1, `standing.holds_editor`)."""
    day = _day(on)
    return exists().where(
        licences.c.customer_id == contracts.c.customer_id,
        licences.c.kind == "editor",
        func.coalesce(licences.c.held_from, licences.c.purchased_on) <= day,
        or_(licences.c.withdrawn_on.is_(None), licences.c.withdrawn_on > day),
    )


def contract_state(on: date) -> ColumnElement[ContractState]:
    """Where a contract stands on a date (R4, `Contract.in_force`): suspended without an Editor."""
    day = _day(on)
    return case(
        (contracts.c.cancelled_on <= day, "cancelled"),
        (contracts.c.starts_on > day, "upcoming"),
        (contracts.c.ends_on <= day, "expired"),
        (editor_held(on), "in_force"),
        else_="suspended",
    ).label("state")


def _unused() -> ColumnElement[int]:
    taken = balances.c.held + balances.c.consumed + balances.c.cancelled
    return balances.c.quantity - taken


# The unused tickets of a pack that a bug lengthened, each with an end of its own (R19).
_LENGTHENED = (
    select(
        (ticket_packs.c.expires_on + cast(func.sum(ledger.c.lengthened_days), Integer)).label(
            "expires_on"
        )
    )
    .where(ledger.c.allowance_id == ticket_packs.c.id)
    .group_by(ledger.c.ticket_position)
    .having(
        func.sum(ledger.c.lengthened_days) > 0,
        func.sum(ledger.c.held + ledger.c.consumed + ledger.c.cancelled) == 0,
    )
    .correlate(ticket_packs)
    .subquery("lengthened")
)


# Without a parameter: as the partial index has it.
_LENGTHENED_PACK: ColumnElement[bool] = literal_column("balances.lengthened_days > 0", Boolean)


def tickets_available(on: date) -> ColumnElement[int]:
    """A pack's tickets that can pay for a new case (R5, `Pack.available`)."""
    return case((ticket_packs.c.purchased_on <= _day(on), _valid(on)), else_=0).label("available")


def has_tickets(on: date) -> ColumnElement[bool]:
    """A pack has tickets that can pay for a new case, told without its balance at hand."""
    balance = select(tickets_available(on)).where(balances.c.allowance_id == ticket_packs.c.id)
    return balance.correlate(ticket_packs).scalar_subquery() > 0


def last_without_tickets(on: date) -> ColumnElement[date]:
    """A day: of the packs that expire on it or before, none has an unexpired ticket.

    That is `on`, unless a bug lengthened a ticket of a pack that has expired already (R19).
    """
    lengthened = (
        select(func.min(ticket_packs.c.expires_on) - 1)
        .select_from(balances.join(ticket_packs, ticket_packs.c.id == balances.c.allowance_id))
        .where(_LENGTHENED_PACK, tickets_available(on) > 0)
        .correlate(None)
        .scalar_subquery()
    )
    return func.least(_day(on), lengthened, type_=Date)


def tickets_expired(on: date) -> ColumnElement[int]:
    """A pack's tickets whose own year has passed unused (R19, `Pack.expired`)."""
    expired = _unused() - _valid(on)
    return case((ticket_packs.c.purchased_on <= _day(on), expired), else_=0).label("expired")


def _valid(on: date) -> ColumnElement[int]:
    """Unused tickets that have not expired."""
    lengthened = _count_lengthened()
    plain = case((ticket_packs.c.expires_on > _day(on), _unused() - lengthened), else_=0)
    return plain + _count_lengthened(_LENGTHENED.c.expires_on > _day(on))


def _count_lengthened(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    count = select(func.count()).select_from(_LENGTHENED).where(*conditions).scalar_subquery()
    # Few packs have any: the others are not searched.
    return case((balances.c.lengthened_days > 0, count), else_=0)
