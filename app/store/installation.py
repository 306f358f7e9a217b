"""Secret keys of the installation: made by a migration, the same for every process and restart."""

from typing import Literal

from sqlalchemy import text

from app.store.database import Database
from app.store.raw_reads import prepare

_KEY = prepare(text("SELECT key FROM installation_keys WHERE purpose = :purpose"))


async def secret_key(database: Database, purpose: Literal["cursors", "listen"]) -> bytes:
    """The key for one purpose, at least 32 bytes.

    It uses a pool of which no request holds a connection while it waits for another one. A
    request may therefore ask for the key while it holds a connection.
    """
    (row,) = await database.raw.fetch(_KEY, {"purpose": purpose})
    key: bytes = row.key
    return key
