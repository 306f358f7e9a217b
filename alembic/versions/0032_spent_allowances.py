"""Find what is nearly, or wholly, spent without looking through all that is half used."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

# As in 0028.
_BY_END = ["kind", sa.text("(renewed_by IS NOT NULL)"), "stops_on", "customer_id"]


def upgrade() -> None:
    for percent in (90, 100):
        op.create_index(
            f"ix_allowance_standings_spent_{percent}",
            "allowance_standings",
            _BY_END,
            postgresql_where=sa.text(f"used_percent >= {percent}"),
        )


def downgrade() -> None:
    for percent in (90, 100):
        op.drop_index(f"ix_allowance_standings_spent_{percent}", "allowance_standings")
