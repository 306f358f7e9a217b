"""Row-level security on what bound tokens wrote, and sequences that `reconcile` may read."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Those of identity columns; the others may be read already.
_SEQUENCES = "events_id_seq, ledger_id_seq"
_CUSTOMER = "customer_id = (SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"


def upgrade() -> None:
    op.execute(f"GRANT SELECT ON SEQUENCE {_SEQUENCES} TO assistenza_app")
    # The role of bound tokens has no right on this table; a right given by mistake shows its rows.
    op.execute("ALTER TABLE bound_writes ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON bound_writes TO assistenza_app USING (true)")
    op.execute(
        "CREATE POLICY one_customer ON bound_writes TO assistenza_bound"
        f" USING ({_CUSTOMER}) WITH CHECK (false)"
    )


def downgrade() -> None:
    op.execute("DROP POLICY one_customer ON bound_writes")
    op.execute("DROP POLICY everybody ON bound_writes")
    op.execute("ALTER TABLE bound_writes DISABLE ROW LEVEL SECURITY")
    op.execute(f"REVOKE SELECT ON SEQUENCE {_SEQUENCES} FROM assistenza_app")
