"""The one record of what happened: the audit trail, the timeline of a case, the event feed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from app.store.direct import DirectStatement
from app.store.event_types import EventData, EventType
from app.store.tables import events


class Actor(NamedTuple):
    """Who did it: a token's name and id; the id is None for the service itself."""

    name: str
    id: UUID | None = None


# The columns that are given; the others are the database's.
_GIVEN = tuple(column.name for column in events.c if column.name not in ("id", "xid"))
_INSERT = DirectStatement(insert(events).returning(events.c.id))
_OF_EVENT = "event_"


async def record(
    connection: AsyncConnection,
    event_type: EventType,
    actor: Actor,
    now: datetime,
    *,
    customer_id: UUID | None,
    subject_id: UUID | None = None,
    case_id: UUID | None = None,
    data: EventData,
) -> int:
    """Append an event of a type, with `data` in its shape, in the transaction of the change.

    Returns the event's id.
    """
    event = _row(event_type, actor, now, customer_id, subject_id, case_id, data)
    return int((await _INSERT.one(connection, event)).id)


def recording(statement: ReturningUpdate[Any]) -> ReturningUpdate[Any]:
    """A change that appends its event too, which saves a round trip to the database.

    Its parameters are its own and those that `recorded` makes.
    """
    values = {name: bindparam(_OF_EVENT + name, type_=events.c[name].type) for name in _GIVEN}
    return statement.add_cte(insert(events).values(values).cte("recorded"))


def recorded(
    event_type: EventType,
    actor: Actor,
    now: datetime,
    *,
    customer_id: UUID | None,
    subject_id: UUID,
    case_id: UUID | None,
    data: EventData,
) -> dict[str, Any]:
    """The event of a statement that is `recording`, as its parameters."""
    event = _row(event_type, actor, now, customer_id, subject_id, case_id, data)
    return {_OF_EVENT + name: value for name, value in event.items()}


def _row(
    event_type: EventType,
    actor: Actor,
    now: datetime,
    customer_id: UUID | None,
    subject_id: UUID | None,
    case_id: UUID | None,
    data: EventData,
) -> dict[str, Any]:
    return {
        "type": event_type,
        "actor": actor.name,
        "actor_id": actor.id,
        "occurred_at": now,
        "customer_id": customer_id,
        "subject_id": subject_id,
        "case_id": case_id,
        "data": data,
    }


async def latest_data(
    connection: AsyncConnection,
    customer_ids: Sequence[UUID],
    subject_id: UUID,
    event_type: EventType,
) -> Mapping[str, Any]:
    """The data of the latest event of a type about one thing, empty if there is none.

    It stands under one of `customer_ids`.
    """
    latest = (
        select(events.c.data)
        .where(
            events.c.customer_id.in_(customer_ids),
            events.c.subject_id == subject_id,
            events.c.type == event_type,
        )
        .order_by(events.c.id.desc())
        .limit(1)
    )
    return await connection.scalar(latest) or {}


async def record_each(
    connection: AsyncConnection, actor: Actor, now: datetime, rows: str, **parameters: object
) -> None:
    """Append one event for each row of a query, in the query's order.

    `rows` is trusted SQL that selects `type`, `customer_id`, `subject_id` and `data`.
    """
    await connection.execute(
        text(f"""INSERT INTO events
                (type, customer_id, subject_id, data, actor, actor_id, occurred_at)
            SELECT type, customer_id, subject_id, data, :actor, CAST(:actor_id AS uuid),
                CAST(:now AS timestamptz)
            FROM ({rows}) AS happened"""),
        {"actor": actor.name, "actor_id": actor.id, "now": now, **parameters},
    )
