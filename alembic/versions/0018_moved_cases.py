"""Cases opened as of an instant in the past, or moved to the customer to whom they belong."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_CHECKS = {
    "cases": ("moved_to", "moved_to IS NULL OR state = 'cancelled'"),
    "ledger": ("as_of", "as_of IS NULL OR ticket_position IS NOT NULL"),
}
_LENGTHENED = "lengthened_days = 0 OR (kind = 'release' AND lengthened_days > 0)"
_TAKEN_AGAIN = " OR (kind = 'hold' AND lengthened_days < 0)"


def _check_days(condition: str) -> None:
    name = op.f("ck_ledger_lengthened_days")
    op.drop_constraint(name, "ledger", type_="check")
    op.create_check_constraint(name, "ledger", condition)


def upgrade() -> None:
    for name in ("moved_to", "moved_from"):
        op.add_column("cases", sa.Column(name, sa.Uuid(), nullable=True))
        op.create_foreign_key(op.f(f"fk_cases_{name}"), "cases", "cases", [name], ["id"])
    op.add_column("ledger", sa.Column("as_of", sa.DateTime(timezone=True), nullable=True))
    for table, (name, condition) in _CHECKS.items():
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
    _check_days(_LENGTHENED + _TAKEN_AGAIN)


def downgrade() -> None:
    _check_days(_LENGTHENED)
    for table, (name, _) in _CHECKS.items():
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    op.drop_column("ledger", "as_of")
    for name in ("moved_to", "moved_from"):
        op.drop_constraint(op.f(f"fk_cases_{name}"), "cases", type_="foreignkey")
        op.drop_column("cases", name)
