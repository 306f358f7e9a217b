"""Leases: which process does the work that one process alone does at a time.

A lease saves work; it guards nothing. What must not happen twice is decided by a lock in the
transaction that does it.
"""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The database's clock, so that those of the processes need not agree.
_HOLD = text("""
    INSERT INTO leases AS l (name, holder, held_until)
    VALUES (:name, :holder, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
    WHERE l.holder = excluded.holder OR l.held_until < clock_timestamp()
    RETURNING true""")
_END = text(
    "UPDATE leases SET held_until = clock_timestamp() WHERE name = :name AND holder = :holder"
)


async def hold(connection: AsyncConnection, name: str, holder: UUID, seconds: float) -> bool:
    """Take a free lease, or renew one's own, for so many seconds; False if another holds it."""
    values = {"name": name, "holder": holder, "seconds": seconds}
    return bool(await connection.scalar(_HOLD, values))


async def end(connection: AsyncConnection, name: str, holder: UUID) -> None:
    """Give a lease up, if it is one's own."""
    await connection.execute(_END, {"name": name, "holder": holder})
