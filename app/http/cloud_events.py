"""An event as it is sent: CloudEvents 1.0, in JSON."""

from typing import Any

import orjson

from app.http.encoding import json_bytes
from app.services.feed_events import FeedType, subject_of
from app.services.webhooks import MOST_BODY
from app.store.feed import Extent, Published

SOURCE = "urn:assistenza"
_SCHEMA = "urn:assistenza:events:{type}:1"


def cloud_event(event: Published, extent: Extent) -> dict[str, Any]:
    """An event of the feed, ready to be rendered by orjson.

    `sequence` is the position, `partitionkey` the customer.
    """
    shown: dict[str, Any] = {
        "specversion": "1.0",
        "id": extent.id_of(event.position),
        "source": SOURCE,
        "type": event.type,
        "subject": subject_of(FeedType(event.type), event.subject_id),
        "time": event.occurred_at,
        "dataschema": _SCHEMA.format(type=event.type),
        "sequence": f"{event.position:016}",
    }
    if event.customer_id is not None:
        shown["partitionkey"] = str(event.customer_id)
    return {**shown, "data": orjson.Fragment(event.data)}


def webhook_body(event: Published, extent: Extent) -> bytes:
    """An event as webhooks are sent it: less than MOST_BODY bytes.

    The lists of a larger one are left out, and it says `"incomplete": true`: whoever needs them
    reads the event itself.
    """
    shown = cloud_event(event, extent)
    body = json_bytes(shown)
    if len(body) < MOST_BODY:
        return body
    data = orjson.loads(event.data)
    short = {name: [] if isinstance(value, list) else value for name, value in data.items()}
    return json_bytes(shown | {"incomplete": True, "data": short})
