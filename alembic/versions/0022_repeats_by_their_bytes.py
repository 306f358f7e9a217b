"""The bytes of requests that had an Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "idempotency_keys", sa.Column("sent_fingerprint", sa.LargeBinary(), nullable=True)
    )


def downgrade() -> None:
    op.drop_column("idempotency_keys", "sent_fingerprint")
