"""Webhooks on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from app.http.fields import (
    HttpUrl,
    Input,
    Instant,
    Key,
    MergePatch,
    ShortText,
    Sound,
    StoredOutput,
    Whole,
    absent,
    refuse,
)
from app.http.paging import PageQuery
from app.services.deliveries import AttemptError
from app.services.feed_events import FeedType
from app.services.webhooks import LONGEST_ROTATION, MOST_HEADERS, State
from app.store.webhooks import DeliveryState

_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$"
_VALUE = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"

# What the request itself needs, and what says how a connection is used (RFC 9110, 7.6.1).
_OWN = frozenset(
    (
        *("accept", "connection", "content-encoding", "content-length", "content-type", "cookie"),
        *("expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        "user-agent",
    )
)
_OWN_PREFIXES = ("webhook-", "proxy-")


def _headers(given: Mapping[str, str]) -> Mapping[str, str]:
    names = [name.lower() for name in given]
    if len(set(names)) < len(names):
        raise refuse("duplicate")
    for name in names:
        if name in _OWN or name.startswith(_OWN_PREFIXES):
            raise refuse("invalid")
    return given


HeaderName = Annotated[str, Field(pattern=_NAME)]
HeaderValue = Annotated[str, Field(max_length=1_000, pattern=_VALUE), Sound]
Headers = Annotated[
    dict[HeaderName, HeaderValue],
    Field(max_length=MOST_HEADERS),
    AfterValidator(_headers),
]
# A body's values are not converted, but JSON has no enumerations.
EventName = Annotated[FeedType, Field(strict=False)]
Types = Annotated[list[EventName], Field(min_length=1, max_length=len(FeedType))]
_HEADERS = (
    "Sent with every delivery, such as `Authorization`; at most 10. They are never shown again."
)
_TYPES = "The types of events that are sent. Null: all, also those of later releases."


class NewWebhook(Input):
    """Where events are sent."""

    url: HttpUrl = Field(
        description="An `https` URL at a public address, without a user name or fragment."
    )
    types: Types | None = Field(default=None, description=_TYPES)
    customer_id: Key | None = Field(
        default=None, description="Only events of this customer, by id or code."
    )
    description: ShortText | None = None
    headers: Headers | None = Field(default=None, description=_HEADERS)


class WebhookPatch(MergePatch):
    """Changes of a webhook (RFC 7396): what is left out stays."""

    url: HttpUrl = absent()
    types: Types | None = absent(_TYPES)
    description: ShortText | None = absent()
    headers: Headers | None = absent("In the place of all that there were.")
    paused: bool = absent(
        "`true`: events wait. `false`: what waits is sent, and a webhook that was disabled is"
        " enabled."
    )


class Webhook(StoredOutput):
    """An endpoint that is called with events."""

    id: UUID
    url: str
    types: list[str] | None = Field(description=_TYPES)
    customer_id: UUID | None = Field(description="Null: the events of all customers.")
    description: str | None
    header_names: list[str] = Field(
        description="The names of the headers that are sent with every delivery."
    )
    state: State = Field(
        description="`failing`: the last attempt failed. `disabled`: nothing is sent any more."
    )
    paused: bool
    failing_since: datetime | None = Field(
        description="The first failure since the last success. After five days of nothing but"
        " failures it is disabled."
    )
    disabled_at: datetime | None
    disabled_reason: Literal["failing", "gone"] | None = Field(
        description="`gone`: the receiver answered 410."
    )
    old_secret_valid_until: datetime | None = Field(
        description="Until then deliveries are signed with the secret before as well."
    )
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Webhook):
    """An endpoint with its secret."""

    secret: str = Field(
        description="The key of the signatures (Standard Webhooks). Shown this once."
    )


class SecretRotation(Input):
    """A new secret for a webhook."""

    old_valid_for_seconds: Annotated[int, Field(ge=0, le=LONGEST_ROTATION), Whole] = Field(
        default=86_400,
        description="For how long deliveries are signed with the old secret as well; 0: not at"
        " all.",
    )


class TestEvent(Input):
    """An example to send."""

    type: EventName


class WebhookAttempt(StoredOutput):
    """One attempt to deliver an event. Of the answer nothing is kept but its status and size."""

    number: int
    at: datetime
    duration_ms: int
    status: int | None = Field(description="The answer's status; null without an answer.")
    error: AttemptError | None = Field(
        description=(
            "Why no answer came. `address_refused`: the host has an address that is not public."
        )
    )
    answer_bytes: int = Field(description="Size of the answer's body, of which 1 kB is read.")


class WebhookDelivery(StoredOutput):
    """An event for a webhook."""

    id: UUID
    event_id: str
    event_type: str
    customer_id: UUID | None = Field(
        description="Events of one customer are sent one after another. Null: of no customer."
    )
    test: bool = Field(description="An example that was asked for.")
    state: DeliveryState = Field(
        description="`abandoned`: given up after the last attempt of the schedule."
    )
    attempts_made: int
    attempts: list[WebhookAttempt] = Field(description="The latest 20, oldest first.")
    next_attempt_at: datetime | None = Field(
        description="Null before the first attempt, and after the last."
    )
    created_at: datetime
    finished_at: datetime | None


class DeliveriesQuery(PageQuery):
    state: DeliveryState | None = None
    event: Annotated[str, Field(max_length=80), Sound] | None = Field(
        default=None, description="Only the delivery of the event with this id."
    )


class NewRecovery(Input):
    """What to send again."""

    since: Instant = Field(description="Events published from then on; at most 30 days ago.")
    only_failed: bool = Field(
        description="`true`: what was given up. `false`: everything, delivered or not, that"
        " `GET /v1/events` still has."
    )


class WebhookRecovery(StoredOutput):
    """Events that are sent again."""

    id: UUID
    since: datetime
    only_failed: bool
    state: Literal["running", "finished"]
    queued: int = Field(description="How many deliveries were made to wait so far.")
    created_at: datetime
    finished_at: datetime | None
