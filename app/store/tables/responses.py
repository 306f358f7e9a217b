"""Tables of response times: how fast each case was answered and resolved (R42)."""

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

from app.store.tables.columns import Instant, metadata

case_responses = Table(
    # A projection of each case's events, kept by the process that publishes them: nothing is
    # decided by it. Minutes are working time of the desk.
    "case_responses",
    metadata,
    Column("case_id", Uuid, ForeignKey("cases.id"), primary_key=True),
    Column("help_desk", Text, nullable=False),
    # The civil day of closing or cancelling; null while the case is open.
    Column("ended_on", Date),
    Column("responded_at", Instant),
    Column("response_minutes", Integer),
    # What the policy promises, and whether it was kept; null where it promises nothing.
    Column("response_target", Integer),
    Column("response_met", Boolean),
    # Of a closed case.
    Column("resolution_minutes", Integer),
    Column("resolution_target", Integer),
    Column("resolution_met", Boolean),
    # An open case's age is the working time since then, or, while it waits, these minutes.
    Column("aged_from", Instant),
    Column("age_minutes", Integer),
    # The first public comment by staff. Stored because the token that shows whether its writer was
    # staff may be deleted later.
    Column("commented_at", Instant),
    Column("response_told", Boolean, nullable=False),
    Column("response_missed", Boolean, nullable=False),
    Column("resolution_missed", Boolean, nullable=False),
    # The earliest target that is missed then and not told.
    Column("due_at", Instant),
    # What it was measured by has changed since: a closure, a customer's desk, the policy.
    Column("stale", Boolean, nullable=False),
    Index("ix_case_responses_ended_on", "ended_on"),
    Index("ix_case_responses_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("ix_case_responses_stale", "case_id", postgresql_where=text("stale")),
)

response_state = Table(
    # One row: how far the feed was followed, and the walk over the cases of before.
    "response_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("followed", BigInteger, nullable=False),
    Column("walking", Boolean, nullable=False),
    # The last case that the walk has done; null before the first.
    Column("walked_through", Uuid),
    # The fingerprint of the policy documents by which open cases are measured.
    Column("policies", Text, nullable=False),
    # The last event that was recorded before cases were measured: nothing is told of these cases
    # when they are first looked at.
    Column("last_untold_event", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
