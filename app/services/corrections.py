"""How a correction tells what it changes (R40)."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy import Row

from app.store.event_types import Corrected


def told(fields: Mapping[str, Any]) -> dict[str, str | int | None]:
    """Fields as the data of an event: days as texts."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in fields.items()
    }


def correction(old: Row[Any], changed: Mapping[str, Any], reason: str) -> Corrected:
    """The event of a correction of a contract or pack from what it was to `changed`."""
    before = {name: getattr(old, name) for name in changed}
    return {
        "number": old.number,
        "reason": reason,
        "before": told(before),
        "after": told(changed),
    }
