"""`assistenza after-restore`: what a restored database needs before it is served."""

import asyncio

from app.commands.shared import embedded, failure, on_embedded, operator_errors, quiet_logs
from app.settings import Settings
from app.store import addresses, migrations
from app.store.after_restore import CannotPrepare, restored
from app.store.sequences import UnknownSequence


def after_restore() -> None:
    """Prepare a restored or promoted database: begin an epoch of the feed, move sequences.

    Whoever reads events is told by 410 where to read on, and no number is given a second time. To
    run it once more does no harm. On your own PostgreSQL it needs the address of the role that owns
    the schema, ASSISTENZA_MIGRATION_DATABASE_URL. Exits with 1 if something is wrong afterwards.
    """
    with operator_errors():
        settings = Settings()
        addresses.check(settings)
        quiet_logs(settings)
        url = settings.migration_database_url or settings.database_url
        if url is not None:
            asyncio.run(_prepare(url))
            return
        with embedded(settings).share() as server:
            url = on_embedded(settings, server).migration_database_url
            asyncio.run(migrations.upgrade_or_accept(url))
            asyncio.run(_prepare(url))


async def _prepare(url: str | None) -> None:
    try:
        async with restored(url) as database:
            extent = await database.begin_epoch()
            began = extent.epochs[-1]
            print(f"Began epoch {began.name} of the feed, after position {began.after_position}.")
            async for one in database.advance_sequences():
                print(f"Moved {one.sequence} from {one.last} to {one.stored}.")
            count, wrong = await database.check()
    except (CannotPrepare, UnknownSequence) as error:
        raise failure(str(error)) from error
    if wrong:
        raise failure("\n".join(wrong))
    print(f"Checked the epoch and {count} sequences: none is behind what is stored.")
