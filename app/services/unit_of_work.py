"""What every service function needs: a connection, who asks, and the date and rules that apply."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.policy.document import Policies
from app.store import events
from app.store.event_types import EventData, EventType
from app.store.events import Actor


class Caller(NamedTuple):
    """The holder of a valid token."""

    id: UUID
    name: str
    scopes: frozenset[str]
    customer_id: UUID | None
    """The one customer that a bound token sees and touches; None for every other token."""

    @property
    def client(self) -> str:
        """Who owns idempotency keys: the named client, or the customer of a bound token."""
        return f"customer:{self.customer_id}" if self.customer_id else f"client:{self.name}"

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.id)

    def may(self, scope: str) -> bool:
        return scope in self.scopes

    def sees(self, customer_id: UUID) -> bool:
        return self.customer_id is None or self.customer_id == customer_id


@dataclass(slots=True)
class UnitOfWork:
    """One request, or one step of a command.

    Services neither begin nor commit: whoever makes the unit of work does, once.
    """

    connection: AsyncConnection
    """In a transaction for a unit that writes."""
    caller: Caller
    now: datetime
    """When the request arrived; the clock is read once."""
    today: date
    """The civil date of `now` in the vendor's time zone."""
    policies: Policies
    """Every version of the policy."""
    concerned: set[UUID | None] = field(default_factory=set, init=False)
    """The customers whose events were recorded; None for what concerns no single customer."""

    async def record(
        self,
        event_type: EventType,
        data: EventData,
        *,
        customer_id: UUID | None,
        subject_id: UUID,
        case_id: UUID | None = None,
    ) -> None:
        """Append an event, done by the caller at this moment.

        `customer_id` is None for what concerns no single customer.
        """
        self.concerned.add(customer_id)
        await events.record(
            self.connection,
            event_type,
            self.caller.actor,
            self.now,
            customer_id=customer_id,
            subject_id=subject_id,
            case_id=case_id,
            data=data,
        )

    def event(
        self,
        event_type: EventType,
        data: EventData,
        *,
        customer_id: UUID,
        subject_id: UUID,
        case_id: UUID | None,
    ) -> dict[str, Any]:
        """An event, done by the caller at this moment, for a statement that appends it.

        The parameters of a statement that is `events.recording`.
        """
        self.concerned.add(customer_id)
        return events.recorded(
            event_type,
            self.caller.actor,
            self.now,
            customer_id=customer_id,
            subject_id=subject_id,
            case_id=case_id,
            data=data,
        )
