"""Tables of work: cases, tickets in use, time entries and the ledger."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    literal_column,
    text,
)

from app.store.tables.columns import (
    Instant,
    customer_reference,
    identifier,
    metadata,
    one_of,
    unique_ignoring_case,
    within_customer,
    words_index,
)
from app.store.tables.text_search import searched

IS_OPEN = "state IN ('open', 'in_progress', 'waiting_for_customer')"
"""SQL for a case on which work may go on, without parameters: as the partial indexes have it."""
PRIORITY_ORDER = "array_position(ARRAY['high'::text, 'normal'::text, 'low'::text], priority)"
"""SQL for the place of a case's priority in the queue (R31)."""
CASE_TEXT = searched(
    "number",
    "subject",
    "description",
    "requester_name",
    "requester_email",
    "requester_phone",
    "serial_number",
)
"""SQL for the words of a case. Comments are not among them: some are internal (R38)."""

cases = Table(
    "cases",
    metadata,
    identifier(),
    customer_reference(),
    Column("number", Text, nullable=False),
    Column("requester_contact_id", Uuid),
    Column("requester_name", Text, nullable=False),
    Column("requester_email", Text),
    Column("requester_phone", Text),
    Column("serial_number", Text),
    # Null in rows of 0.2 and before, which verified every serial number (R27).
    Column("serial_verified", Boolean),
    Column("product", Text),
    Column("product_version", Text),
    Column("channel", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("priority_requested", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("priority_support", Boolean, nullable=False),
    Column("subject", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("steps_to_reproduce", Text),
    Column("example_url", Text),
    Column("technician", Text),
    Column("state", Text, nullable=False),
    Column("paid_by", Text, nullable=False),
    Column("allowance_id", Uuid),
    Column("ticket_position", Integer),
    # The allowance bound at opening. A case returns to it if its "bug" turns out to be none (R22).
    Column("first_paid_by", Text, nullable=False),
    Column("first_allowance_id", Uuid),
    Column("first_ticket_position", Integer),
    Column("resolution", Text),
    Column("opened_on", Date, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("closed_at", Instant),
    # Written by a trigger alone.
    Column("cancelled_at", Instant),
    Column("updated_at", Instant, nullable=False),
    # When the retention of texts cleared them (R43).
    Column("texts_cleared_at", Instant),
    # A case of the wrong customer, and the one that it became at the right one (R47).
    Column("moved_to", Uuid, ForeignKey("cases.id")),
    Column("moved_from", Uuid, ForeignKey("cases.id")),
    one_of("channel", "email", "phone", "remote"),
    one_of("category", "problem", "question", "bug"),
    one_of("priority_requested", "high", "normal", "low"),
    one_of("priority", "high", "normal", "low"),
    one_of("state", "open", "in_progress", "waiting_for_customer", "closed", "cancelled"),
    one_of("paid_by", "free_hours", "contract", "ticket", "none"),
    one_of("first_paid_by", "free_hours", "contract", "ticket", "none"),
    CheckConstraint("(paid_by = 'none') = (allowance_id IS NULL)", name="allowance_id"),
    CheckConstraint("(paid_by = 'ticket') = (ticket_position IS NOT NULL)", name="ticket_position"),
    CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
    CheckConstraint("state <> 'closed' OR resolution IS NOT NULL", name="resolution"),
    CheckConstraint("moved_to IS NULL OR state = 'cancelled'", name="moved_to"),
    unique_ignoring_case("cases", "number"),
    UniqueConstraint("id", "customer_id"),
    within_customer("balances", "allowance_id"),
    within_customer("balances", "allowance_id", "first_allowance_id"),
    Index(
        "ix_cases_open",
        "customer_id",
        postgresql_where=text(IS_OPEN),
    ),
    Index(
        "ix_cases_queue",
        literal_column("priority_support").desc(),
        text(PRIORITY_ORDER),
        "opened_at",
        "id",
        postgresql_where=text(IS_OPEN),
    ),
    Index(
        "ix_cases_texts",
        "updated_at",
        postgresql_where=text("texts_cleared_at IS NULL AND state IN ('closed', 'cancelled')"),
    ),
    Index("ix_cases_customer_id_opened_at", "customer_id", "opened_at", "id"),
    Index("ix_cases_opened_at", "opened_at", "id"),
    Index("ix_cases_opened_on", "opened_on"),
    Index("ix_cases_closed_at", "closed_at", postgresql_where=text("closed_at IS NOT NULL")),
    Index(
        "ix_cases_cancelled_at",
        "cancelled_at",
        postgresql_where=text("cancelled_at IS NOT NULL"),
    ),
    # Filters that have few values come with all values of the others (`services.cases`).
    Index("ix_cases_kinds", "state", "channel", "category", "opened_at", "id"),
    # Not partial, although many have none: the planner uses statistics of whole indexes only.
    Index(
        "ix_cases_technician",
        text("lower(technician)"),
        "state",
        "opened_at",
        "id",
    ),
    Index(
        "ix_cases_serial_number",
        text('lower(serial_number COLLATE "C")'),
        "opened_at",
        "id",
        postgresql_where=text('lower(serial_number COLLATE "C") IS NOT NULL'),
    ),
    words_index("cases", CASE_TEXT),
)

ticket_uses = Table(
    # One row for each ticket that is held, consumed or cancelled. Its primary key is the ticket, so
    # that no ticket serves two cases, or a case after it was cancelled (R45); case_id is unique, so
    # that no case takes two tickets (R19). Only the ledger's trigger writes it.
    "ticket_uses",
    metadata,
    Column("pack_id", Uuid, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("quantity", Integer, nullable=False),
    customer_reference(),
    Column("case_id", Uuid),
    Column("state", Text, nullable=False),
    one_of("state", "held", "consumed", "cancelled"),
    CheckConstraint("(state = 'cancelled') = (case_id IS NULL)", name="case_id"),
    CheckConstraint("position BETWEEN 1 AND quantity", name="position"),
    ForeignKeyConstraint(["pack_id", "quantity"], ["ticket_packs.id", "ticket_packs.quantity"]),
    within_customer("ticket_packs", "id", "pack_id"),
    within_customer("cases", "id", "case_id"),
    UniqueConstraint("case_id"),
)

time_entries = Table(
    "time_entries",
    metadata,
    identifier(),
    customer_reference(),
    Column("case_id", Uuid, nullable=False),
    Column("technician", Text, nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("worked_at", Instant, nullable=False),
    Column("worked_on", Date, nullable=False),
    Column("note", Text),
    # The note is for staff alone.
    Column("internal", Boolean, nullable=False, server_default=text("false")),
    Column("recorded_at", Instant, nullable=False),
    Column("reversed_at", Instant),
    Column("reversal_reason", Text),
    CheckConstraint("minutes BETWEEN 1 AND 1440", name="minutes"),
    CheckConstraint("(reversed_at IS NULL) = (reversal_reason IS NULL)", name="reversal_reason"),
    within_customer("cases", "id", "case_id"),
    UniqueConstraint("id", "customer_id"),
    Index("ix_time_entries_case_id", "case_id"),
    Index("ix_time_entries_worked_on", "worked_on"),
)

ledger = Table(
    # Append-only. The checks say which columns each kind of entry may change. The trigger adds
    # exactly these columns to the balance, so that every balance is a sum over this table.
    "ledger",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    customer_reference(),
    # Null for the cancellation of a ticket, which no case uses (R45).
    Column("case_id", Uuid),
    Column("allowance_id", Uuid),
    Column("kind", Text, nullable=False),
    Column("used_minutes", Integer, nullable=False, server_default="0"),
    Column("overrun_minutes", Integer, nullable=False, server_default="0"),
    Column("held", SmallInteger, nullable=False, server_default="0"),
    Column("consumed", SmallInteger, nullable=False, server_default="0"),
    Column("cancelled", SmallInteger, nullable=False, server_default="0"),
    Column("ticket_position", Integer),
    # Days that a ticket gets back with its release, if a bug had taken it (R19). Negative where
    # that is taken back (R47).
    Column("lengthened_days", Integer, nullable=False, server_default="0"),
    Column("time_entry_id", Uuid),
    Column("reverses", BigInteger, ForeignKey("ledger.id")),
    # The overrun entry that this charge pays for afterwards; the case that returned the minutes.
    Column("covers", BigInteger, ForeignKey("ledger.id")),
    Column("cause_case_id", Uuid),
    Column("counts_on", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    # The instant from which a ticket is in this state, where it was recorded later (R47).
    Column("as_of", Instant),
    CheckConstraint(
        "CASE kind"
        " WHEN 'hold' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, 0)"
        " WHEN 'consumption' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, -1, 1)"
        " WHEN 'reopening' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, -1)"
        " WHEN 'release' THEN (used_minutes, overrun_minutes, held, consumed)"
        " IN ((0, 0, -1, 0), (0, 0, 0, -1))"
        " WHEN 'cancellation' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 0, 0)"
        " WHEN 'charge' THEN used_minutes > 0 AND (overrun_minutes, held, consumed) = (0, 0, 0)"
        " WHEN 'overrun' THEN overrun_minutes > 0 AND (used_minutes, held, consumed) = (0, 0, 0)"
        " WHEN 'reversal' THEN used_minutes <= 0 AND overrun_minutes <= 0"
        " AND used_minutes + overrun_minutes < 0 AND (held, consumed) = (0, 0)"
        " ELSE false END",
        name="kind",
    ),
    CheckConstraint(
        "(kind IN ('hold', 'consumption', 'reopening', 'release', 'cancellation'))"
        " = (ticket_position IS NOT NULL)",
        name="ticket_position",
    ),
    CheckConstraint("cancelled = (kind = 'cancellation')::integer", name="cancelled"),
    CheckConstraint("(kind = 'cancellation') = (case_id IS NULL)", name="case_id"),
    CheckConstraint(
        "(kind IN ('charge', 'overrun', 'reversal')) = (time_entry_id IS NOT NULL)",
        name="time_entry_id",
    ),
    CheckConstraint("(kind = 'reversal') = (reverses IS NOT NULL)", name="reverses"),
    CheckConstraint("covers IS NULL OR kind = 'charge'", name="covers"),
    CheckConstraint("as_of IS NULL OR ticket_position IS NOT NULL", name="as_of"),
    CheckConstraint(
        "lengthened_days = 0 OR (kind = 'release' AND lengthened_days > 0)"
        " OR (kind = 'hold' AND lengthened_days < 0)",
        name="lengthened_days",
    ),
    CheckConstraint(
        "allowance_id IS NOT NULL OR kind IN ('overrun', 'reversal')", name="allowance"
    ),
    within_customer("balances", "allowance_id"),
    within_customer("cases", "id", "case_id"),
    within_customer("cases", "id", "cause_case_id"),
    within_customer("time_entries", "id", "time_entry_id"),
    Index("ix_ledger_case_id", "case_id"),
    Index("ix_ledger_counts_on", "counts_on"),
    Index("ix_ledger_allowance_id_counts_on", "allowance_id", "counts_on"),
    Index("ix_ledger_customer_id_counts_on", "customer_id", "counts_on"),
    Index("ix_ledger_time_entry_id", "time_entry_id"),
    Index(
        "ix_ledger_cause_case_id",
        "cause_case_id",
        postgresql_where=text("cause_case_id IS NOT NULL"),
    ),
    Index("ix_ledger_reverses", "reverses", postgresql_where=text("reverses IS NOT NULL")),
    # A charge is reversed as a whole, once (R30); overrun can be covered in parts.
    Index("uq_ledger_reverses", "reverses", unique=True, postgresql_where=text("used_minutes < 0")),
)
