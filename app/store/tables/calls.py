"""The table of telephone calls."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from app.store.tables.columns import (
    Instant,
    customer_reference,
    identifier,
    metadata,
    one_of,
)

calls = Table(
    "calls",
    metadata,
    identifier(),
    customer_reference(nullable=True),
    # The exchange's own id of the call.
    Column("call_id", Text, nullable=False),
    # In E.164; null if it was withheld, unusable, erased or cleared (R43).
    Column("number", Text),
    Column("called", Text),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("case_id", Uuid, ForeignKey("cases.id")),
    Column("outcome", Text),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("ended_at >= started_at", name="period"),
    one_of(
        "outcome",
        "allowed",
        "open_case_only",
        "denied",
        "unknown_caller",
        "ambiguous_caller",
        "withheld_number",
        "unusable_number",
    ),
    UniqueConstraint("call_id"),
    Index("ix_calls_customer_id_id", "customer_id", "id"),
    Index("ix_calls_number", "number"),
    Index("ix_calls_updated_at", "updated_at", postgresql_where=text("number IS NOT NULL")),
)
"""Calls that an exchange has noted. A call belongs to the customer of its case, else to the one
whose contact has the number; to none if nobody or several have it."""
