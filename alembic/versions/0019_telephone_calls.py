"""Telephone calls."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# As in the second migration.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"
_OUTCOMES = (
    "allowed",
    "open_case_only",
    "denied",
    "unknown_caller",
    "ambiguous_caller",
    "withheld_number",
    "unusable_number",
)


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("called", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("ended_at >= started_at", name=op.f("ck_calls_period")),
        sa.CheckConstraint(
            f"outcome IN ({', '.join(repr(one) for one in _OUTCOMES)})",
            name=op.f("ck_calls_outcome"),
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], op.f("fk_calls_customer_id")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], op.f("fk_calls_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calls")),
        sa.UniqueConstraint("call_id", name=op.f("uq_calls_call_id")),
    )
    op.create_index("ix_calls_customer_id_id", "calls", ["customer_id", "id"])
    op.create_index("ix_calls_number", "calls", ["number"])
    op.execute("ALTER TABLE calls ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON calls TO assistenza_app USING (true)")
    op.execute(
        "CREATE POLICY one_customer ON calls TO assistenza_bound"
        f" USING (customer_id = {_CUSTOMER}) WITH CHECK (customer_id = {_CUSTOMER})"
    )
    # Tokens bound to a customer never read or write calls.
    op.execute("GRANT SELECT, INSERT, UPDATE ON calls TO assistenza_app")


def downgrade() -> None:
    op.drop_table("calls")
