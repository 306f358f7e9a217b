"""What a database needs after a restore, or a promotion that may have lost the last steps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

from app.store import feed, migrations, sequences
from app.store.driver import create_engine
from app.store.feed import Extent
from app.store.sequences import Advanced

_OWNED = text("""
    SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'public.events'::regclass""")


class CannotPrepare(Exception):
    """The schema is of another version, or another role owns it; the message says which."""


class Restored:
    """A database after its restore, reached as the owner of its schema."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin_epoch(self) -> Extent:
        """Begin a new epoch of the feed: where the feed ends, with all its epochs."""
        async with self._engine.begin() as connection:
            return await feed.begin_epoch(connection)

    def advance_sequences(self) -> AsyncIterator[Advanced]:
        """Move the sequences that are behind the data, and yield them. Raises UnknownSequence."""
        return sequences.advance(self._engine)

    async def check(self) -> tuple[int, list[str]]:
        """The number of sequences, and what is wrong nevertheless. Raises UnknownSequence."""
        wrong = []
        async with self._engine.begin() as connection:
            if not await feed.is_current(connection):
                wrong.append("the feed's last epoch is not that of this database")
            count, behind = await sequences.behind(connection)
            wrong += [f"{one.sequence} is at {one.last}, {one.stored} is stored" for one in behind]
        return count, wrong


@asynccontextmanager
async def restored(url: str | None) -> AsyncIterator[Restored]:
    """The database at an address. Raises CannotPrepare, and ValueError if there is none."""
    if url is None:
        raise ValueError("no database address is set")
    engine = create_engine(url, {}, poolclass=NullPool)
    try:
        if (refusal := await migrations.refusal(engine)) is not None:
            raise CannotPrepare(refusal)
        async with engine.connect() as connection:
            if not await connection.scalar(_OWNED):
                raise CannotPrepare(
                    "sequences are moved by the role that owns the schema:"
                    " ASSISTENZA_MIGRATION_DATABASE_URL"
                )
        yield Restored(engine)
    finally:
        await engine.dispose()
