"""Response times: how fast each case was answered and resolved, measured from its events (R42).

Existing cases get their rows from the service's walk over all of them, without an event.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "case_responses",
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("help_desk", sa.Text(), nullable=False),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("responded_at", instant, nullable=True),
        sa.Column("response_minutes", sa.Integer(), nullable=True),
        sa.Column("response_target", sa.Integer(), nullable=True),
        sa.Column("response_met", sa.Boolean(), nullable=True),
        sa.Column("resolution_minutes", sa.Integer(), nullable=True),
        sa.Column("resolution_target", sa.Integer(), nullable=True),
        sa.Column("resolution_met", sa.Boolean(), nullable=True),
        sa.Column("aged_from", instant, nullable=True),
        sa.Column("age_minutes", sa.Integer(), nullable=True),
        sa.Column("commented_at", instant, nullable=True),
        sa.Column("response_told", sa.Boolean(), nullable=False),
        sa.Column("response_missed", sa.Boolean(), nullable=False),
        sa.Column("resolution_missed", sa.Boolean(), nullable=False),
        sa.Column("due_at", instant, nullable=True),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_responses_case_id")),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_case_responses")),
    )
    op.create_index("ix_case_responses_ended_on", "case_responses", ["ended_on"])
    op.create_index(
        "ix_case_responses_due_at",
        "case_responses",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_case_responses_stale",
        "case_responses",
        ["case_id"],
        postgresql_where=sa.text("stale"),
    )
    op.create_table(
        "response_state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("followed", sa.BigInteger(), nullable=False),
        sa.Column("walking", sa.Boolean(), nullable=False),
        sa.Column("walked_through", sa.Uuid(), nullable=True),
        sa.Column("policies", sa.Text(), nullable=False),
        sa.Column("last_untold_event", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_response_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_response_state")),
    )
    op.execute(
        "INSERT INTO response_state SELECT 1, position, true, NULL, '',"
        " (SELECT coalesce(max(id), 0) FROM events) FROM feed_state"
    )
    # Rows of open cases are rewritten with each step; room on their pages spares index entries.
    op.execute("ALTER TABLE case_responses SET (fillfactor = 80)")
    op.execute("GRANT SELECT, INSERT, UPDATE ON case_responses TO assistenza_app")
    op.execute(
        "GRANT SELECT, UPDATE (followed, walking, walked_through, policies) ON response_state"
        " TO assistenza_app"
    )
    op.execute("GRANT SELECT ON case_responses TO assistenza_bound")
    op.execute("ALTER TABLE case_responses ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON case_responses TO assistenza_app USING (true)")
    # The role sees its customer's cases alone, and of those none that was moved away.
    op.execute(
        "CREATE POLICY one_customer ON case_responses FOR SELECT TO assistenza_bound"
        " USING (EXISTS (SELECT FROM cases k WHERE k.id = case_id))"
    )


def downgrade() -> None:
    op.drop_table("response_state")
    op.drop_table("case_responses")
