"""Closures of help desks (R48), as the statements read them that show a desk.

There are few, and an answer needs only those that have not ended at its instant. They are read in
the statement that reads the facts, so that every process sees a change once it is committed.
"""

from datetime import UTC, datetime, time
from functools import lru_cache
from types import MappingProxyType

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.policy.civil import Closure, Closures, Hours

CLOSURES = """(SELECT coalesce(json_agg(json_build_array(
        h.help_desk, h.starts_at, h.ends_at, h.hours, h.reason) ORDER BY h.starts_at, h.id), '[]')
    FROM help_desk_closures h WHERE h.ends_at > CAST(:at AS timestamptz))::text"""
"""SQL: the closures that end after `:at`, as one JSON text for `parse`."""

_READ = text(f"SELECT {CLOSURES}")
_BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)


async def read(connection: AsyncConnection, at: datetime) -> Closures:
    """Every desk's closures that end after an instant."""
    return parse((await connection.execute(_READ, {"at": at})).scalar_one())


async def every(connection: AsyncConnection) -> Closures:
    """Every desk's closures, also those that have ended."""
    return await read(connection, _BEGINNING)


# The same few texts come back on every question.
@lru_cache(maxsize=64)
def parse(document: str) -> Closures:
    found: dict[str, tuple[Closure, ...]] = {}
    for desk, starts_at, ends_at, hours, reason in orjson.loads(document):
        closure = Closure(
            datetime.fromisoformat(starts_at),
            datetime.fromisoformat(ends_at),
            tuple(
                Hours(time.fromisoformat(one["opens"]), time.fromisoformat(one["closes"]))
                for one in hours or ()
            ),
            tuple(sorted(reason.items())),
        )
        found[desk] = (*found.get(desk, ()), closure)
    return MappingProxyType(found)
