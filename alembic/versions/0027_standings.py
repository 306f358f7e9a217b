"""The standing: what each customer may use, kept by the process that publishes the feed.

Existing customers get their rows from the service's walk over all of them, without an event.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

# As in the second migration.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    texts = postgresql.ARRAY(sa.Text())
    op.create_table(
        "standing_kinds",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("columns", texts, nullable=False),
        sa.Column("services", texts, nullable=False),
        sa.Column("customers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_kinds")),
    )
    op.create_table(
        "standings",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("evaluated_on", sa.Date(), nullable=False),
        sa.Column("kind_id", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", instant, nullable=True),
        sa.Column("changed_at", instant, nullable=True),
        sa.Column("detail", postgresql.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_standings_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["kind_id"], ["standing_kinds.id"], name=op.f("fk_standings_kind_id")
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_standings")),
    )
    op.create_index("ix_standings_kind_id_customer_id", "standings", ["kind_id", "customer_id"])
    op.create_index("ix_standings_valid_until", "standings", ["valid_until"])
    op.create_index("ix_standings_changed_at", "standings", ["changed_at"])
    op.create_table(
        "standing_state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("followed", sa.BigInteger(), nullable=False),
        sa.Column("walking", sa.Boolean(), nullable=False),
        sa.Column("walked_through", sa.Uuid(), nullable=True),
        sa.Column("policies", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_standing_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_state")),
    )
    op.execute("INSERT INTO standing_state SELECT 1, position, true, NULL, '' FROM feed_state")
    # Rows are rewritten often; room on their pages spares index entries.
    op.execute("ALTER TABLE standings SET (fillfactor = 80)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON standings TO assistenza_app")
    op.execute("GRANT SELECT, INSERT, UPDATE (customers) ON standing_kinds TO assistenza_app")
    op.execute(
        "GRANT SELECT, UPDATE (followed, walking, walked_through, policies) ON standing_state"
        " TO assistenza_app"
    )
    op.execute("GRANT SELECT ON standings TO assistenza_bound")
    op.execute("GRANT SELECT (id, columns, services) ON standing_kinds TO assistenza_bound")
    op.execute("ALTER TABLE standings ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON standings TO assistenza_app USING (true)")
    op.execute(
        "CREATE POLICY one_customer ON standings TO assistenza_bound"
        f" USING (customer_id = {_CUSTOMER}) WITH CHECK (false)"
    )


def downgrade() -> None:
    for table in ("standing_state", "standings", "standing_kinds"):
        op.drop_table(table)
