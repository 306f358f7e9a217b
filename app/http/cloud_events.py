"""An event as it is sent: CloudEvents 1.0, in JSON."""

from typing import Any

import orjson

from app.services.feed_events import FeedType, subject_of
from app.store.feed import Extent, Published

SOURCE = "urn:assistenza"
_SCHEMA = "urn:assistenza:events:{type}:1"


def cloud_event(event: Published, extent: Extent) -> dict[str, Any]:
    """An event of the feed, ready to be rendered by orjson.

    `id` is unique although a restored database gives positions a second time, because it names the
    epoch. `sequence` is the position, `partitionkey` the customer.
    """
    shown: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{extent.epoch_of(event.position)}-{event.position}",
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
