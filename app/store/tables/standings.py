"""Tables of the standing: what each customer may use, as the process that publishes found it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from app.store.tables.columns import Instant, metadata

_BY_END = ("kind", text("(renewed_by IS NOT NULL)"), "stops_on", "customer_id")

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
    # The instant at which time alone makes an allowance reach the next level of its notices (R41).
    Column("looks_at", Instant),
    # Whether notices are sent. False until the allowances were looked at for the first time: what
    # stood then is not news.
    Column("announces", Boolean, nullable=False, server_default=text("false")),
    Index("ix_standings_valid_until", "valid_until"),
    Index("ix_standings_looks_at", "looks_at"),
    Index("ix_standings_changed_at", "changed_at"),
    Index("ix_standings_kind_id_customer_id", "kind_id", "customer_id"),
)

allowance_standings = Table(
    # A projection, like `standings`, of each allowance that a customer has had:
    # `policy.allowance_standings.AllowanceStanding`.
    "allowance_standings",
    metadata,
    Column("customer_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("number", Text),
    Column("starts_on", Date, nullable=False),
    Column("ends_on", Date, nullable=False),
    Column("stops_on", Date, nullable=False),
    Column("granted", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("overrun", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
    Column("begun", Boolean, nullable=False),
    # Null for hours.
    Column("ends", JSONB),
    Column("renewed_by", Text),
    Column("used_percent", Integer),
    # What was announced (`policy.notices.Announced`); null before anything was reached.
    Column("notices", JSONB),
    # What ends next, and of that what is nearly spent, or over.
    Index("ix_allowance_standings_stops_on", *_BY_END),
    Index(
        "ix_allowance_standings_spent",
        *_BY_END,
        postgresql_where=text("used_percent >= 50"),
    ),
    Index(
        "ix_allowance_standings_spent_90",
        *_BY_END,
        postgresql_where=text("used_percent >= 90"),
    ),
    Index(
        "ix_allowance_standings_spent_100",
        *_BY_END,
        postgresql_where=text("used_percent >= 100"),
    ),
    Index("ix_allowance_standings_overrun", *_BY_END, postgresql_where=text("overrun > 0")),
    # What was granted or lapsed on a day.
    Index("ix_allowance_standings_starts_on", "starts_on"),
    Index("ix_allowance_standings_ends_on", "ends_on"),
    Index("ix_allowance_standings_ends", "ends", postgresql_using="gin"),
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
