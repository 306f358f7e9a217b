"""The feed of events: what happened, in the order in which it was published.

A row of `feed` never appears before one that is already there: one process at a time publishes, and
each publication takes positions after the last. The audit trail (`events`) stays as it is.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# As in the second migration.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"
# As in 0021.
_MERGED = f"ARRAY(SELECT m.customer_id FROM merged_customers m WHERE m.survivor_id = {_CUSTOMER})"
# The role does not see a case that was moved away (0024), nor what was told of it (R38, R47).
_OWN = f"""(customer_id = {_CUSTOMER} OR customer_id = ANY ({_MERGED})) AND type <> 'case.refused'
    AND (case_id IS NULL OR EXISTS (SELECT FROM cases k WHERE k.id = case_id))"""
# Whoever writes an event, a program of the release before included, has it published.
_ANNOUNCE = """
CREATE FUNCTION announce_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $body$
BEGIN
    INSERT INTO unpublished_events (event_id) VALUES (NEW.id);
    RETURN NULL;
END $body$"""


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "unpublished_events",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_unpublished_events")),
    )
    op.create_table(
        "feed",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("occurred_at", instant, nullable=False),
        sa.Column("data", postgresql.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_feed")),
    )
    op.create_index("ix_feed_customer_id_position", "feed", ["customer_id", "position"])
    op.create_index("ix_feed_type_position", "feed", ["type", "position"])
    op.create_table(
        "feed_state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("pruned_through", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_feed_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_state")),
    )
    op.create_table(
        "feed_epochs",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("after_position", sa.BigInteger(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_feed_epochs")),
        sa.UniqueConstraint("name", name=op.f("uq_feed_epochs_name")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("held_until", instant, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.execute("INSERT INTO feed_state VALUES (1, 0, 0)")
    op.execute(
        "INSERT INTO feed_epochs VALUES (1, substr(md5(gen_random_uuid()::text), 1, 8), 0, NULL)"
    )
    op.execute(_ANNOUNCE)
    op.execute("REVOKE EXECUTE ON FUNCTION announce_event() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER announce_event AFTER INSERT ON events"
        " FOR EACH ROW EXECUTE FUNCTION announce_event()"
    )
    op.execute("GRANT SELECT, DELETE ON unpublished_events TO assistenza_app")
    op.execute("GRANT SELECT, INSERT, DELETE ON feed TO assistenza_app")
    op.execute("GRANT SELECT, UPDATE (position, pruned_through) ON feed_state TO assistenza_app")
    op.execute("GRANT SELECT, INSERT, UPDATE (cluster) ON feed_epochs TO assistenza_app")
    op.execute("GRANT SELECT, INSERT, UPDATE ON leases TO assistenza_app")
    op.execute("GRANT SELECT ON feed, feed_state, feed_epochs TO assistenza_bound")
    op.execute("ALTER TABLE feed ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON feed TO assistenza_app USING (true)")
    op.execute(
        f"CREATE POLICY one_customer ON feed TO assistenza_bound USING ({_OWN}) WITH CHECK (false)"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER announce_event ON events")
    op.execute("DROP FUNCTION announce_event()")
    for table in ("leases", "feed_epochs", "feed_state", "feed", "unpublished_events"):
        op.drop_table(table)
