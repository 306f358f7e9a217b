"""Stored answers name their customer (R43), comments change their case, an index of archives."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("idempotency_keys", sa.Column("customer_id", sa.Uuid(), nullable=True))
    op.create_index("ix_idempotency_keys_customer_id", "idempotency_keys", ["customer_id"])
    op.create_index(
        "ix_customers_archived",
        "customers",
        ["id"],
        postgresql_where=sa.text("archived_at IS NOT NULL"),
    )
    op.execute("GRANT UPDATE (updated_at, texts_cleared_at) ON cases TO assistenza_bound")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (updated_at, texts_cleared_at) ON cases FROM assistenza_bound")
    op.drop_index("ix_customers_archived", "customers")
    op.drop_index("ix_idempotency_keys_customer_id", "idempotency_keys")
    op.drop_column("idempotency_keys", "customer_id")
