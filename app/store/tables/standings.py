"""Tables of the standing: what each customer may use, as the process that publishes found it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from app.store.tables.columns import Instant, metadata

standing_kinds = Table(
    # The few combinations of columns and services that occur, or occurred. How many customers have
    # each stands here so that nobody has to count them. The id follows from the combination.
    "standing_kinds",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("columns", ARRAY(Text), nullable=False),
    Column("services", ARRAY(Text), nullable=False),
    Column("customers", BigInteger, nullable=False),
)

standings = Table(
    # A projection of the facts: nothing is decided by it. A merged record has none.
    "standings",
    metadata,
    Column("customer_id", Uuid, ForeignKey("customers.id"), primary_key=True),
    # The last position of the feed when the facts were read.
    Column("position", BigInteger, nullable=False),
    Column("evaluated_on", Date, nullable=False),
    Column("kind_id", BigInteger, ForeignKey("standing_kinds.id"), nullable=False),
    Column("valid_until", Instant),
    # The instant of the last `entitlements.changed`; null if nobody was told of one.
    Column("changed_at", Instant),
    # The rest of `policy.standing_changes.Stood`.
    Column("detail", JSON, nullable=False),
    Index("ix_standings_valid_until", "valid_until"),
    Index("ix_standings_changed_at", "changed_at"),
    Index("ix_standings_kind_id_customer_id", "kind_id", "customer_id"),
)

standing_state = Table(
    # One row: how far the feed was followed, and the walk over all customers.
    "standing_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("followed", BigInteger, nullable=False),
    Column("walking", Boolean, nullable=False),
    # The last customer that the walk has done; null before the first.
    Column("walked_through", Uuid),
    # The fingerprint of the policy documents that the walk applies, or has applied.
    Column("policies", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
