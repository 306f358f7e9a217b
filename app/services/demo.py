"""What a demo database records about itself.

Its first event says that it is one. It is written before anything else, so that a start after a
broken-off loading recognises the database and continues; another event says that every example is
loaded. A database that holds anything else is never touched.
"""

from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.event_types import DemoStarted, EventType, Nothing
from app.store.events import Actor, record
from app.store.tables import contacts, customers, events, tokens

_ACTOR = Actor("demo")


class DatabaseInUse(Exception):
    """The database holds data that is not the demo's."""


class Shown(NamedTuple):
    """The customer that the greeting presents, and how many customers there are."""

    customer_id: UUID
    code: str
    phone: str | None
    """The first number of its first contact, in E.164."""
    customers: int


async def start(connection: AsyncConnection, now: datetime, today: date) -> date:
    """The date on which this demo database was first started; marks an empty database as one.

    Raises DatabaseInUse.
    """
    # The first event by its key, so that somebody's large database is refused at once.
    query = select(events.c.type, events.c.data).order_by(events.c.id).limit(1)
    first = (await connection.execute(query)).one_or_none()
    if first is not None and first.type == EventType.DEMO_STARTED:
        return date.fromisoformat(first.data["on"])
    anything = select(exists().select_from(customers) | exists().select_from(tokens))
    if first is not None or await connection.scalar(anything):
        raise DatabaseInUse
    data: DemoStarted = {"on": today.isoformat()}
    await record(connection, EventType.DEMO_STARTED, _ACTOR, now, customer_id=None, data=data)
    return today


async def is_loaded(connection: AsyncConnection) -> bool:
    """Whether every example is loaded."""
    return bool(
        await connection.scalar(select(exists().where(events.c.type == EventType.DEMO_LOADED)))
    )


async def finish(connection: AsyncConnection, now: datetime) -> None:
    """Record that every example is loaded."""
    nothing: Nothing = {}
    await record(connection, EventType.DEMO_LOADED, _ACTOR, now, customer_id=None, data=nothing)


async def shown(connection: AsyncConnection) -> Shown:
    # The customer that shows most is created first; its code may have been changed since.
    query = select(customers.c.id, customers.c.code).order_by(customers.c.id).limit(1)
    customer_id, code = (await connection.execute(query)).one()
    calls_from = select(contacts.c.phones[1]).where(contacts.c.customer_id == customer_id)
    phone = await connection.scalar(calls_from.order_by(contacts.c.position).limit(1))
    count = await connection.scalar(select(func.count()).select_from(customers))
    return Shown(customer_id, code, phone, count or 0)
