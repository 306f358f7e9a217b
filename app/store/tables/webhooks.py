"""Tables of webhooks: endpoints, and what is delivered to them (DECISION-webhooks.md)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.store.tables.columns import Instant, customer_reference, identifier, metadata, one_of

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    identifier(),
    Column("url", Text, nullable=False),
    # Null: all types.
    Column("types", ARRAY(Text)),
    customer_reference(nullable=True),
    Column("description", Text),
    # Sent with every delivery, by name. They may hold secrets and are never shown.
    Column("headers", JSONB, nullable=False),
    # Standard Webhooks, `whsec_…`. Needed in plain at each attempt.
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text),
    Column("previous_valid_until", Instant),
    # It hears what the feed publishes after this position.
    Column("after_position", BigInteger, nullable=False),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    # The first failure since the last success, and when `webhook.failing` was told of it.
    Column("failing_since", Instant),
    Column("failing_told_at", Instant),
    # Nothing is sent before this instant, because the receiver asked for time.
    Column("slow_until", Instant),
    # How long it last got without asking; 0 after a success.
    Column("slow_seconds", Float, nullable=False, server_default="0"),
    # What was last tried before this instant is due from it on.
    Column("woken_at", Instant),
    Column("disabled_at", Instant),
    Column("disabled_reason", Text),
    # Its rows are deleted step by step.
    Column("deleted_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    one_of("disabled_reason", "failing", "gone"),
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
    CheckConstraint(
        "(previous_secret IS NULL) = (previous_valid_until IS NULL)", name="previous_secret"
    ),
)

webhook_events = Table(
    # What was published to an endpoint, as it is sent. Kept apart from the feed, which may forget
    # earlier than attempts end.
    "webhook_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_webhook_events_position", "position"),
)

webhook_deliveries = Table(
    # An event for an endpoint. `customer_id` names its lane.
    "webhook_deliveries",
    metadata,
    identifier(),
    Column("endpoint_id", Uuid, nullable=False),
    Column("customer_id", Uuid, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    # All that were made, and the place in the schedule.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("step", SmallInteger, nullable=False, server_default="0"),
    Column("first_attempt_at", Instant),
    Column("next_attempt_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    one_of("state", "waiting", "delivered", "abandoned"),
    UniqueConstraint("endpoint_id", "event_id"),
    Index("ix_webhook_deliveries_endpoint_id_position", "endpoint_id", "position", "id"),
    Index("ix_webhook_deliveries_state_position", "endpoint_id", "state", "position", "id"),
    Index(
        "ix_webhook_deliveries_waiting",
        "endpoint_id",
        "customer_id",
        "position",
        "id",
        postgresql_where=text("state = 'waiting'"),
    ),
)

webhook_lanes = Table(
    # What waits for an endpoint and a customer is sent one after another. There is a row while
    # something waits.
    "webhook_lanes",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    # A primary key cannot be null: events without a customer have an id of zeros here, and test
    # events a fixed id of their own.
    Column("customer_id", Uuid, primary_key=True),
    Column("due_at", Instant, nullable=False),
    Column("tried_at", Instant),
    # A process delivers its first event meanwhile.
    Column("leased_until", Instant),
    Column("lease", Uuid),
    Index("ix_webhook_lanes_due_at", "endpoint_id", "due_at"),
    Index("ix_webhook_lanes_tried_at", "endpoint_id", "tried_at"),
)

webhook_attempts = Table(
    # No text of an answer: nobody can tell whether it quotes a person.
    "webhook_attempts",
    metadata,
    Column("delivery_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("status", SmallInteger),
    Column("error", Text),
    Column("answer_bytes", SmallInteger, nullable=False),
)

webhook_recoveries = Table(
    # Deliveries that are made again, from a position of the feed to another.
    "webhook_recoveries",
    metadata,
    identifier(),
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("since", Instant, nullable=False),
    Column("only_failed", Boolean, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("until_position", BigInteger, nullable=False),
    Column("queued", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Index("ix_webhook_recoveries_endpoint_id", "endpoint_id"),
    Index(
        "ix_webhook_recoveries_unfinished",
        "created_at",
        postgresql_where=text("finished_at IS NULL"),
    ),
)

webhook_state = Table(
    # One row: up to which position of the feed deliveries were made.
    "webhook_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("followed", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
