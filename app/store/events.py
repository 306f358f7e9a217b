"""The one record of what happened: audit trail, a case's timeline and the feed's source."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import events


class Actor(NamedTuple):
    """Who did it: a token's name and id; the id is None for the service itself."""

    name: str
    id: UUID | None = None


# One statement for all: put together once, not for every event.
_INSERT = insert(events)


async def record(
    connection: AsyncConnection,
    event_type: str,
    actor: Actor,
    now: datetime,
    *,
    customer_id: UUID | None,
    subject_id: UUID | None = None,
    case_id: UUID | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Append what happened, in the transaction in which it happens.

    `data` is JSON: what changed, before and after where that matters, and the decision with its
    policy version where there was one.
    """
    await connection.execute(
        _INSERT,
        {
            "type": event_type,
            "actor": actor.name,
            "actor_id": actor.id,
            "occurred_at": now,
            "customer_id": customer_id,
            "subject_id": subject_id,
            "case_id": case_id,
            "data": dict(data or {}),
        },
    )


async def record_each(
    connection: AsyncConnection, actor: Actor, now: datetime, rows: str, **parameters: object
) -> None:
    """Append one for each row of a query, in the query's order: what `record` does, set-wise.

    `rows` is SQL of the code's own that selects `type`, `customer_id`, `subject_id` and `data`.
    """
    await connection.execute(
        text(f"""INSERT INTO events
                (type, customer_id, subject_id, data, actor, actor_id, occurred_at)
            SELECT type, customer_id, subject_id, data, :actor, CAST(:actor_id AS uuid),
                CAST(:now AS timestamptz)
            FROM ({rows}) AS happened"""),
        {"actor": actor.name, "actor_id": actor.id, "now": now, **parameters},
    )
