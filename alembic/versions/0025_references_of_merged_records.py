"""A bound token finds its customer by the references that a merged record has kept (R49)."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# As in the second migration.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"
# As in 0021.
_MERGED = f"ARRAY(SELECT m.customer_id FROM merged_customers m WHERE m.survivor_id = {_CUSTOMER})"


def upgrade() -> None:
    op.execute(
        "ALTER POLICY one_customer ON external_refs"
        f" USING (customer_id = {_CUSTOMER} OR customer_id = ANY ({_MERGED}))"
        f" WITH CHECK (customer_id = {_CUSTOMER})"
    )


def downgrade() -> None:
    op.execute(f"ALTER POLICY one_customer ON external_refs USING (customer_id = {_CUSTOMER})")
