"""Upgrades of licences that are reversed, and serial numbers that can be corrected."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "licence_upgrades", sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("licence_upgrades", sa.Column("reversal_reason", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_licence_upgrades_reversal_reason"),
        "licence_upgrades",
        "(reversed_at IS NULL) = (reversal_reason IS NULL)",
    )
    op.execute("GRANT UPDATE (reversed_at, reversal_reason) ON licence_upgrades TO assistenza_app")
    op.execute("GRANT UPDATE (serial_number) ON licences TO assistenza_app")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (serial_number) ON licences FROM assistenza_app")
    op.execute(
        "REVOKE UPDATE (reversed_at, reversal_reason) ON licence_upgrades FROM assistenza_app"
    )
    op.drop_constraint(
        op.f("ck_licence_upgrades_reversal_reason"), "licence_upgrades", type_="check"
    )
    op.drop_column("licence_upgrades", "reversal_reason")
    op.drop_column("licence_upgrades", "reversed_at")
