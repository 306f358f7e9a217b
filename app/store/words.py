"""Taking words out of what is otherwise never changed: events and stored answers (R43).

An event keeps everything but its words: the trigger `keep_event` compares the data before and
after. A stored answer keeps its status, so that a request that is repeated is still not done twice.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, bindparam, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.blocks import in_blocks
from app.store.tables import events, idempotency_keys

_TAKE_OUT = text(
    "SELECT take_words_out(CAST(:ids AS bigint[]), CAST(CAST(:changed AS text[]) AS jsonb[]))"
)
_ANSWERS = text("""
    SELECT client, key, body FROM idempotency_keys
    WHERE customer_id = ANY (CAST(:customers AS uuid[])) AND body IS NOT NULL
    UNION ALL
    SELECT client, key, body FROM idempotency_keys
    WHERE (customer_id IS NULL OR customer_id = ANY (CAST(:others AS uuid[])))
        AND body IS NOT NULL AND EXISTS (
        SELECT FROM regexp_matches(convert_from(body, 'UTF8'), CAST(:member AS text), 'g') found
        WHERE found[1] = ANY (CAST(:ids AS text[])))
    ORDER BY client, key""")
# Members of an answer that say what it is about.
_MEMBER = '"(?:id|case_id|customer_id|number)":"([^"]{1,60})"'
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
    changed = [
        (row.id, new)
        async for row in in_blocks(connection, events, where)
        if (new := change(row.data)) != row.data
    ]
    if changed:
        parameters: dict[str, Sequence[object]] = {
            "ids": [id_ for id_, _ in changed],
            "changed": [orjson.dumps(data).decode() for _, data in changed],
        }
        await connection.execute(_TAKE_OUT, parameters)
    return len(changed)


async def take_out_of_answers(
    connection: AsyncConnection,
    customer_ids: Sequence[UUID],
    about: Collection[str],
    change: Change,
    others: Sequence[UUID] = (),
) -> int:
    """Change the stored answers of a customer, who has these ids: how many.

    Answers that do not name their customer, and those of `others`, are its own if they are about
    one of `about`: ids, and numbers of cases.
    """
    parameters = {
        "customers": [*customer_ids],
        "others": [one for one in others if one not in customer_ids],
        "member": _MEMBER,
        "ids": [*about],
    }
    rows = await connection.execute(_ANSWERS, parameters)
    found = 0
    for client, key, body in rows.all():
        answer = orjson.loads(body)
        changed = change(answer)
        if changed != answer:
            found += 1
            values = {"of_client": client, "of_key": key, "body": orjson.dumps(changed)}
            await connection.execute(_SET_BODY, values)
    return found
