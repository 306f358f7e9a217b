"""Whether the feed tells every event once, and each customer's in the order of their commits."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg

from app.services.feed_events import FeedType, entries
from app.store.feed import Audited

# What follows from others or from time alone: no event was recorded for it.
_DERIVED = {
    FeedType.CASE_RESPONDED,
    FeedType.CASE_RESPONSE_MISSED,
    FeedType.ENTITLEMENTS_CHANGED,
    FeedType.CONTRACT_SUSPENDED,
    FeedType.CONTRACT_RESUMED,
    FeedType.CONTRACT_EXPIRED,
    FeedType.TICKETS_EXPIRED,
    FeedType.FREE_HOURS_STARTED,
    FeedType.FREE_HOURS_ENDED,
}

_Told = tuple[str, UUID | None, Any]


async def misordered(url: str) -> tuple[int, list[str]]:
    """The entries compared, and the customers of whom the feed tells something else than events do.

    Events of one customer are numbered under its lock, so that their numbers are in the order of
    their commits.
    """
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        recorded = await connection.fetch(
            """SELECT id, type, customer_id, case_id, subject_id, occurred_at, data::text AS data
            FROM events ORDER BY id"""
        )
        published = await connection.fetch(
            "SELECT customer_id, type, subject_id, data::text AS data FROM feed ORDER BY position"
        )
    finally:
        await connection.close()
    expected = _by_customer(
        (one.customer_id, (str(one.type), one.subject_id, one.data))
        for row in recorded
        for one in entries(Audited(*row)._replace(data=json.loads(row["data"])))
    )
    found = _by_customer(
        (row["customer_id"], (row["type"], row["subject_id"], json.loads(row["data"])))
        for row in published
        if row["type"] not in _DERIVED
    )
    wrong = [
        f"{customer}: {expected[customer]} was recorded, {found[customer]} was told"
        for customer in expected.keys() | found.keys()
        if expected[customer] != found[customer]
    ]
    return sum(map(len, found.values())), wrong


def _by_customer(
    rows: Iterable[tuple[UUID | None, _Told]],
) -> defaultdict[UUID | None, list[_Told]]:
    found: defaultdict[UUID | None, list[_Told]] = defaultdict(list)
    for customer, told in rows:
        found[customer].append(told)
    return found
