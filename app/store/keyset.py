"""Lists read page by page: each page begins after the sort keys of the last row shown.

Pages follow each other by keyset, never by offset, so that rows added in between make no page
skip or repeat a row.

A page is found in two steps of one statement: first the ids, from the list's own table and in its
order, then these rows with all that belongs to them. Joined at once, the planner may read another
table from its beginning to find the rows that match a page.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    Text,
    any_,
    cast,
    func,
    literal,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

MOST_BYTES = 1_048_576
"""A page ends after the row with which its long columns reach so many bytes."""
# A condition that holds for one row in twenty or more fills a page from as many rows of the list.
_LOOKED_THROUGH = 1_000


class Rare(NamedTuple):
    """A condition that no index answers in the order of a list.

    The first rows of the list are looked through for it. If they do not fill the page it is rare,
    and the rows are found by an index and sorted. The planner cannot choose between the two: it
    does not know how often a word occurs, least of all in a generic plan.

    Example: `GET /v1/cases?q=valve`. The newest cases are looked through for the word; if it is
    rare, the trigram index finds its cases.
    """

    condition: ColumnElement[bool]
    indexed: ColumnElement[bool]
    """True wherever `condition` is; an index answers it."""


class Listing(NamedTuple):
    """A query, the columns that order it, and what is listed of it."""

    name: str
    """Names the list to its cursors, so that a cursor of another list is refused. A list of what
    belongs to one thing has the thing's id in its name."""
    rows: Select[Any]
    """Whole rows: what is listed, or with `where` all that the caller may see."""
    order: tuple[ColumnElement[Any], ...]
    """Unique as a whole; all ascending, or all descending. The last is the id."""
    descending: bool = False
    where: tuple[ColumnElement[bool], ...] | None = None
    """What is listed of a table that may be large: conditions that most of its rows fulfil, or that
    an index answers in the list's order. None if `rows` has its own conditions."""
    among: tuple[FromClause, ColumnElement[bool]] | None = None
    """A few values, and the rows that belong to one of them. An index answers the condition in the
    list's order for each of the values, but not for all together.

    Example: `GET /v1/cases?state=open`. The index begins with state, channel and category:
    the first rows of each channel and category are read in order, and merged."""
    fixed: tuple[ColumnElement[Any], ...] = ()
    """Expressions that `where` fixes to one value, and that stand before `order` in the index.

    Row-level security keeps the planner from seeing that they are constant, if their functions are
    not leakproof; it would not read the index in order unless they are sorted by as well.

    Example: `GET /v1/licences?kind=editor`, whose index is on kind, then id.
    """
    rare: Rare | None = None
    sort: tuple[ColumnElement[Any], ...] | None = None
    """How to sort instead of by `order`, for a list of one page."""
    long_columns: tuple[str, ...] = ()
    """Columns of `rows` whose size bounds a page (`MOST_BYTES`)."""

    @property
    def key_types(self) -> tuple[type, ...]:
        """The Python type of each sort key."""
        return tuple(column.type.python_type for column in self.order)

    async def page(
        self, connection: AsyncConnection, limit: int, after: Sequence[Any] | None
    ) -> tuple[Sequence[Row[Any]], list[Any] | None]:
        """At most `limit` rows after these sort keys, and the keys of the last if more follow.

        At least one row, and fewer than `limit` where `long_columns` reach `MOST_BYTES`.
        """
        following = () if after is None else (self._after(after),)
        found = await self.first(connection, limit + 1, following)
        shown = found[:limit]
        if self._count(found) == len(shown):
            return shown, None
        return shown, [shown[-1]._mapping[column.name] for column in self.order]

    async def first(
        self,
        connection: AsyncConnection,
        limit: int,
        following: tuple[ColumnElement[bool], ...] = (),
    ) -> Sequence[Row[Any]]:
        """The first rows, at most `limit`, of those `following` a place in the order.

        Fewer where `long_columns` reach `MOST_BYTES`.
        """
        if self.where is None:
            return await self._sorted(connection, self.rows.where(*following).limit(limit))
        where = (*self.where, *following)
        if self.rare is None:
            return await self._whole(connection, self._ids(where, limit))
        near = self._among(self._ids(where, _LOOKED_THROUGH))
        ids = select(self._id).where(near, self.rare.condition)
        found = await self._whole(connection, ids.order_by(*self._sorting).limit(limit))
        if self._count(found) == limit:
            return found
        place = func.row_number().over(order_by=self._sorting).label("place")
        # Materialized: with the limit in sight the planner would read the rows in their order.
        matching = (
            select(self._id, place)
            .where(*where, self.rare.indexed, self.rare.condition)
            .cte("matching")
            .prefix_with("MATERIALIZED")
        )
        ids = select(matching.c.id).order_by(matching.c.place).limit(limit)
        return await self._whole(connection, ids)

    @property
    def _id(self) -> ColumnElement[Any]:
        return self.order[-1]

    def _after(self, keys: Sequence[Any]) -> ColumnElement[bool]:
        last = tuple_(*(literal(key, one.type) for key, one in zip(keys, self.order, strict=True)))
        row = tuple_(*self.order)
        return row < last if self.descending else row > last

    @property
    def _sorting(self) -> Sequence[ColumnElement[Any]]:
        return self.sort or _directed(self.order, self.descending)

    def _ids(self, where: tuple[ColumnElement[bool], ...], limit: int) -> Select[Any]:
        """The ids of the first rows under these conditions, in the list's order."""
        sorting = [*_directed(self.fixed, self.descending), *self._sorting]
        if self.among is None:
            return select(self._id).where(*where).order_by(*sorting).limit(limit)
        values, belongs = self.among
        each = select(*self.order).where(*where, belongs).order_by(*sorting).limit(limit)
        some = each.correlate(values).lateral("some")
        *_, id_ = order = [some.c[one.name] for one in self.order]
        query = select(id_).select_from(values.join(some, true()))
        return query.order_by(*_directed(order, self.descending)).limit(limit)

    def _among(self, ids: Select[Any]) -> ColumnElement[bool]:
        # As an array the planner takes them for few, whatever it knows of the query.
        return self._id == any_(func.array(ids.correlate(None).scalar_subquery()))

    async def _whole(self, connection: AsyncConnection, ids: Select[Any]) -> Sequence[Row[Any]]:
        return await self._sorted(connection, self.rows.where(self._among(ids)))

    async def _sorted(self, connection: AsyncConnection, query: Select[Any]) -> Sequence[Row[Any]]:
        query = query.order_by(*self._sorting)
        if self.long_columns:
            query = self._cut(query)
        rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
        return rows

    def _cut(self, query: Select[Any]) -> Select[Any]:
        """The rows up to the one with which `long_columns` reach `MOST_BYTES`, each with `found`,
        the number of all. The others do not leave the database."""
        place = func.row_number().over(order_by=self._sorting).label("place")
        page = query.add_columns(place).subquery("page")
        size: ColumnElement[int] = literal(0)
        for name in self.long_columns:
            size += func.coalesce(func.octet_length(cast(page.c[name], Text)), 0)
        before = func.sum(size).over(order_by=page.c.place) - size
        sized = select(page, before.label("before"), func.count().over().label("found"))
        rows = sized.subquery("sized")
        return select(rows).where(rows.c.before < MOST_BYTES).order_by(rows.c.place)

    def _count(self, rows: Sequence[Row[Any]]) -> int:
        """How many rows there were before they were cut."""
        return rows[0].found if self.long_columns and rows else len(rows)


def exactly(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """`column = value` for a column in `Listing.fixed` that has few values.

    As a range it leaves the column in the order to be sorted by. With `=` a generic plan may read
    the whole table in the order of ids, because it takes every value for a common one.
    """
    return column.between(value, value)


def _directed(
    order: Sequence[ColumnElement[Any]], descending: bool
) -> Sequence[ColumnElement[Any]]:
    return [one.desc() for one in order] if descending else order
