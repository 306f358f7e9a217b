"""`assistenza reconcile`: whether what is kept agrees with the ledger and the rules."""

import asyncio

import typer
from rich.markup import escape
from rich.table import Table

from app import clock
from app.commands.shared import database_settings, printer, screen
from app.policy.document import load
from app.services import standings, usage_reports
from app.settings import Settings
from app.store import reconcile as ledger
from app.store.database import Database


def reconcile() -> None:
    """Compare every balance with the ledger, every standing with the rules; change nothing.

    Exits with 1 on a difference, and with 2 if it could not compare.
    """

    async def compare(settings: Settings) -> tuple[dict[str, int], list[ledger.Difference]]:
        async with (
            Database(settings, long_statements=True) as database,
            ledger.snapshot(database) as snapshot,
        ):
            found = [difference async for difference in snapshot.differences()]
            policies, compared = load(settings.policy_dir), 0
            async for one in standings.differences(snapshot.connection, policies, clock.now()):
                compared += 1
                found += [] if one is None else [one]
            now = clock.now()
            found += [
                one async for one in usage_reports.differences(snapshot.connection, policies, now)
            ]
            return await snapshot.checked() | {"standings": compared}, found

    with database_settings(code=2) as settings:
        checked, differences = asyncio.run(compare(settings))
    if differences:
        table = Table("check", "customer", "what", "field", "kept", "ledger", box=None)
        for one in differences:
            table.add_row(*("" if cell is None else escape(cell) for cell in one))
        printer().print(table)
    rows = ", ".join(f"{count} {check}" for check, count in checked.items())
    screen.print(f"Checked {rows}. Differences: {len(differences)}.")
    if differences:
        raise typer.Exit(1)
