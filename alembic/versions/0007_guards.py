"""What the database itself refuses: for tokens, for reversals, and from the role of bound tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BOUND_SCOPES = (
    "ARRAY['cases:read', 'cases:write', 'contracts:read', 'customers:read', 'entitlements:read',"
    " 'licences:read', 'tickets:read', 'usage:read']::text[]"
)
_CUSTOMER = "customer_id = (SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"
_NOT_INTERNAL = f"{_CUSTOMER} AND NOT coalesce((data->>'internal')::boolean, false)"
_ITS_OWN = (
    " AND actor_id = (SELECT nullif(current_setting('assistenza.token', true), '')::uuid)"
    " AND actor = (SELECT current_setting('assistenza.actor', true))"
)
# As in 0002; it also tells the policies whose events the transaction may write.
_ADMIT = """
CREATE OR REPLACE FUNCTION admit_bound(token_hash bytea, at timestamptz)
    RETURNS TABLE (id uuid, name text, scopes text[], customer_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
BEGIN
    SELECT t.id, t.name, t.scopes, t.customer_id INTO id, name, scopes, customer_id
    FROM tokens t
    WHERE t.hash = token_hash AND t.customer_id IS NOT NULL AND t.revoked_at IS NULL
        AND (t.expires_at IS NULL OR t.expires_at > at);
    PERFORM set_config('assistenza.customer', coalesce(customer_id::text, ''), true);{actor}
    IF id IS NOT NULL THEN
        RETURN NEXT;
    END IF;
END $body$"""
_ACTOR = """
    PERFORM set_config('assistenza.token', coalesce(id::text, ''), true);
    PERFORM set_config('assistenza.actor', coalesce(name, ''), true);"""
_KEEP = """
CREATE FUNCTION keep_token() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $body$
BEGIN
    RAISE EXCEPTION 'a revoked token stays revoked, and one that has not expired is not deleted'
        USING ERRCODE = 'integrity_constraint_violation';
END $body$"""


def _policy(table: str, using: str, check: str) -> None:
    op.execute(f"DROP POLICY IF EXISTS one_customer ON {table}")
    op.execute(
        f"CREATE POLICY one_customer ON {table} TO assistenza_bound"
        f" USING ({using}) WITH CHECK ({check})"
    )


def upgrade() -> None:
    # The service has never issued such a scope; somebody may have written one by hand.
    op.execute(f"""
        UPDATE tokens SET scopes = ARRAY(
            SELECT scope FROM unnest(scopes) scope WHERE scope = ANY ({_BOUND_SCOPES}))
        WHERE customer_id IS NOT NULL AND NOT scopes <@ {_BOUND_SCOPES}""")
    op.create_check_constraint(
        op.f("ck_tokens_bound_scopes"),
        "tokens",
        f"customer_id IS NULL OR scopes <@ {_BOUND_SCOPES}",
    )
    op.create_index("ix_tokens_issued_by", "tokens", ["issued_by"])
    op.create_index("ix_tokens_expires_at", "tokens", ["expires_at"])
    op.execute(_KEEP)
    op.execute("REVOKE ALL ON FUNCTION keep_token() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER keep_revoked BEFORE UPDATE ON tokens FOR EACH ROW"
        " WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)"
        " EXECUTE FUNCTION keep_token()"
    )
    op.execute(
        "CREATE TRIGGER keep_unexpired BEFORE DELETE ON tokens FOR EACH ROW"
        " WHEN (OLD.expires_at IS NULL OR OLD.expires_at > now()) EXECUTE FUNCTION keep_token()"
    )
    op.execute("GRANT DELETE ON tokens TO assistenza_app")
    # The role of bound tokens has no right on this table; a right given by mistake shows its rows.
    op.execute("ALTER TABLE tokens ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON tokens TO assistenza_app USING (true)")
    _policy("tokens", _CUSTOMER, "false")
    # A charge is reversed as a whole, once (R30); overrun can be covered in parts.
    op.create_index(
        "uq_ledger_reverses",
        "ledger",
        ["reverses"],
        unique=True,
        postgresql_where=sa.text("used_minutes < 0"),
    )
    op.execute(_ADMIT.format(actor=_ACTOR))
    _policy("events", _NOT_INTERNAL, _NOT_INTERNAL + _ITS_OWN)
    # Opening a case holds a ticket. Nothing else that a bound token may do moves an allowance.
    _policy("ledger", _CUSTOMER, f"{_CUSTOMER} AND kind = 'hold'")


def downgrade() -> None:
    _policy("ledger", _CUSTOMER, _CUSTOMER)
    _policy("events", _NOT_INTERNAL, _NOT_INTERNAL)
    op.execute(_ADMIT.format(actor=""))
    op.drop_index("uq_ledger_reverses", table_name="ledger")
    op.execute("DROP POLICY one_customer ON tokens")
    op.execute("DROP POLICY everybody ON tokens")
    op.execute("ALTER TABLE tokens DISABLE ROW LEVEL SECURITY")
    op.execute("REVOKE DELETE ON tokens FROM assistenza_app")
    op.execute("DROP TRIGGER keep_unexpired ON tokens")
    op.execute("DROP TRIGGER keep_revoked ON tokens")
    op.execute("DROP FUNCTION keep_token()")
    op.drop_index("ix_tokens_expires_at", table_name="tokens")
    op.drop_index("ix_tokens_issued_by", table_name="tokens")
    op.drop_constraint(op.f("ck_tokens_bound_scopes"), "tokens", type_="check")
