"""Two records of one customer become one (R49): everything of the one passes to the other."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# As in the second migration.
_CUSTOMER = "(SELECT nullif(current_setting('assistenza.customer', true), '')::uuid)"
_MERGED = f"ARRAY(SELECT m.customer_id FROM merged_customers m WHERE m.survivor_id = {_CUSTOMER})"
_NOT_INTERNAL = "NOT coalesce((data->>'internal')::boolean, false)"
# As in 0007.
_ITS_OWN = (
    " AND actor_id = (SELECT nullif(current_setting('assistenza.token', true), '')::uuid)"
    " AND actor = (SELECT current_setting('assistenza.actor', true))"
)

# Foreign keys that pair an id with its customer. All rows change their customer in one transaction,
# so these wait until the last one has.
_WITHIN_CUSTOMER = {
    "cases": ("allowance_id", "first_allowance_id"),
    "contracts": ("renews",),
    "ledger": ("allowance_id", "case_id", "cause_case_id", "time_entry_id"),
    "licence_upgrades": ("contract_id", "licence_id"),
    "ticket_uses": ("case_id", "pack_id"),
    "time_entries": ("case_id",),
}
# Before each statement, which may find no row, and before each row.
_KEEP_ENTRY = """
CREATE FUNCTION keep_entry() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $body$
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        OLD.customer_id := NEW.customer_id;
    END IF;
    IF current_setting('assistenza.merging', true) IS DISTINCT FROM 'yes'
        OR TG_LEVEL = 'ROW' AND NEW IS DISTINCT FROM OLD
    THEN
        RAISE EXCEPTION 'ledger is append-only: % refused', TG_OP
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $body$"""
# The role that serves requests has no right to change the customer of an allowance or of a ledger
# entry: this is its only way. Cases come before their time entries, as the clearing of old texts
# locks them. References to systems that know the survivor too stay with the merged record, which
# leads to the survivor. Of two service years that begin on one day, the survivor's goes on (R14).
# The caller checks the constraints in a statement of its own: a large customer's take as long.
_MOVE = """
CREATE FUNCTION move_to_survivor(merged uuid, survivor uuid) RETURNS uuid[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $body$
DECLARE
    moved text;
    joined uuid[];
BEGIN
    SET CONSTRAINTS ALL DEFERRED;
    PERFORM set_config('assistenza.merging', 'yes', true);
    WITH doubled AS (
        UPDATE service_years o SET superseded_by = s.id FROM service_years s
        WHERE o.customer_id = merged AND s.customer_id = survivor AND s.starts_on = o.starts_on
            AND o.superseded_by IS NULL AND s.superseded_by IS NULL
        RETURNING o.id)
    SELECT coalesce(array_agg(id), '{}') INTO joined FROM doubled;
    UPDATE contacts SET customer_id = survivor, position = position + (
            SELECT coalesce(max(position) + 1, 0) FROM contacts WHERE customer_id = survivor)
        WHERE customer_id = merged;
    UPDATE external_refs r SET customer_id = survivor
        WHERE customer_id = merged AND NOT EXISTS (
            SELECT FROM external_refs o WHERE o.customer_id = survivor AND o.system = r.system);
    FOREACH moved IN ARRAY ARRAY[
        'licences', 'licence_upgrades', 'contracts', 'ticket_packs', 'service_years', 'balances',
        'cases', 'ticket_uses', 'time_entries', 'ledger', 'refusals', 'calls']
    LOOP
        EXECUTE format('UPDATE %I SET customer_id = $1 WHERE customer_id = $2', moved)
            USING survivor, merged;
    END LOOP;
    PERFORM set_config('assistenza.merging', '', true);
    RETURN joined;
END $body$"""


def _defer(how: str) -> None:
    for table, columns in _WITHIN_CUSTOMER.items():
        for column in columns:
            name = op.f(f"fk_{table}_{column}_customer_id")
            op.execute(f"ALTER TABLE {table} ALTER CONSTRAINT {name} {how}")


def _refuse(when: str) -> None:
    op.execute("DROP TRIGGER refuse_change ON ledger")
    op.execute(
        f"CREATE TRIGGER refuse_change BEFORE {when} ON ledger"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _policy(table: str, using: str, check: str) -> None:
    op.execute(f"DROP POLICY one_customer ON {table}")
    op.execute(
        f"CREATE POLICY one_customer ON {table} TO assistenza_bound"
        f" USING ({using}) WITH CHECK ({check})"
    )


def upgrade() -> None:
    op.add_column("customers", sa.Column("merged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "merged_customers",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("survivor_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "customer_id <> survivor_id", name=op.f("ck_merged_customers_survivor_id")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], op.f("fk_merged_customers_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["survivor_id"], ["customers.id"], op.f("fk_merged_customers_survivor_id")
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_merged_customers")),
    )
    op.create_index("ix_merged_customers_survivor_id", "merged_customers", ["survivor_id"])
    op.execute("ALTER TABLE merged_customers ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everybody ON merged_customers TO assistenza_app USING (true)")
    op.execute(
        "CREATE POLICY one_customer ON merged_customers TO assistenza_bound"
        f" USING (survivor_id = {_CUSTOMER}) WITH CHECK (false)"
    )
    op.execute("GRANT SELECT ON merged_customers TO assistenza_app, assistenza_bound")
    op.execute("GRANT INSERT, UPDATE (survivor_id) ON merged_customers TO assistenza_app")

    op.add_column("service_years", sa.Column("superseded_by", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_service_years_superseded_by"),
        "service_years",
        "service_years",
        ["superseded_by"],
        ["id"],
    )
    op.create_index(
        "uq_service_years_standing",
        "service_years",
        ["customer_id", "starts_on"],
        unique=True,
        postgresql_where=sa.text("superseded_by IS NULL"),
    )
    op.drop_constraint(
        op.f("uq_service_years_customer_id_starts_on"), "service_years", type_="unique"
    )
    op.create_index("ix_service_years_customer_id", "service_years", ["customer_id"])
    # Each case that moves is looked for here, as is each one that gave minutes back.
    op.create_index(
        "ix_ledger_cause_case_id",
        "ledger",
        ["cause_case_id"],
        postgresql_where=sa.text("cause_case_id IS NOT NULL"),
    )

    _defer("DEFERRABLE INITIALLY IMMEDIATE")
    for function in (_KEEP_ENTRY, _MOVE):
        op.execute(function)
    for signature in ("keep_entry()", "move_to_survivor(uuid, uuid)"):
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION move_to_survivor(uuid, uuid) TO assistenza_app")
    _refuse("DELETE OR TRUNCATE")
    for name, each in (("keep_entries", "STATEMENT"), ("keep_entry", "ROW")):
        op.execute(
            f"CREATE TRIGGER {name} BEFORE UPDATE ON ledger"
            f" FOR EACH {each} EXECUTE FUNCTION keep_entry()"
        )
    # Its own records are known by their codes too, and events stay as they were recorded.
    _policy("customers", f"id = {_CUSTOMER} OR id = ANY ({_MERGED})", f"id = {_CUSTOMER}")
    _policy(
        "events",
        f"(customer_id = {_CUSTOMER} OR customer_id = ANY ({_MERGED})) AND {_NOT_INTERNAL}",
        f"customer_id = {_CUSTOMER} AND {_NOT_INTERNAL}" + _ITS_OWN,
    )


def downgrade() -> None:
    own = f"customer_id = {_CUSTOMER} AND {_NOT_INTERNAL}"
    _policy("events", own, own + _ITS_OWN)
    _policy("customers", f"id = {_CUSTOMER}", f"id = {_CUSTOMER}")
    for name in ("keep_entry", "keep_entries"):
        op.execute(f"DROP TRIGGER {name} ON ledger")
    _refuse("UPDATE OR DELETE OR TRUNCATE")
    op.execute("DROP FUNCTION move_to_survivor(uuid, uuid)")
    op.execute("DROP FUNCTION keep_entry()")
    _defer("NOT DEFERRABLE")
    op.drop_index("ix_ledger_cause_case_id", table_name="ledger")
    op.drop_index("ix_service_years_customer_id", table_name="service_years")
    # Fails where years of merged customers began on one day: the schema before cannot hold that.
    op.create_unique_constraint(
        op.f("uq_service_years_customer_id_starts_on"),
        "service_years",
        ["customer_id", "starts_on"],
    )
    op.drop_index("uq_service_years_standing", table_name="service_years")
    op.drop_column("service_years", "superseded_by")
    op.drop_table("merged_customers")
    op.drop_column("customers", "merged_at")
