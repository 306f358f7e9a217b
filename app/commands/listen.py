"""`assistenza listen`: events for a receiver that is being written."""

import asyncio
from typing import Annotated

import typer

from app import clock
from app.commands.events import customer_known, pages, wanted_events
from app.commands.shared import database_settings, failure, screen
from app.http.cloud_events import webhook_body
from app.http.outgoing import signing
from app.http.outgoing.addresses import Allowed, Refused
from app.http.outgoing.sender import Sender
from app.policy.document import load
from app.services.feed import Wanted
from app.services.feed_events import FeedType
from app.settings import Settings
from app.store.database import Database
from app.store.feed import Extent, Published
from app.store.installation import secret_key


def listen(
    forward_to: Annotated[
        str | None, typer.Option(help="Where to send them, such as http://localhost:9000/hook.")
    ] = None,
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
    print_secret: Annotated[
        bool,
        typer.Option("--print-secret", help="Print the secret of the signatures and end."),
    ] = False,
) -> None:
    """Send what happens from now on to a receiver, as a webhook would, and print its answers.

    Each event once, signed with a secret that stays the same: it belongs to the database. The
    service publishes the events; while none runs there are none.
    """
    if (forward_to is None) == (not print_secret):
        raise failure("name either --forward-to or --print-secret")
    wanted = wanted_events(type_, customer)
    with database_settings() as settings, customer_known(customer):
        if forward_to is None:
            print(asyncio.run(_secret_of(settings)))
            return
        allowed = Allowed.everything_of(forward_to)
        try:
            allowed.target(forward_to)
        except Refused as refused:
            raise failure(
                f"{forward_to!r} is not of the form http://host:port/path, without a user name"
            ) from refused
        try:
            asyncio.run(_forward(settings, wanted, forward_to, Sender(allowed)))
        except KeyboardInterrupt:
            return


async def _secret_of(settings: Settings) -> str:
    async with Database(settings) as database:
        return await _secret(database)


async def _secret(database: Database) -> str:
    return signing.secret_of(await secret_key(database, "listen"))


async def _forward(settings: Settings, wanted: Wanted, url: str, sender: Sender) -> None:
    async with Database(settings) as database:
        secret = await _secret(database)
        waiting = False
        async for page in pages(database, load(settings.policy_dir), wanted, "now"):
            if not waiting:
                screen.print("Waiting for events. They are signed with the secret that")
                screen.print("assistenza listen --print-secret prints.")
                waiting = True
            for event in page.items:
                print(await _send(sender, url, secret, event, page.extent), flush=True)


async def _send(sender: Sender, url: str, secret: str, event: Published, extent: Extent) -> str:
    """Send an event: a line about it."""
    now, event_id = clock.now(), extent.id_of(event.position)
    body = webhook_body(event, extent)
    headers = {
        "Content-Type": "application/json",
        **signing.headers(event_id, body, [secret], now),
    }
    answer = await sender.send(url, headers, body, now)
    outcome = answer.status if answer.error is None else answer.error
    return f"{now:%H:%M:%S} {event.type} {event_id} {outcome} {answer.duration_ms} ms"
