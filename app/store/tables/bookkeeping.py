"""Tables of events, of keys, and of the versions that may serve the schema."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.store.tables.columns import XID8, Instant, customer_reference, metadata

_REFUSED = "type = 'case.refused'"
events = Table(
    # The audit trail, the timeline of a case and the source of the event feed. By `xid` a dry run
    # finds the events of its own transaction.
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("xid", XID8, nullable=False, server_default=text("pg_current_xact_id()")),
    customer_reference(nullable=True),
    Column("case_id", Uuid),
    Column("type", Text, nullable=False),
    Column("subject_id", Uuid),
    Column("occurred_at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("actor_id", Uuid),
    Column("data", JSONB, nullable=False),
    Index("ix_events_case_id", "case_id", "id"),
    Index("ix_events_customer_id", "customer_id", "id"),
    Index("ix_events_xid", "xid", "id"),
    Index("ix_events_refused_at", "occurred_at", postgresql_where=text(_REFUSED)),
    Index("ix_events_refused", "customer_id", "occurred_at", postgresql_where=text(_REFUSED)),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("client", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Of what the request means, and of its bytes; the latter is null in rows of releases before.
    Column("fingerprint", LargeBinary, nullable=False),
    Column("sent_fingerprint", LargeBinary),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary),
    Column("created_at", Instant, nullable=False),
    # Whose data the answer shows, where it is one customer's: an erasure looks here (R43).
    Column("customer_id", Uuid),
    Index("ix_idempotency_keys_created_at", "created_at"),
    Index("ix_idempotency_keys_customer_id", "customer_id"),
)

bound_writes = Table(
    # The instants of the writes of a customer's own tokens in the last minute. Only the function
    # count_bound_write touches it: a row apart from all others, so that nobody else waits for it.
    "bound_writes",
    metadata,
    Column("customer_id", Uuid, ForeignKey("customers.id"), primary_key=True),
    Column("written_at", ARRAY(Instant), nullable=False),
)

refusals = Table(
    # How often a bound token was refused the same within an hour (R33); the event has the decision.
    "refusals",
    metadata,
    Column("event_id", BigInteger, ForeignKey("events.id"), primary_key=True, autoincrement=False),
    customer_reference(),
    Column("channel", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False),
    Column("count", Integer, nullable=False, server_default="1"),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    CheckConstraint("count > 0", name="count"),
    Index("ix_refusals_customer_id_first_at", "customer_id", "first_at"),
)

installation_keys = Table(
    "installation_keys",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    CheckConstraint("octet_length(key) >= 32", name="key"),
)
"""Secrets that a migration makes once: see `store.installation`."""

schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("lowest_program_version", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
"""One row, written by migrations: see alembic/DECISION-compatible-migrations.md."""
