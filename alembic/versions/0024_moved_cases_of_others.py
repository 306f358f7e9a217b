"""Hide a case from the tokens of the customer that it was moved away from (R38, R47)."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# As in the second migration.
_OWN = "customer_id = (SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"


def upgrade() -> None:
    op.execute(f"ALTER POLICY one_customer ON cases USING ({_OWN} AND moved_to IS NULL)")


def downgrade() -> None:
    op.execute(f"ALTER POLICY one_customer ON cases USING ({_OWN})")
