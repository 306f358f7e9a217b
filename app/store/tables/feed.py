"""Tables of the feed: what happened, in the order of publication, and who publishes it."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSON

from app.store.tables.columns import Instant, metadata

unpublished_events = Table(
    # The events that the feed does not have yet. A trigger on `events` fills it.
    "unpublished_events",
    metadata,
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
)

feed = Table(
    # What is told of events; `data` has no text that a person wrote. Positions are microseconds
    # since 1970, each later than all before it, so that they tell nothing but time.
    "feed",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("customer_id", Uuid),
    Column("case_id", Uuid),
    Column("subject_id", Uuid),
    Column("occurred_at", Instant, nullable=False),
    Column("data", JSON, nullable=False),
    Index("ix_feed_customer_id_position", "customer_id", "position"),
    Index("ix_feed_type_position", "type", "position"),
)

feed_state = Table(
    # One row: the last position, and the last one that was deleted as too old.
    "feed_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("pruned_through", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

feed_epochs = Table(
    # A position is unique within an epoch. A new one begins with a database that may have lost
    # positions which were already read: after a restore, or a promotion.
    "feed_epochs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    # The last position before the epoch.
    Column("after_position", BigInteger, nullable=False),
    # Which database it is (`store.feed.CLUSTER`); null until the first publication.
    Column("cluster", Text),
)

leases = Table(
    # Which process does the work that one process alone does at a time.
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Uuid, nullable=False),
    Column("held_until", Instant, nullable=False),
)
