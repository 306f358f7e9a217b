"""Whether a database may be filled, whether it has been, and the tokens for it.

The very first event of a demo database says that it is one. It is written before anything else,
so that a loading that was broken off is known as such and is gone on with; another event says that
everything is there. A database that holds anything else is never touched.
"""

from datetime import date, datetime, timedelta
from uuid import UUID

import httpx
from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app import clock
from app.demo.clients import CLIENTS, HOLD_FOR, Greeting, greeting
from app.demo.loading import SCOPES, StepRefused, load_cases, load_records
from app.http.logs import unheard
from app.ids import new_id
from app.main import create_app
from app.policy.civil import civil_date
from app.policy.document import Policies, load
from app.services.tokens import new_token
from app.settings import Settings
from app.store.database import Database
from app.store.events import Actor, record
from app.store.tables import contacts, customers, events, tokens

_STARTED, _LOADED = "demo.started", "demo.loaded"
_LOADER = "demo-loader"
_LOADING_TAKES = timedelta(minutes=10)
_ACTOR = Actor("demo")


class DemoRefused(Exception):
    """Why the examples are not there, in a sentence for the operator."""


async def prepare(settings: Settings) -> Greeting:
    """Fill an empty database with the examples, or find them there; make new tokens either way.

    Takes settings that name a migrated database. Raises DemoRefused.
    """
    now = clock.now()
    policies = load(settings.policy_dir)
    database = Database(settings)
    try:
        async with database.writing.begin() as connection:
            loaded_on = await _mark(connection, now, civil_date(now, policies.zone))
            await _end_tokens(connection, now)
            finished = await connection.scalar(select(exists().where(events.c.type == _LOADED)))
        if not finished:
            await _load(settings, policies, database, now, loaded_on)
        async with database.writing.begin() as connection:
            # The one that shows most, made first; it may have got another code since.
            shown = select(customers.c.id, customers.c.code).order_by(customers.c.id).limit(1)
            customer_id, code = (await connection.execute(shown)).one()
            calls_from = select(contacts.c.phones[1]).where(contacts.c.customer_id == customer_id)
            phone = await connection.scalar(calls_from.order_by(contacts.c.position).limit(1))
            made = {
                client.name: await _issue(
                    connection,
                    client.name,
                    client.scopes,
                    now,
                    now + HOLD_FOR,
                    customer_id if client.bound else None,
                )
                for client in CLIENTS
            }
            count = await connection.scalar(select(func.count()).select_from(customers))
        return greeting(made, code, phone or code, count or 0, loaded_on)
    finally:
        await database.close()


async def _mark(connection: AsyncConnection, now: datetime, today: date) -> date:
    """The date on which this demo database was begun, marking it as one if it is empty."""
    # The first event by its key, so that a large database of somebody's is refused at once.
    query = select(events.c.type, events.c.data).order_by(events.c.id).limit(1)
    first = (await connection.execute(query)).one_or_none()
    if first is not None and first.type == _STARTED:
        return date.fromisoformat(first.data["on"])
    anything = select(exists().select_from(customers) | exists().select_from(tokens))
    if first is not None or await connection.scalar(anything):
        raise DemoRefused("the database holds data of its own; --demo fills an empty database only")
    await record(
        connection, _STARTED, _ACTOR, now, customer_id=None, data={"on": today.isoformat()}
    )
    return today


async def _end_tokens(connection: AsyncConnection, now: datetime) -> None:
    ours = [_LOADER, *(client.name for client in CLIENTS)]
    still_valid = tokens.c.name.in_(ours) & tokens.c.revoked_at.is_(None)
    await connection.execute(update(tokens).where(still_valid).values(revoked_at=now))


async def _issue(
    connection: AsyncConnection,
    name: str,
    scopes: tuple[str, ...],
    now: datetime,
    expires_at: datetime,
    customer_id: UUID | None = None,
) -> str:
    token, token_hash = new_token(customer_id is not None)
    await connection.execute(
        insert(tokens).values(
            id=new_id(),
            name=name,
            hash=token_hash,
            scopes=sorted(scopes),
            customer_id=customer_id,
            created_at=now,
            expires_at=expires_at,
        )
    )
    return token


async def _load(
    settings: Settings, policies: Policies, database: Database, now: datetime, on: date
) -> None:
    """Everything through the service itself, in this process, with a token for just that."""
    async with database.writing.begin() as connection:
        token = await _issue(connection, _LOADER, SCOPES, now, now + _LOADING_TAKES)
    app = create_app(settings, policies=policies, database=database)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://demo",
        headers={"Authorization": f"Bearer {token}", "Accept-Language": "en"},
    )
    try:
        with unheard():
            async with client:
                await load_records(client, on)
                await load_cases(client, on)
    except StepRefused as refused:
        raise DemoRefused(
            f"the examples could not be loaded: {refused} Another start goes on from there;"
            " an empty database starts afresh."
        ) from refused
    finally:
        async with database.writing.begin() as connection:
            await _end_tokens(connection, clock.now())
    async with database.writing.begin() as connection:
        await record(connection, _LOADED, _ACTOR, now, customer_id=None)
