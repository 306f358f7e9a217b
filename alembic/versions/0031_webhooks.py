"""Webhooks: endpoints that are called with what the feed publishes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_TABLES = (
    "webhook_state",
    "webhook_recoveries",
    "webhook_attempts",
    "webhook_lanes",
    "webhook_deliveries",
    "webhook_events",
    "webhook_endpoints",
)


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        sa.Column("previous_valid_until", instant, nullable=True),
        sa.Column("after_position", sa.BigInteger(), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failing_since", instant, nullable=True),
        sa.Column("failing_told_at", instant, nullable=True),
        sa.Column("slow_until", instant, nullable=True),
        sa.Column("slow_seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("woken_at", instant, nullable=True),
        sa.Column("disabled_at", instant, nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("deleted_at", instant, nullable=True),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.CheckConstraint(
            "disabled_reason IN ('failing', 'gone')",
            name=op.f("ck_webhook_endpoints_disabled_reason"),
        ),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)",
            name=op.f("ck_webhook_endpoints_disabled"),
        ),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_valid_until IS NULL)",
            name=op.f("ck_webhook_endpoints_previous_secret"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_webhook_endpoints_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_events")),
    )
    op.create_index("ix_webhook_events_position", "webhook_events", ["position"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("step", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("first_attempt_at", instant, nullable=True),
        sa.Column("next_attempt_at", instant, nullable=True),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("finished_at", instant, nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'abandoned')",
            name=op.f("ck_webhook_deliveries_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.UniqueConstraint(
            "endpoint_id", "event_id", name=op.f("uq_webhook_deliveries_endpoint_id_event_id")
        ),
    )
    op.create_index(
        "ix_webhook_deliveries_endpoint_id_position",
        "webhook_deliveries",
        ["endpoint_id", "position", "id"],
    )
    op.create_index(
        "ix_webhook_deliveries_state_position",
        "webhook_deliveries",
        ["endpoint_id", "state", "position", "id"],
    )
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["endpoint_id", "customer_id", "position", "id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "webhook_lanes",
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", instant, nullable=False),
        sa.Column("tried_at", instant, nullable=True),
        sa.Column("leased_until", instant, nullable=True),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("endpoint_id", "customer_id", name=op.f("pk_webhook_lanes")),
    )
    op.create_index("ix_webhook_lanes_due_at", "webhook_lanes", ["endpoint_id", "due_at"])
    op.create_index("ix_webhook_lanes_tried_at", "webhook_lanes", ["endpoint_id", "tried_at"])
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("answer_bytes", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_webhook_attempts")),
    )
    op.create_table(
        "webhook_recoveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("since", instant, nullable=False),
        sa.Column("only_failed", sa.Boolean(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("until_position", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("finished_at", instant, nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_recoveries_endpoint_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_recoveries")),
    )
    op.create_index("ix_webhook_recoveries_endpoint_id", "webhook_recoveries", ["endpoint_id"])
    op.create_index(
        "ix_webhook_recoveries_unfinished",
        "webhook_recoveries",
        ["created_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "webhook_state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("followed", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_webhook_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_state")),
    )
    op.execute("INSERT INTO webhook_state SELECT 1, position FROM feed_state")
    # The secret with which `assistenza listen` signs; each UUID has 122 random bits.
    op.execute("""
        INSERT INTO installation_keys VALUES
            ('listen', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))""")
    for table in _TABLES:
        columns = " (followed)" if table == "webhook_state" else ", INSERT, DELETE"
        op.execute(f"GRANT SELECT, UPDATE{columns} ON {table} TO assistenza_app")
    # Lanes and deliveries change often and are gone soon: room on their pages spares index entries.
    op.execute("ALTER TABLE webhook_lanes SET (fillfactor = 70)")
    for table in ("webhook_endpoints", "webhook_deliveries", "webhook_lanes"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY everybody ON {table} TO assistenza_app USING (true)")
        # A token bound to a customer has no business here (no scope lets it).
        op.execute(
            f"CREATE POLICY one_customer ON {table} TO assistenza_bound"
            " USING (false) WITH CHECK (false)"
        )


def downgrade() -> None:
    op.execute("DELETE FROM installation_keys WHERE purpose = 'listen'")
    for table in _TABLES:
        op.drop_table(table)
