"""Events on the wire: CloudEvents 1.0."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Union, get_type_hints, is_typeddict

from pydantic import Field, create_model

from app.http.cloud_events import cloud_event
from app.http.cursors import LONGEST
from app.http.fields import CUSTOMER, Digits, Key, Output, Query
from app.http.following import LONGEST_WAIT
from app.http.paging import DEFAULT_LIMIT, LARGEST_LIMIT
from app.services.feed import Page
from app.services.feed_events import FeedType


class StreamQuery(Query):
    """What to hear, and from where on."""

    after: Annotated[str, Field(max_length=LONGEST)] | None = Field(
        default=None,
        description="The `next_cursor` of an answer; `now`: what happens from now on. Without it:"
        " from the oldest event that is kept.",
    )
    type: list[FeedType] | None = Field(
        default=None, max_length=len(FeedType), description="Only these types; repeat it for more."
    )
    customer_id: Key | None = Field(default=None, description=CUSTOMER)


class EventsQuery(StreamQuery):
    limit: Annotated[int, Field(ge=1, le=LARGEST_LIMIT), Digits] = DEFAULT_LIMIT
    wait: Annotated[int, Field(ge=0, le=LONGEST_WAIT), Digits] = Field(
        default=0,
        description="Seconds to wait for an event if there is none: the answer comes with the first"
        " one, or empty.",
    )


class CloudEvent(Output):
    """What every event has (CloudEvents 1.0)."""

    specversion: Literal["1.0"] = Field(description="The version of CloudEvents.")
    id: str = Field(description="Different for every event, and the same whenever it is sent.")
    source: str = Field(description="The service that tells it, always the same.")
    subject: str = Field(description="What it is about, as the path after `/v1/`.")
    time: datetime = Field(description="When it happened.")
    dataschema: str = Field(
        description="The name of the shape of `data`: the type, and a version that changes with it."
    )
    sequence: str = Field(description="Later events have a greater one, compared as text.")
    partitionkey: str | None = Field(
        default=None, description="The id of the customer, if it concerns one."
    )


_MEANINGS = {
    "after": "After it: the values of fields that hold no text of a person.",
    "before": "Before it: the values of fields that hold no text of a person.",
    "cause": "What somebody wrote, or the passing of time alone.",
    "change": "What happened to the closure.",
    "changed": "The names of all fields that changed.",
    "disabled_from": "The first failure from this instant on disables it.",
    "failing_since": "The first failure since the last success.",
    "reason": "`failing`: nothing but failures for five days. `gone`: the receiver answered 410.",
    "gained": "Services that are allowed now and were not.",
    "lost": "Services that were allowed and are not now.",
    "services": "The services that are allowed.",
    "reasons": "Why not, as `column:code`.",
    "columns": "The columns in which the customer stands.",
    "unlocked_by": "The purchases of which each alone would have changed the answer.",
    "renews": "The number of the contract before.",
    "quantity": "How many tickets.",
    "archived": "False: it is listed again.",
    "into": "The record that has everything now.",
    "merged": "The record that became part of the other.",
    "episode": "Counts how often the notices of this allowance began anew.",
    "level": "Days before the end (`ending`), or per cent used (`used`).",
    "granted": "Minutes of free hours or a contract, tickets of a pack.",
    "used": "Minutes charged, or tickets consumed.",
    "left": "What can still pay for cases.",
    "overrun": "Minutes worked that nothing covers.",
}
"""What members of events mean where the glossary means something else, or does not know them."""


@cache
def _shape(data: type) -> type[Output]:
    """The model of a TypedDict of `services.feed_events`, and of those inside of it."""
    members: dict[str, Any] = {
        name: (
            _shape(each) if is_typeddict(each) else each,
            Field(description=_MEANINGS.get(name)),
        )
        for name, each in get_type_hints(data).items()
    }
    return create_model(
        data.__name__, __base__=Output, __doc__=data.__doc__ or "What an event tells.", **members
    )


def _model(type_: FeedType) -> Any:
    words = (word for part in type_.split(".") for word in part.split("_"))
    name = "".join(word.capitalize() for word in words) + "Event"
    own: dict[str, Any] = {"type": (Literal[str(type_)], ...), "data": (_shape(type_.data), ...)}
    return create_model(name, __base__=CloudEvent, __doc__=f"`{type_}`", **own)


_EVENTS: Any = Union[tuple(_model(one) for one in FeedType)]  # noqa: UP007 - of a list
Event = Annotated[_EVENTS, Field(discriminator="type")]


class EventPage(Output):
    """Events in the order of publication; one customer's are in the order of their commits."""

    items: list[Event]
    next_cursor: str = Field(description="Never null: send it as `after` to read on.")
    has_more: bool = Field(description="Whether there are more at this moment.")


def page_json(page: Page, next_cursor: str) -> dict[str, Any]:
    """A page, ready to be rendered by orjson."""
    items: Sequence[Any] = [cloud_event(one, page.extent) for one in page.items]
    return {"items": items, "next_cursor": next_cursor, "has_more": page.has_more}
