"""The states of contracts and ticket packs as SQL expressions, so that lists can filter by them.

The policy computes the same states in Python; a test compares the two.
"""

from datetime import date
from typing import Literal

from sqlalchemy import ColumnElement, Date, and_, bindparam, case, exists, or_
from sqlalchemy.sql.elements import BindParameter

from app.store.tables import balances, contracts, licences, ticket_packs

ContractState = Literal["upcoming", "in_force", "suspended", "expired", "cancelled"]


def _day(on: date) -> BindParameter[date]:
    return bindparam("state_on", on, Date)


def editor_held(on: date) -> ColumnElement[bool]:
    """The contract's customer holds an Editor (R1, `standing.holds_editor`)."""
    day = _day(on)
    return exists().where(
        licences.c.customer_id == contracts.c.customer_id,
        licences.c.kind == "editor",
        licences.c.purchased_on <= day,
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
    return balances.c.quantity - balances.c.held - balances.c.consumed


def tickets_available(on: date) -> ColumnElement[int]:
    """A pack's tickets that can pay for a new case (R5, `Pack.available`)."""
    day = _day(on)
    valid = and_(ticket_packs.c.purchased_on <= day, ticket_packs.c.expires_on > day)
    return case((valid, _unused()), else_=0).label("available")


def tickets_expired(on: date) -> ColumnElement[int]:
    """A pack's tickets whose year has passed unused (R19)."""
    return case((ticket_packs.c.expires_on <= _day(on), _unused()), else_=0).label("expired")
