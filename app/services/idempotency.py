"""Stored answers to requests that carried an `Idempotency-Key`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.services.unit_of_work import Caller, UnitOfWork
from app.store.tables import idempotency_keys as keys

FORGOTTEN_AT_ONCE = 5_000


async def claim(work: UnitOfWork, key: str) -> bool:
    """Claim a client's key until the transaction ends; False if another request holds it.

    An advisory lock, because a second INSERT of the key would wait for the first.
    """
    name = f"{work.caller.client}\n{key}"
    return bool(
        await work.connection.scalar(
            select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))
        )
    )


async def stored(connection: AsyncConnection, caller: Caller, key: str) -> Row[Any] | None:
    """The fingerprints, status, headers and body of a key's first request.

    `body` is None if the answer showed a secret.
    """
    query = select(keys).where(keys.c.client == caller.client, keys.c.key == key)
    row: Row[Any] | None = (await connection.execute(query)).one_or_none()
    return row


async def remember(
    work: UnitOfWork,
    key: str,
    fingerprint: bytes,
    sent_fingerprint: bytes,
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,
) -> None:
    """Store the answer to a key, in the transaction of the work that it answers."""
    concerned = work.concerned
    await work.connection.execute(
        insert(keys).values(
            client=work.caller.client,
            key=key,
            fingerprint=fingerprint,
            sent_fingerprint=sent_fingerprint,
            status=status,
            headers=dict(headers),
            body=body,
            created_at=work.now,
            customer_id=next(iter(concerned)) if len(concerned) == 1 else None,
        )
    )


async def forget(connection: AsyncConnection, before: datetime) -> bool:
    """Delete keys that were first used before an instant; False if there may be more to delete."""
    names = (keys.c.client, keys.c.key)
    old = select(*names).where(keys.c.created_at < before).limit(FORGOTTEN_AT_ONCE)
    deleted = await connection.execute(delete(keys).where(tuple_(*names).in_(old)))
    return deleted.rowcount < FORGOTTEN_AT_ONCE
