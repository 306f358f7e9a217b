"""The one place where the clock is read."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, aware, in UTC. Called once at the edge; the value is passed inwards."""
    return datetime.now(UTC)
