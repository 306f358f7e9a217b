"""Row-level security: the role for bound tokens sees one customer's rows only."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The customer whose rows are visible. admit_bound sets it for one transaction, never for a session.
# As a sub-select it is evaluated once per statement, and indexes stay usable.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"
_OWNER = {
    "customers": f"id = {_CUSTOMER}",
    # Internal comments of staff are hidden from the customer.
    "events": f"customer_id = {_CUSTOMER} AND NOT coalesce((data->>'internal')::boolean, false)",
    "idempotency_keys": "client = 'customer:' || (SELECT current_setting('assistenza.customer', true))",
} | dict.fromkeys(
    (
        "balances",
        "cases",
        "contacts",
        "contracts",
        "external_refs",
        "ledger",
        "licence_upgrades",
        "licences",
        "service_years",
        "ticket_packs",
        "ticket_uses",
        "time_entries",
    ),
    f"customer_id = {_CUSTOMER}",
)
# A customer reads its own rows, opens cases and comments on them.
_INSERTS = ("cases", "events", "idempotency_keys", "ledger", "service_years")

_ADMIT = """
CREATE FUNCTION admit_bound(token_hash bytea, at timestamptz)
    RETURNS TABLE (id uuid, name text, scopes text[], customer_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
BEGIN
    SELECT t.id, t.name, t.scopes, t.customer_id INTO id, name, scopes, customer_id
    FROM tokens t
    WHERE t.hash = token_hash AND t.customer_id IS NOT NULL AND t.revoked_at IS NULL
        AND (t.expires_at IS NULL OR t.expires_at > at);
    PERFORM set_config('assistenza.customer', coalesce(customer_id::text, ''), true);
    IF id IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END $body$"""


def upgrade() -> None:
    for table, condition in _OWNER.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        # The planner removes a constant condition: other tokens pay nothing for the filter.
        op.execute(f"CREATE POLICY everybody ON {table} TO assistenza_app USING (true)")
        op.execute(
            f"CREATE POLICY one_customer ON {table} TO assistenza_bound"
            f" USING ({condition}) WITH CHECK ({condition})"
        )
    op.execute(f"GRANT SELECT ON {', '.join(_OWNER)} TO assistenza_bound")
    op.execute(f"GRANT INSERT ON {', '.join(_INSERTS)} TO assistenza_bound")
    # Taking the customer's lock (FOR NO KEY UPDATE) needs the right to update some column.
    op.execute("GRANT UPDATE (updated_at) ON customers TO assistenza_bound")
    op.execute("GRANT USAGE ON SEQUENCE case_numbers TO assistenza_bound")
    op.execute(_ADMIT)
    op.execute("REVOKE ALL ON FUNCTION admit_bound(bytea, timestamptz) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION admit_bound(bytea, timestamptz) TO assistenza_bound")


def downgrade() -> None:
    op.execute("DROP FUNCTION admit_bound(bytea, timestamptz)")
    op.execute("REVOKE ALL ON SEQUENCE case_numbers FROM assistenza_bound")
    for table in _OWNER:
        op.execute(f"REVOKE ALL ON {table} FROM assistenza_bound")
        op.execute(f"DROP POLICY one_customer ON {table}")
        op.execute(f"DROP POLICY everybody ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
