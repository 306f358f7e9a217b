"""Closures of help desks (R48)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "help_desk_closures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("help_desk", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hours", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("reason", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_help_desk_closures_period")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_help_desk_closures")),
    )
    op.create_index("ix_help_desk_closures_ends_at", "help_desk_closures", ["ends_at"])
    op.create_index(
        "ix_help_desk_closures_help_desk_starts_at",
        "help_desk_closures",
        ["help_desk", "starts_at", "id"],
    )
    # UPDATE is for the lock that a removal takes; nothing changes a closure. A closure belongs to
    # no customer: whoever may ask about a desk sees it.
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON help_desk_closures TO assistenza_app")
    op.execute("GRANT SELECT ON help_desk_closures TO assistenza_bound")


def downgrade() -> None:
    op.drop_table("help_desk_closures")
