"""The number of an erasure, archived customers, and cases whose texts were cleared."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SEQUENCE erasure_numbers")
    op.execute("GRANT USAGE ON SEQUENCE erasure_numbers TO assistenza_app")
    op.add_column("customers", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("cases", sa.Column("texts_cleared_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_cases_texts",
        "cases",
        ["updated_at"],
        postgresql_where=sa.text("texts_cleared_at IS NULL AND state IN ('closed', 'cancelled')"),
    )


def downgrade() -> None:
    op.drop_index("ix_cases_texts", table_name="cases")
    op.drop_column("cases", "texts_cleared_at")
    op.drop_column("customers", "archived_at")
    op.execute("DROP SEQUENCE erasure_numbers")
