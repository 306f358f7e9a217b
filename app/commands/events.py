"""`assistenza events`: what happens, on a terminal."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app import clock
from app.commands.help import WHICH_DATABASE
from app.commands.shared import database_settings, failure
from app.errors import NotFound
from app.http.cloud_events import cloud_event
from app.http.encoding import json_bytes
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
    wanted = wanted_events(type_, customer)
    with database_settings() as settings, customer_known(customer):
        asyncio.run(_tail(settings, wanted, "oldest" if oldest else "now", once=once))


def wanted_events(types: list[str] | None, customer: str | None) -> Wanted:
    """What the options of a command ask for. Raises Exit for an unknown type."""
    unknown = [one for one in types or () if one not in set(FeedType)]
    if unknown:
        raise failure(f"{unknown[0]!r} is not a type of event. Types: {', '.join(FeedType)}")
    return Wanted(None if types is None else [FeedType(one) for one in types], customer)


@contextmanager
def customer_known(customer: str | None) -> Iterator[None]:
    """Say in one line that nobody has a customer's code or id."""
    try:
        yield
    except NotFound as error:
        raise failure(f"no customer has the code or id {customer!r}") from error


async def _tail(settings: Settings, wanted: Wanted, place: Place, *, once: bool) -> None:
    async with Database(settings) as database:
        async for found in pages(database, load(settings.policy_dir), wanted, place):
            for event in found.items:
                print(json_bytes(cloud_event(event, found.extent)).decode(), flush=True)
            if once and not found.has_more:
                return


async def pages(
    database: Database, policies: Policies, wanted: Wanted, place: Place
) -> AsyncIterator[Page]:
    """The feed from a place on, page by page, as it grows. Raises NotFound."""
    while True:
        found = await _read(database, policies, wanted, place)
        yield found
        place = found.next
        if not found.has_more:
            await asyncio.sleep(_EVERY_SECONDS)


async def _read(database: Database, policies: Policies, wanted: Wanted, place: Place) -> Page:
    now = clock.now()
    async with database.reading.connect() as connection:
        today = civil_date(now, policies.zone)
        work = UnitOfWork(connection, _CALLER, now, today, policies)
        return await page(work, wanted, place, _PAGE)
