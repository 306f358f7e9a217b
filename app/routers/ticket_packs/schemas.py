"""Ticket packs on the wire."""

from datetime import date, timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.http.fields import CivilDate, Code, Id, Input, Output, QueryFlag, TicketQuantity
from app.http.paging import PageQuery


class NewTicketPack(Input):
    """A purchase of tickets."""

    customer_id: Id
    number: Code | None = Field(default=None, description="Made by the service if left out.")
    quantity: TicketQuantity
    purchased_on: CivilDate = Field(
        description="The first day on which the tickets hold, not in the future."
    )


class TicketPacksQuery(PageQuery):
    customer_id: Id | None = None
    available: QueryFlag | None = Field(
        default=None,
        description="`true`: packs with a ticket that can pay for a new case; `false`: without.",
    )


class Ticket(Output):
    """A ticket, which pays for one case."""

    position: int
    state: Literal["available", "held", "consumed", "expired"]
    expires_on: date = Field(description="Later than the pack's where a bug gave days back.")
    case_number: str | None


class TicketPack(Output):
    """Tickets bought together: quantity = available + held + consumed + expired."""

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

    @classmethod
    def of(cls, row: Any) -> "TicketPack":
        fields = row._asdict()
        uses: dict[str, tuple[str, str]] = fields.pop("uses")
        lengthened: dict[str, int] = fields.pop("lengthened")
        today: date = fields.pop("today")
        tickets = []
        for position in range(1, row.quantity + 1):
            expires_on = row.expires_on + timedelta(days=lengthened.get(str(position), 0))
            unused = ("expired" if expires_on <= today else "available", None)
            state, case_number = uses.get(str(position), unused)
            tickets.append(
                {
                    "position": position,
                    "state": state,
                    "expires_on": expires_on,
                    "case_number": case_number,
                }
            )
        return cls.model_validate({**fields, "tickets": tickets})
