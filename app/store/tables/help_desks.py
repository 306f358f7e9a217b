"""The table of help desks' closures."""

from sqlalchemy import CheckConstraint, Column, Index, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.columns import Instant, identifier, metadata

help_desk_closures = Table(
    "help_desk_closures",
    metadata,
    identifier(),
    Column("help_desk", Text, nullable=False),
    Column("starts_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    # A list of {opens, closes}; null: closed.
    Column("hours", JSONB(none_as_null=True)),
    # By language.
    Column("reason", JSONB, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("starts_at < ends_at", name="period"),
    Index("ix_help_desk_closures_ends_at", "ends_at"),
    Index("ix_help_desk_closures_help_desk_starts_at", "help_desk", "starts_at", "id"),
)
"""Days on which a desk is closed or keeps other hours (R48)."""
