"""Calls whose number is still kept, by when they were last noted (R43)."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_calls_updated_at",
        "calls",
        ["updated_at"],
        postgresql_where=sa.text("number IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_calls_updated_at", "calls")
