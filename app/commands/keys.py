"""`assistenza keys`: create, list and revoke the tokens of clients."""

import asyncio
import unicodedata
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, get_args

import typer
from rich.table import Table

from app import clock
from app.commands.help import WHICH_DATABASE
from app.commands.shared import database_settings, failure, printer, screen
from app.errors import CustomerNotFound
from app.services import tokens
from app.services.tokens import BOUND_SCOPES, SCOPES, BoundScope, Scope
from app.settings import Settings
from app.store.database import Database

keys = typer.Typer(no_args_is_help=True, help="Tokens of the service's clients.")


@keys.command("create", epilog=WHICH_DATABASE)
def create_key(
    name: Annotated[str, typer.Option(help="Name of the client; idempotency keys belong to it.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it may do. Repeat the option for more."
            f" Scopes: {', '.join(get_args(Scope))}."
            f" With --customer: {', '.join(get_args(BoundScope))}.",
            autocompletion=lambda: list(get_args(Scope)),
        ),
    ],
    customer: Annotated[
        str | None, typer.Option(help="Code of the customer that the token is limited to.")
    ] = None,
    expires_in_days: Annotated[
        int | None,
        typer.Option(
            min=1, max=36500, show_default="unlimited", help="Days for which the token is valid."
        ),
    ] = None,
) -> None:
    """Create a token and print it, alone, on standard output.

    Only its hash is stored, so it cannot be shown again.
    """
    allowed = SCOPES if customer is None else BOUND_SCOPES
    unknown = [one for one in scope if one not in allowed]
    if unknown:
        kind = "a scope" if customer is None else "a scope for a token bound to a customer"
        raise failure(f"{unknown[0]!r} is not {kind}. Valid scopes: {', '.join(sorted(allowed))}")
    name = unicodedata.normalize("NFC", name)
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise failure("a name must have 1 to 100 printable characters")
    if customer is not None and not customer.isprintable():
        raise failure(f"no customer has the code {customer!r}")
    with database_settings() as settings:
        print(asyncio.run(_create_key(settings, name, scope, customer, expires_in_days)))


async def _create_key(
    settings: Settings, name: str, scopes: list[str], customer: str | None, days: int | None
) -> str:
    now = clock.now()
    try:
        async with Database(settings) as database, database.writing.begin() as connection:
            return await tokens.create_key(
                connection,
                now,
                name=name,
                scopes=scopes,
                customer=customer,
                expires_at=None if days is None else now + timedelta(days=days),
            )
    except CustomerNotFound as error:
        raise failure(f"no customer has the code {customer!r}") from error


@keys.command("list", epilog=WHICH_DATABASE)
def list_keys() -> None:
    """List the valid tokens with id, name and scopes. The tokens themselves are not stored."""

    async def read(settings: Settings) -> Sequence[Any]:
        async with Database(settings) as database, database.reading.connect() as connection:
            return await tokens.valid_keys(connection, clock.now())

    with database_settings() as settings:
        table = Table("id", "name", "scopes", "customer", "expires", "last used", box=None)
        for row in asyncio.run(read(settings)):
            dates = (
                "" if at is None else f"{at:%Y-%m-%d %H:%M}"
                for at in (row.expires_at, row.last_used_at)
            )
            table.add_row(str(row.id), row.name, " ".join(row.scopes), row.code or "", *dates)
        printer().print(table)


@keys.command("revoke", epilog=WHICH_DATABASE)
def revoke_key(
    key: Annotated[str, typer.Argument(help="Id of a token, or name of a client.")],
) -> None:
    """Revoke a token, or all tokens of a client, with immediate effect."""

    async def revoke(settings: Settings) -> int:
        async with Database(settings) as database, database.writing.begin() as connection:
            return await tokens.revoke(connection, clock.now(), key)

    with database_settings() as settings:
        count = asyncio.run(revoke(settings)) if key.isprintable() else 0
        if not count:
            raise failure(f"no valid token has the id or name {key!r}")
        screen.print(f"{count} revoked.")
