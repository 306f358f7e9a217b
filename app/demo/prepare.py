"""The demo: fill an empty database with examples, or find them there, and make its tokens."""

from datetime import date, datetime, timedelta

import httpx

from app import clock
from app.demo.clients import CLIENTS, VALID_FOR, Greeting, greeting
from app.demo.history import load_history
from app.demo.loading import SCOPES, StepRefused, load_cases, load_records
from app.http.logs import unheard
from app.main import create_app
from app.policy.civil import civil_date
from app.policy.document import Policies, load
from app.services import demo, tokens
from app.services.unit_of_work import Caller
from app.settings import Settings
from app.store.database import Connection, Database

_LOADER = "demo-loader"
_LOADING_TAKES = timedelta(minutes=10)


class DemoRefused(Exception):
    """Why the examples are not there, in a sentence for the operator."""


async def prepare(settings: Settings) -> Greeting:
    """Fill an empty database with the examples, or find them there; make new tokens either way.

    Takes settings that name a migrated database. Raises DemoRefused.
    """
    now = clock.now()
    policies = load(settings.policy_dir)
    async with Database(settings) as database:
        async with database.writing.begin() as connection:
            try:
                loaded_on = await demo.start(connection, now, civil_date(now, policies.zone))
            except demo.DatabaseInUse:
                raise DemoRefused(
                    "the database holds data of its own; --demo fills an empty database only"
                ) from None
            await _end_tokens(connection, now)
            finished = await demo.is_loaded(connection)
        if not finished:
            await _load(settings, policies, database, now, loaded_on)
        async with database.writing.begin() as connection:
            shown = await demo.shown(connection)
            made: dict[str, str] = {}
            link = None
            for client in CLIENTS:
                if client.bound and settings.pages:
                    _, link = await tokens.store(
                        connection,
                        now,
                        name=client.name,
                        scopes=client.scopes,
                        customer_id=shown.customer_id,
                        expires_at=now + VALID_FOR,
                        by_link=True,
                    )
                _, made[client.name] = await tokens.store(
                    connection,
                    now,
                    name=client.name,
                    scopes=client.scopes,
                    customer_id=shown.customer_id if client.bound else None,
                    expires_at=now + VALID_FOR,
                )
        return greeting(
            made,
            shown.code,
            shown.phone or shown.code,
            shown.customers,
            loaded_on,
            link=link,
            public_url=settings.public_url,
        )


async def _end_tokens(connection: Connection, now: datetime) -> None:
    await tokens.revoke(connection, now, _LOADER, *(client.name for client in CLIENTS))


async def _load(
    settings: Settings, policies: Policies, database: Database, now: datetime, on: date
) -> None:
    """Load every example through the service's own API, in this process, with its own token."""
    async with database.writing.begin() as connection:
        loader, token = await tokens.store(
            connection, now, name=_LOADER, scopes=SCOPES, expires_at=now + _LOADING_TAKES
        )
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(settings, policies=policies, database=database)),
        base_url="http://demo",
        headers={"Authorization": f"Bearer {token}", "Accept-Language": "en"},
    )
    try:
        with unheard():
            async with client:
                await load_records(client, on)
                await load_cases(client, on)
        async with database.writing.begin() as connection:
            caller = Caller(loader, _LOADER, frozenset(SCOPES), None)
            await load_history(connection, caller, policies, on)
    except StepRefused as refused:
        raise DemoRefused(
            f"the examples could not be loaded: {refused} Start again to continue from there,"
            " or use an empty database."
        ) from refused
    finally:
        async with database.writing.begin() as connection:
            await _end_tokens(connection, clock.now())
    async with database.writing.begin() as connection:
        await demo.finish(connection, now)
