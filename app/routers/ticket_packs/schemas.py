"""Ticket packs on the wire."""

from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.http.corrections import Correction
from app.http.fields import (
    CUSTOMER,
    CivilDate,
    Code,
    Input,
    Key,
    QueryFlag,
    StoredOutput,
    TicketQuantity,
)
from app.http.paging import PageQuery


class NewTicketPack(Input):
    """A purchase of tickets."""

    customer_id: Key = Field(description=CUSTOMER)
    number: Code | None = Field(default=None, description="Made by the service if left out.")
    quantity: TicketQuantity
    purchased_on: CivilDate = Field(
        description="The first day on which the tickets hold, not in the future."
    )


class TicketCancellation(Correction):
    """Unused tickets to take out of a pack."""

    quantity: TicketQuantity | None = Field(
        default=None, description="How many. By default all that are unused."
    )
    cancelled_on: CivilDate = Field(
        description="The first day on which the pack no longer has them, not in the future."
    )


class TicketPackCorrection(Correction):
    """What was entered wrong: what is left out stays."""

    purchased_on: CivilDate | None = Field(
        default=None, description="The first day on which the tickets hold, not in the future."
    )
    number: Code | None = None


class TicketPacksQuery(PageQuery):
    customer_id: Key | None = Field(default=None, description=CUSTOMER)
    available: QueryFlag | None = Field(
        default=None,
        description="`true`: packs with a ticket that can pay for a new case; `false`: without.",
    )


class Ticket(StoredOutput):
    """A ticket, which pays for one case."""

    position: int
    state: Literal["available", "held", "consumed", "cancelled", "expired"]
    expires_on: date = Field(description="Later than the pack's where a bug gave days back.")
    case_number: str | None


class TicketPackSummary(StoredOutput):
    """Tickets bought together: quantity = available + held + consumed + cancelled + expired."""

    id: UUID
    number: str
    customer_id: UUID
    quantity: int
    purchased_on: date
    expires_on: date
    available: int
    held: int
    consumed: int
    cancelled: int = Field(description="How many were taken out of the pack unused.")
    expired: int


class TicketPack(TicketPackSummary):
    """Tickets bought together, with the first of them."""

    tickets: list[Ticket] = Field(
        description="The first 100, by position. All of them: `GET /v1/ticket-packs/{id}/tickets`."
    )
