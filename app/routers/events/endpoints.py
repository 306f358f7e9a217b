"""Calls about events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header
from fastapi import Query as FromQuery
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.errors import CursorExpired, ServiceError
from app.http.cloud_events import cloud_event
from app.http.context import Context, Ctx, record_of
from app.http.cursors import LONGEST, Cursors, cursors_of
from app.http.encoding import json_bytes
from app.http.following import NothingNew, Watch, reading
from app.http.resource import Resource
from app.http.responses import ok
from app.routers.events.schemas import (
    EventPage,
    EventsQuery,
    StreamQuery,
    page_json,
)
from app.services import feed as service
from app.services.feed import Cursor, Page, Place, Wanted
from app.store.failures import FAILURES

events = Resource("Events")

_CURSOR = "events"
_SENT_TOGETHER = 100
_PING_SECONDS = 15.0
_RETRY_MS = 2_000


@events.follows("/events", EventPage, "events:read", CursorExpired)
async def list_events(context: Ctx, query: Annotated[EventsQuery, FromQuery()]) -> Response:
    """Read events.

    In the order of their publication; nothing ever appears before a cursor that was answered, and
    the events of one customer come in the order of their commits. Each is delivered at least once:
    its `id` tells whether it was seen before. `data` holds ids, numbers, dates and states; what
    people wrote is read from the resource itself.
    """
    request = context.request
    waited: Cursor | None = getattr(request.state, "waited_after", None)
    page = await _page(context, query, waited, query.limit)
    if query.wait and request.state.may_wait and not page.items:
        raise NothingNew(page.next, query.wait)
    cursors = await cursors_of(request.app.state)
    return ok(context, page_json(page, _encode(cursors, page.next)), etag=False)


@events.follows(
    "/events/stream",
    None,
    "events:read",
    CursorExpired,
    # A client may ask for JSON in every call.
    offers=("text/event-stream", "application/json"),
    response_class=StreamingResponse,
    sends=("X-Accel-Buffering",),
    responses={
        200: {
            "description": "Server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def stream_events(
    context: Ctx,
    query: Annotated[StreamQuery, FromQuery()],
    last_event_id: Annotated[
        str | None, Header(max_length=LONGEST, description="The `id` of the last event heard.")
    ] = None,
) -> Response:
    """Read events as they happen.

    The same as `GET /v1/events`, as server-sent events: `event` is the type, `data` the event, and
    `id` the cursor after it, which `Last-Event-ID` or `after` takes up again. Without either, what
    happens from now on.
    """
    if last_event_id is not None:
        query = query.model_copy(update={"after": last_event_id})
    elif query.after is None:
        query = query.model_copy(update={"after": "now"})
    page = await _page(context, query, None, _SENT_TOGETHER)
    record_of(context.request.scope).streams = True
    return EventStream(context.request, context.caller.client, query, page)


class EventStream(EventSourceResponse):
    """The events after a page, and that page, for as long as the client listens.

    Raises TooManyRequests before it begins if the client has all its streams already. It holds no
    more than one page, and reads the next when the client has taken that one.
    """

    def __init__(self, request: Request, client: str, query: StreamQuery, page: Page) -> None:
        super().__init__(
            self._parts(page), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._request = request
        self._client = client
        self._query = query
        self._watch: Watch = request.app.state.watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._watch.place(self._client):
            await super().__call__(scope, receive, send)

    async def _parts(self, first: Page) -> AsyncIterator[bytes]:
        cursors = await cursors_of(self._request.app.state)
        yield format_sse_event(comment="open", retry=_RETRY_MS)
        page: Page | None = first
        after = first.next
        while True:
            if page is not None and page.items:
                yield b"".join(_sent(page, cursors))
            if self._watch.closed:
                return
            if (page is None or not page.items) and not await self._watch.beyond(
                after.position, _PING_SECONDS
            ):
                yield KEEPALIVE_COMMENT
            page = None
            try:
                async with reading(self._request, "events:read") as context:
                    page = await _page(context, self._query, after, _SENT_TOGETHER)
                after = page.next
            except FAILURES:
                # A browser would not come back after an answer other than 200.
                await asyncio.sleep(1)
            except ServiceError:
                # The token has ended, or the feed no longer has what comes next: a new request
                # is told so.
                return


def _sent(page: Page, cursors: Cursors) -> list[bytes]:
    return [
        format_sse_event(
            event=one.type,
            data_str=json_bytes(cloud_event(one, page.extent)).decode(),
            id=_encode(cursors, Cursor(page.extent.epoch_of(one.position), one.position)),
        )
        for one in page.items
    ]


async def _page(context: Context, query: StreamQuery, after: Cursor | None, limit: int) -> Page:
    """The events after a cursor, by default that of the query. Raises as `services.feed.page`."""
    cursors = await cursors_of(context.request.app.state)
    wanted = Wanted(query.type, query.customer_id)
    place: Place
    if after is not None:
        place = after
    elif query.after is None:
        place = "oldest"
    elif query.after == "now":
        place = "now"
    else:
        place = Cursor(*cursors.decode(_CURSOR, query.after, (str, int), "query/after"))
    try:
        return await service.page(context, wanted, place, limit)
    except CursorExpired as expired:
        begin_after = _encode(cursors, expired.place)
        expired.details = {"begin_after": begin_after, "missed": expired.missed}
        raise


def _encode(cursors: Cursors, cursor: Cursor) -> str:
    return cursors.encode(_CURSOR, cursor.epoch, cursor.position)
