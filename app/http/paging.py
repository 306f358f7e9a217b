"""Lists on the wire: `limit`, `cursor`, and one page with the cursor of the next."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field
from starlette.responses import Response

from app.http.context import Context
from app.http.cursors import LONGEST, cursors_of
from app.http.fields import Digits, Output, Query
from app.http.responses import ok
from app.store.keyset import Listing

T = TypeVar("T")

DEFAULT_LIMIT, LARGEST_LIMIT = 50, 200


class PageQuery(Query):
    """The query string of a list. Subclasses add the filters."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_LIMIT), Digits] = DEFAULT_LIMIT
    cursor: Annotated[str, Field(max_length=LONGEST)] | None = None

    def filters(self) -> str:
        """What was asked of the list, apart from the page, as one text."""
        return self.model_dump_json(exclude={"limit", "cursor"}, exclude_defaults=True)


class Page(Output, Generic[T]):
    """One page; `next_cursor` is null on the last. Long texts end a page before its `limit`."""

    items: list[T]
    next_cursor: str | None


async def paginate(
    context: Context, query: PageQuery, listing: Listing, shape: Callable[[Any], Output]
) -> Response:
    """One page of a list, each row turned into what is sent by `shape`."""
    state = context.request.app.state
    of = f"{listing.name} {query.filters()}"
    after = None
    if query.cursor is not None:
        after = (await cursors_of(state)).decode(of, query.cursor, listing.key_types)
    rows, last = await listing.page(context.connection, query.limit, after)
    items = [shape(row) for row in rows]
    next_cursor = None if last is None else (await cursors_of(state)).encode(of, *last)
    return ok(context, Page[Any](items=items, next_cursor=next_cursor), etag=False)
