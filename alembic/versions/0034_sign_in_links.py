"""Let the service exchange the code of a sign-in link for its token, whose hash it replaces."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("GRANT UPDATE (hash) ON tokens TO assistenza_app")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (hash) ON tokens FROM assistenza_app")
