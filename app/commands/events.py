"""`assistenza events`: what happens, on a terminal."""

import asyncio
from typing import Annotated

import typer

from app import clock
from app.commands.help import WHICH_DATABASE
from app.commands.shared import database_settings, failure
from app.errors import NotFound
from app.http.cloud_events import cloud_event
from app.http.responses import json_bytes
from app.ids import new_id
from app.policy.civil import civil_date
from app.policy.document import Policies, load
from app.services.feed import Page, Place, Wanted, page
from app.services.feed_events import FeedType
from app.services.unit_of_work import Caller, UnitOfWork
from app.settings import Settings
from app.store.database import Database

events = typer.Typer(no_args_is_help=True, help="What happens in the service.")

_EVERY_SECONDS = 0.5
_PAGE = 200
_CALLER = Caller(new_id(), "assistenza events", frozenset({"events:read"}), None)


@events.command("tail", epilog=WHICH_DATABASE)
def tail(
    customer: Annotated[
        str | None, typer.Option(help="Only events of this customer, by code or id.")
    ] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            help="Only events of this type. Repeat the option for more.",
            autocompletion=lambda: list(FeedType),
        ),
    ] = None,
    oldest: Annotated[
        bool, typer.Option("--oldest", help="Begin with the oldest event that is kept.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="End after the last event instead of waiting for more.")
    ] = False,
) -> None:
    """Print events as they are published: one line of JSON for each.

    From now on, or from the oldest. The service publishes them; while none runs there are none.
    """
    unknown = [one for one in type_ or () if one not in set(FeedType)]
    if unknown:
        raise failure(f"{unknown[0]!r} is not a type of event. Types: {', '.join(FeedType)}")
    types = None if type_ is None else [FeedType(one) for one in type_]
    with database_settings() as settings:
        place: Place = "oldest" if oldest else "now"
        try:
            asyncio.run(_tail(settings, Wanted(types, customer), place, once=once))
        except NotFound as error:
            raise failure(f"no customer has the code or id {customer!r}") from error


async def _tail(settings: Settings, wanted: Wanted, place: Place, *, once: bool) -> None:
    policies = load(settings.policy_dir)
    async with Database(settings) as database:
        while True:
            found = await _read(database, policies, wanted, place)
            for event in found.items:
                print(json_bytes(cloud_event(event, found.extent)).decode(), flush=True)
            place = found.next
            if not found.has_more:
                if once:
                    return
                await asyncio.sleep(_EVERY_SECONDS)


async def _read(database: Database, policies: Policies, wanted: Wanted, place: Place) -> Page:
    now = clock.now()
    async with database.reading.connect() as connection:
        today = civil_date(now, policies.zone)
        work = UnitOfWork(connection, _CALLER, now, today, policies)
        return await page(work, wanted, place, _PAGE)
