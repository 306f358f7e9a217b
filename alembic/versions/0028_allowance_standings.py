"""Each allowance of a customer as it stands, kept by the process that publishes the feed.

Existing customers get their rows from the service's walk over all of them, without a notice.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

# As in the second migration.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"


def upgrade() -> None:
    count = sa.Integer()
    op.create_table(
        "allowance_standings",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("stops_on", sa.Date(), nullable=False),
        sa.Column("granted", count, nullable=False),
        sa.Column("used", count, nullable=False),
        sa.Column("held", count, nullable=False),
        sa.Column("overrun", count, nullable=False),
        sa.Column("cancelled", count, nullable=False),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.Column("ends", postgresql.JSONB(), nullable=True),
        sa.Column("renewed_by", sa.Text(), nullable=True),
        sa.Column("used_percent", count, nullable=True),
        sa.Column("notices", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("customer_id", "key", name=op.f("pk_allowance_standings")),
    )
    by_end = ["kind", sa.text("(renewed_by IS NOT NULL)"), "stops_on", "customer_id"]
    op.create_index("ix_allowance_standings_stops_on", "allowance_standings", by_end)
    for name, condition in (("spent", "used_percent >= 50"), ("overrun", "overrun > 0")):
        op.create_index(
            f"ix_allowance_standings_{name}",
            "allowance_standings",
            by_end,
            postgresql_where=sa.text(condition),
        )
    # As for the standings.
    op.execute("ALTER TABLE allowance_standings SET (fillfactor = 80)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON allowance_standings TO assistenza_app")
    op.execute("GRANT SELECT ON allowance_standings TO assistenza_bound")
    op.execute("ALTER TABLE allowance_standings ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON allowance_standings TO assistenza_app USING (true)")
    op.execute(
        "CREATE POLICY one_customer ON allowance_standings TO assistenza_bound"
        f" USING (customer_id = {_CUSTOMER}) WITH CHECK (false)"
    )
    op.add_column("standings", sa.Column("looks_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "standings",
        sa.Column("announces", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_index("ix_standings_looks_at", "standings", ["looks_at"])
    op.execute("UPDATE standing_state SET walking = true, walked_through = NULL")


def downgrade() -> None:
    op.drop_index("ix_standings_looks_at", "standings")
    op.drop_column("standings", "announces")
    op.drop_column("standings", "looks_at")
    op.drop_table("allowance_standings")
