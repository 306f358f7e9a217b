"""Taking words out of what is otherwise never changed: events and stored answers (R43).

An event keeps everything but its words: the trigger `keep_event` compares the data before and
after. A stored answer keeps its status, so that a request that is repeated is still not done twice.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import events, idempotency_keys

_TAKE_OUT = text(
    "SELECT take_words_out(CAST(:ids AS bigint[]), CAST(CAST(:changed AS text[]) AS jsonb[]))"
)
_ANSWERS = text("""
    SELECT client, key, body FROM idempotency_keys
    WHERE created_at >= :since AND body IS NOT NULL AND EXISTS (
        SELECT FROM unnest(CAST(:needles AS bytea[])) needle WHERE position(needle IN body) > 0)
    ORDER BY client, key FOR UPDATE""")
_SET_BODY = update(idempotency_keys).where(
    idempotency_keys.c.client == bindparam("of_client"),
    idempotency_keys.c.key == bindparam("of_key"),
)

Change = Callable[[Any], Any]
"""Takes a JSON value and returns it without the words; the same value if it has none of them."""


async def take_out_of_events(
    connection: AsyncConnection, where: ColumnElement[bool], change: Change
) -> int:
    """Change the data of the events that fulfil a condition: of how many."""
    rows = await connection.execute(
        select(events.c.id, events.c.data).where(where).order_by(events.c.id)
    )
    changed = [(row.id, new) for row in rows if (new := change(row.data)) != row.data]
    if changed:
        parameters: dict[str, Sequence[object]] = {
            "ids": [id_ for id_, _ in changed],
            "changed": [orjson.dumps(data).decode() for _, data in changed],
        }
        await connection.execute(_TAKE_OUT, parameters)
    return len(changed)


async def take_out_of_answers(
    connection: AsyncConnection, since: datetime, containing: Collection[str], change: Change
) -> int:
    """Change the answers stored since an instant that contain one of these texts: how many."""
    needles = [orjson.dumps(one)[1:-1] for one in containing if one]
    rows = await connection.execute(_ANSWERS, {"since": since, "needles": needles})
    found = 0
    for client, key, body in rows.all():
        answer = orjson.loads(body)
        changed = change(answer)
        if changed != answer:
            found += 1
            values = {"of_client": client, "of_key": key, "body": orjson.dumps(changed)}
            await connection.execute(_SET_BODY, values)
    return found
