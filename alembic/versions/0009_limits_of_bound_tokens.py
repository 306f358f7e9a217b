"""The writes of each customer's own tokens in the last minute, and their repeated refusals."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# As in the second migration.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"

# The bound role has no right to the table: it cannot take back what was counted. The database's
# clock is the one that all processes share.
_COUNT = """
CREATE FUNCTION count_bound_write(quota integer, OUT admitted boolean, OUT retry_after integer)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
DECLARE
    caller uuid := nullif(current_setting('assistenza.customer', true), '')::uuid;
    recent timestamptz[];
BEGIN
    INSERT INTO bound_writes VALUES (caller, '{}') ON CONFLICT DO NOTHING;
    PERFORM FROM bound_writes WHERE customer_id = caller FOR UPDATE;
    SELECT ARRAY(
        SELECT at FROM unnest(written_at) at
        WHERE at > clock_timestamp() - interval '1 minute' ORDER BY at)
    INTO recent FROM bound_writes WHERE customer_id = caller;
    admitted := cardinality(recent) < quota;
    IF admitted THEN
        UPDATE bound_writes SET written_at = recent || clock_timestamp()
        WHERE customer_id = caller;
        retry_after := 0;
    ELSE
        -- When the oldest of the last `quota` writes is a minute old, there is room again.
        retry_after := greatest(1, ceil(extract(epoch FROM
            recent[cardinality(recent) - quota + 1] + interval '1 minute' - clock_timestamp())));
    END IF;
END $body$"""


def upgrade() -> None:
    op.create_table(
        "bound_writes",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("written_at", postgresql.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_bound_writes_customer_id")
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_bound_writes")),
    )
    op.execute(_COUNT)
    op.execute("REVOKE ALL ON FUNCTION count_bound_write(integer) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION count_bound_write(integer) TO assistenza_bound")
    op.create_table(
        "refusals",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("count > 0", name=op.f("ck_refusals_count")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_refusals_customer_id")
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_refusals_event_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_refusals")),
    )
    op.create_index(
        "ix_refusals_customer_id_first_at", "refusals", ["customer_id", "first_at"], unique=False
    )
    op.execute("ALTER TABLE refusals ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON refusals TO assistenza_app USING (true)")
    op.execute(
        "CREATE POLICY one_customer ON refusals TO assistenza_bound"
        f" USING (customer_id = {_CUSTOMER}) WITH CHECK (customer_id = {_CUSTOMER})"
    )
    op.execute("GRANT SELECT ON refusals TO assistenza_app")
    op.execute("GRANT SELECT, INSERT, UPDATE (count, last_at) ON refusals TO assistenza_bound")


def downgrade() -> None:
    op.drop_table("refusals")
    op.execute("DROP FUNCTION count_bound_write(integer)")
    op.drop_table("bound_writes")
