"""Rows of a table in blocks, so that all of them together need no memory and hold no event loop."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

_ROWS = 100


async def in_blocks(
    connection: AsyncConnection, table: Table, where: ColumnElement[bool]
) -> AsyncIterator[Row[Any]]:
    """The rows that fulfil a condition, in the order of their ids, fetched some at a time.

    The ids are read first: with a limit the planner might walk the whole table in their order.
    """
    query = select(table.c.id).where(where).order_by(table.c.id)
    ids = (await connection.execute(query)).scalars().all()
    for start in range(0, len(ids), _ROWS):
        block = table.c.id.in_(ids[start : start + _ROWS])
        for row in await connection.execute(select(table).where(block).order_by(table.c.id)):
            yield row
