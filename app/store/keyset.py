"""Lists read page by page: each page begins after the sort keys of the last row shown.

Pages follow each other by keyset, never by offset, so that rows added in between make no page
skip or repeat a row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection


class Listing(NamedTuple):
    """A query, and the columns that order it."""

    name: str
    """Names the list to its cursors, so that a cursor of another list is refused. A list of what
    belongs to one thing has the thing's id in its name."""
    rows: Select[Any]
    order: tuple[ColumnElement[Any], ...]
    """Unique as a whole; all ascending, or all descending."""
    descending: bool = False

    @property
    def key_types(self) -> tuple[type, ...]:
        """The Python type of each sort key."""
        return tuple(column.type.python_type for column in self.order)

    async def page(
        self, connection: AsyncConnection, limit: int, after: Sequence[Any] | None
    ) -> tuple[Sequence[Row[Any]], list[Any] | None]:
        """At most `limit` rows after these sort keys, and the keys of the last if more follow."""
        query = self.rows
        if after is not None:
            keys = zip(after, self.order, strict=True)
            last = tuple_(*(literal(key, column.type) for key, column in keys))
            row = tuple_(*self.order)
            query = query.where(row < last if self.descending else row > last)
        order = [column.desc() if self.descending else column for column in self.order]
        found = (await connection.execute(query.order_by(*order).limit(limit + 1))).all()
        if len(found) <= limit:
            return found, None
        shown = found[:limit]
        return shown, [shown[-1]._mapping[column.name] for column in self.order]
