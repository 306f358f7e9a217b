"""Tables of usage by day: sums of what is recorded, and which days differ from them.

Why, and what it costs: DECISION-usage.md.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
)

from app.store.tables.columns import metadata

WITHIN_CUSTOMERS = (
    "technician",
    "channel",
    "category",
    "priority",
    "paid_by",
    "country",
    "help_desk",
)
"""The dimensions of the sums."""
SUMMED = (
    "cases_opened",
    "cases_closed",
    "cases_cancelled",
    "cases_refused",
    "cases_bug",
    "worked_minutes",
    "charged_minutes",
    "overrun_minutes",
    "tickets_sold",
    "tickets_consumed",
    "tickets_expired",
    "tickets_cancelled",
    "minutes_granted",
    "minutes_lapsed",
)
"""The measures."""

usage_days = Table(
    # The sums of each day: of everything, by each dimension, and by each pair of them.
    "usage_days",
    metadata,
    Column("day", Date, nullable=False),
    # Which dimensions a row is summed by: the first one is the highest of seven bits.
    Column("dimensions", SmallInteger, nullable=False),
    *(Column(one, Text) for one in WITHIN_CUSTOMERS),
    *(Column(one, Integer, nullable=False) for one in SUMMED),
    Index("ix_usage_days_dimensions_day", "dimensions", "day"),
    Index("ix_usage_days_day", "day"),
)

usage_changes = Table(
    # The days on which something was recorded since they were summed. Only triggers fill it; each
    # write has rows of its own, so that no writer waits for another.
    "usage_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("day", Date, nullable=False),
)

usage_state = Table(
    # One row: the last day that is summed, and by which time zone and help desks (R35). Null: none.
    "usage_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("through", Date),
    Column("rules", Text, nullable=False),
    Column("zone", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
