"""Tables, the triggers that maintain and protect them, and the rights of the roles."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


class _XID8(UserDefinedType[int]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


_SEQUENCES = ("case_numbers", "contract_numbers", "ticket_pack_numbers")

# The functions run with the rights of the schema's owner. The role that serves requests may only
# insert into the ledger; balances and tickets change through these triggers alone (R19).
_FUNCTIONS = {
    "open_balance": """
        BEGIN
            CASE TG_TABLE_NAME
            WHEN 'contracts' THEN
                INSERT INTO balances (allowance_id, customer_id, kind, granted_minutes)
                VALUES (NEW.id, NEW.customer_id, 'contract', NEW.included_minutes);
            WHEN 'service_years' THEN
                INSERT INTO balances (allowance_id, customer_id, kind, granted_minutes)
                VALUES (NEW.id, NEW.customer_id, 'free_hours', NEW.granted_minutes);
            WHEN 'ticket_packs' THEN
                INSERT INTO balances (allowance_id, customer_id, kind, quantity)
                VALUES (NEW.id, NEW.customer_id, 'ticket', NEW.quantity);
            END CASE;
            RETURN NULL;
        END""",
    "move_balance": """
        DECLARE
            moved integer;
        BEGIN
            IF NEW.allowance_id IS NULL THEN
                RETURN NULL;
            END IF;
            UPDATE balances SET
                used_minutes = used_minutes + NEW.used_minutes,
                overrun_minutes = overrun_minutes + NEW.overrun_minutes,
                held = held + NEW.held,
                consumed = consumed + NEW.consumed
            WHERE allowance_id = NEW.allowance_id;
            IF NEW.ticket_position IS NULL THEN
                RETURN NULL;
            END IF;
            CASE NEW.kind
            WHEN 'hold' THEN
                INSERT INTO ticket_uses
                    (pack_id, position, quantity, customer_id, case_id, state)
                SELECT id, NEW.ticket_position, quantity, customer_id, NEW.case_id, 'held'
                FROM ticket_packs WHERE id = NEW.allowance_id;
            WHEN 'consumption' THEN
                UPDATE ticket_uses SET state = 'consumed'
                WHERE pack_id = NEW.allowance_id AND position = NEW.ticket_position
                    AND case_id = NEW.case_id AND state = 'held';
            WHEN 'reopening' THEN
                UPDATE ticket_uses SET state = 'held'
                WHERE pack_id = NEW.allowance_id AND position = NEW.ticket_position
                    AND case_id = NEW.case_id AND state = 'consumed';
            WHEN 'release' THEN
                DELETE FROM ticket_uses
                WHERE pack_id = NEW.allowance_id AND position = NEW.ticket_position
                    AND case_id = NEW.case_id
                    AND state = CASE WHEN NEW.held < 0 THEN 'held' ELSE 'consumed' END;
            END CASE;
            GET DIAGNOSTICS moved = ROW_COUNT;
            IF moved <> 1 THEN
                RAISE EXCEPTION 'ticket % of pack % is not the case''s to move by %',
                    NEW.ticket_position, NEW.allowance_id, NEW.kind
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NULL;
        END""",
    "refuse_change": """
        BEGIN
            RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
                USING ERRCODE = 'integrity_constraint_violation';
        END""",
}

_TRIGGERS = [
    ("contracts", "open_balance", "AFTER INSERT", "ROW"),
    ("service_years", "open_balance", "AFTER INSERT", "ROW"),
    ("ticket_packs", "open_balance", "AFTER INSERT", "ROW"),
    ("ledger", "move_balance", "AFTER INSERT", "ROW"),
    ("ledger", "refuse_change", "BEFORE UPDATE OR DELETE OR TRUNCATE", "STATEMENT"),
    ("events", "refuse_change", "BEFORE UPDATE OR DELETE OR TRUNCATE", "STATEMENT"),
]

# The rights of the role that serves requests. It owns nothing and cannot change the schema.
_GRANTS = {
    "SELECT": [
        "alembic_version",
        "balances",
        "cases",
        "contacts",
        "contracts",
        "customers",
        "events",
        "external_refs",
        "idempotency_keys",
        "ledger",
        "licence_upgrades",
        "licences",
        "service_years",
        "ticket_packs",
        "ticket_uses",
        "time_entries",
        "tokens",
    ],
    "INSERT": [
        "cases",
        "contacts",
        "contracts",
        "customers",
        "events",
        "external_refs",
        "idempotency_keys",
        "ledger",
        "licence_upgrades",
        "licences",
        "service_years",
        "ticket_packs",
        "time_entries",
        "tokens",
    ],
    "UPDATE": ["cases", "contacts", "customers", "external_refs"],
    "UPDATE (purchased_on, kind, product, version, withdrawn_on, withdrawal_reason)": ["licences"],
    "UPDATE (cancelled_on, cancellation_reason)": ["contracts"],
    "UPDATE (reversed_at, reversal_reason)": ["time_entries"],
    "UPDATE (last_used_at, revoked_at)": ["tokens"],
    "DELETE": ["contacts", "external_refs", "idempotency_keys"],
}


def _make_roles() -> None:
    for role in ("assistenza_app", "assistenza_bound"):
        op.execute(f"""
            DO $$
            BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                    CREATE ROLE {role} NOLOGIN;
                END IF;
            EXCEPTION
                WHEN duplicate_object THEN NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'the role {role} is missing and may not be made'
                        USING HINT = 'Run the SQL that `assistenza roles` prints as a superuser.';
            END $$""")


def _guard() -> None:
    for sequence in _SEQUENCES:
        op.execute(f"CREATE SEQUENCE {sequence}")
    for name, body in _FUNCTIONS.items():
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            f" SET search_path = public, pg_temp AS $body${body}$body$"
        )
        op.execute(f"REVOKE ALL ON FUNCTION {name}() FROM PUBLIC")
    for table, function, when, each in _TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {function} {when} ON {table}"
            f" FOR EACH {each} EXECUTE FUNCTION {function}()"
        )


def _grant() -> None:
    op.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    op.execute("GRANT USAGE ON SCHEMA public TO assistenza_app, assistenza_bound")
    op.execute(f"GRANT USAGE ON SEQUENCE {', '.join(_SEQUENCES)} TO assistenza_app")
    for privilege, tables in _GRANTS.items():
        op.execute(f"GRANT {privilege} ON {', '.join(tables)} TO assistenza_app")


def upgrade() -> None:
    _make_roles()
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("vat_number", sa.Text(), nullable=True),
        sa.Column("help_desk", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name=op.f("ck_customers_country")),
        sa.CheckConstraint("language IN ('it', 'en', 'de')", name=op.f("ck_customers_language")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customers")),
    )
    op.create_index("ix_customers_country_id", "customers", ["country", "id"], unique=False)
    op.create_index(
        "ix_customers_words",
        "customers",
        [sa.literal_column("to_tsvector('simple'::regconfig, (name || ' '::text) || code)")],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index(
        "uq_customers_code",
        "customers",
        [sa.literal_column('lower(code COLLATE "C")')],
        unique=True,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("client", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        "ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False
    )
    op.create_table(
        "balances",
        sa.Column("allowance_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("granted_minutes", sa.Integer(), nullable=True),
        sa.Column("quantity", sa.Integer(), nullable=True),
        sa.Column("used_minutes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("overrun_minutes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("consumed", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(kind = 'ticket') = (granted_minutes IS NULL)",
            name=op.f("ck_balances_granted_minutes"),
        ),
        sa.CheckConstraint(
            "(kind = 'ticket') = (quantity IS NOT NULL)", name=op.f("ck_balances_quantity")
        ),
        sa.CheckConstraint(
            "kind <> 'ticket' OR used_minutes = 0", name=op.f("ck_balances_ticket_minutes")
        ),
        sa.CheckConstraint(
            "kind IN ('free_hours', 'contract', 'ticket')", name=op.f("ck_balances_kind")
        ),
        sa.CheckConstraint(
            "held >= 0 AND consumed >= 0 AND held + consumed <= coalesce(quantity, 0)",
            name=op.f("ck_balances_tickets"),
        ),
        sa.CheckConstraint("overrun_minutes >= 0", name=op.f("ck_balances_overrun_minutes")),
        sa.CheckConstraint(
            "used_minutes >= 0 AND used_minutes <= granted_minutes",
            name=op.f("ck_balances_used_minutes"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_balances_customer_id")
        ),
        sa.PrimaryKeyConstraint("allowance_id", name=op.f("pk_balances")),
        sa.UniqueConstraint(
            "allowance_id", "customer_id", name=op.f("uq_balances_allowance_id_customer_id")
        ),
    )
    op.create_index("ix_balances_customer_id", "balances", ["customer_id"], unique=False)
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phones", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_contacts_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
    )
    op.create_index("ix_contacts_customer_id", "contacts", ["customer_id"], unique=False)
    op.create_index(
        "ix_contacts_email", "contacts", [sa.literal_column("lower(email)")], unique=False
    )
    op.create_index(
        "ix_contacts_phones",
        "contacts",
        ["phones"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.create_table(
        "contracts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("included_minutes", sa.Integer(), nullable=False),
        sa.Column("renews", sa.Uuid(), nullable=True),
        sa.Column("cancelled_on", sa.Date(), nullable=True),
        sa.Column("cancellation_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(cancelled_on IS NULL) = (cancellation_reason IS NULL)",
            name=op.f("ck_contracts_cancellation_reason"),
        ),
        sa.CheckConstraint(
            "cancelled_on BETWEEN starts_on AND ends_on", name=op.f("ck_contracts_cancelled_on")
        ),
        sa.CheckConstraint("included_minutes > 0", name=op.f("ck_contracts_included_minutes")),
        sa.CheckConstraint("starts_on < ends_on", name=op.f("ck_contracts_period")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_contracts_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["renews", "customer_id"],
            ["contracts.id", "contracts.customer_id"],
            name=op.f("fk_contracts_renews_customer_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contracts")),
        sa.UniqueConstraint("id", "customer_id", name=op.f("uq_contracts_id_customer_id")),
    )
    op.create_index("ix_contracts_customer_id_id", "contracts", ["customer_id", "id"], unique=False)
    op.create_index("ix_contracts_ends_on", "contracts", ["ends_on"], unique=False)
    op.create_index(
        "uq_contracts_number",
        "contracts",
        [sa.literal_column('lower(number COLLATE "C")')],
        unique=True,
    )
    op.create_index(
        "uq_contracts_renews",
        "contracts",
        ["renews"],
        unique=True,
        postgresql_where=sa.text("cancelled_on IS NULL"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "xid",
            _XID8(),
            server_default=sa.text("pg_current_xact_id()"),
            nullable=False,
        ),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_events_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_case_id", "events", ["case_id", "id"], unique=False)
    op.create_index("ix_events_customer_id", "events", ["customer_id", "id"], unique=False)
    op.create_index("ix_events_xid", "events", ["xid", "id"], unique=False)
    op.create_table(
        "external_refs",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_external_refs_customer_id")
        ),
        sa.PrimaryKeyConstraint("customer_id", "system", name=op.f("pk_external_refs")),
        sa.UniqueConstraint("system", "ref", name=op.f("uq_external_refs_system_ref")),
    )
    op.create_table(
        "licences",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("purchased_on", sa.Date(), nullable=False),
        sa.Column("withdrawn_on", sa.Date(), nullable=True),
        sa.Column("withdrawal_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('editor', 'runtime', 'other')", name=op.f("ck_licences_kind")),
        sa.CheckConstraint(
            "(withdrawn_on IS NULL) = (withdrawal_reason IS NULL)",
            name=op.f("ck_licences_withdrawal_reason"),
        ),
        sa.CheckConstraint("withdrawn_on >= purchased_on", name=op.f("ck_licences_withdrawn_on")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_licences_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_licences")),
        sa.UniqueConstraint("id", "customer_id", name=op.f("uq_licences_id_customer_id")),
    )
    op.create_index("ix_licences_customer_id_id", "licences", ["customer_id", "id"], unique=False)
    op.create_index(
        "uq_licences_serial_number",
        "licences",
        [sa.literal_column('lower(serial_number COLLATE "C")')],
        unique=True,
    )
    op.create_table(
        "service_years",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("granted_minutes", sa.Integer(), nullable=False),
        sa.CheckConstraint("granted_minutes > 0", name=op.f("ck_service_years_granted_minutes")),
        sa.CheckConstraint("starts_on < ends_on", name=op.f("ck_service_years_period")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_service_years_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_years")),
        sa.UniqueConstraint(
            "customer_id", "starts_on", name=op.f("uq_service_years_customer_id_starts_on")
        ),
    )
    op.create_table(
        "ticket_packs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("purchased_on", sa.Date(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("purchased_on < expires_on", name=op.f("ck_ticket_packs_period")),
        sa.CheckConstraint("quantity BETWEEN 1 AND 1000", name=op.f("ck_ticket_packs_quantity")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_ticket_packs_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket_packs")),
        sa.UniqueConstraint("id", "customer_id", name=op.f("uq_ticket_packs_id_customer_id")),
        sa.UniqueConstraint("id", "quantity", name=op.f("uq_ticket_packs_id_quantity")),
    )
    op.create_index(
        "ix_ticket_packs_customer_id_id", "ticket_packs", ["customer_id", "id"], unique=False
    )
    op.create_index(
        "uq_ticket_packs_number",
        "ticket_packs",
        [sa.literal_column('lower(number COLLATE "C")')],
        unique=True,
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("issued_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_tokens_customer_id")
        ),
        sa.ForeignKeyConstraint(["issued_by"], ["tokens.id"], name=op.f("fk_tokens_issued_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_index("ix_tokens_customer_id", "tokens", ["customer_id"], unique=False)
    op.create_table(
        "cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("requester_contact_id", sa.Uuid(), nullable=True),
        sa.Column("requester_name", sa.Text(), nullable=False),
        sa.Column("requester_email", sa.Text(), nullable=True),
        sa.Column("requester_phone", sa.Text(), nullable=True),
        sa.Column("serial_number", sa.Text(), nullable=True),
        sa.Column("product", sa.Text(), nullable=True),
        sa.Column("product_version", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("priority_requested", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("priority_support", sa.Boolean(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("steps_to_reproduce", sa.Text(), nullable=True),
        sa.Column("example_url", sa.Text(), nullable=True),
        sa.Column("technician", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("paid_by", sa.Text(), nullable=False),
        sa.Column("allowance_id", sa.Uuid(), nullable=True),
        sa.Column("ticket_position", sa.Integer(), nullable=True),
        sa.Column("first_paid_by", sa.Text(), nullable=False),
        sa.Column("first_allowance_id", sa.Uuid(), nullable=True),
        sa.Column("first_ticket_position", sa.Integer(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(paid_by = 'none') = (allowance_id IS NULL)", name=op.f("ck_cases_allowance_id")
        ),
        sa.CheckConstraint(
            "(paid_by = 'ticket') = (ticket_position IS NOT NULL)",
            name=op.f("ck_cases_ticket_position"),
        ),
        sa.CheckConstraint(
            "(state = 'closed') = (closed_at IS NOT NULL)", name=op.f("ck_cases_closed_at")
        ),
        sa.CheckConstraint(
            "category IN ('problem', 'question', 'bug')", name=op.f("ck_cases_category")
        ),
        sa.CheckConstraint(
            "channel IN ('email', 'phone', 'remote')", name=op.f("ck_cases_channel")
        ),
        sa.CheckConstraint(
            "first_paid_by IN ('free_hours', 'contract', 'ticket', 'none')",
            name=op.f("ck_cases_first_paid_by"),
        ),
        sa.CheckConstraint(
            "paid_by IN ('free_hours', 'contract', 'ticket', 'none')", name=op.f("ck_cases_paid_by")
        ),
        sa.CheckConstraint("priority IN ('high', 'normal', 'low')", name=op.f("ck_cases_priority")),
        sa.CheckConstraint(
            "priority_requested IN ('high', 'normal', 'low')",
            name=op.f("ck_cases_priority_requested"),
        ),
        sa.CheckConstraint(
            "state <> 'closed' OR resolution IS NOT NULL", name=op.f("ck_cases_resolution")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'in_progress', 'waiting_for_customer', 'closed', 'cancelled')",
            name=op.f("ck_cases_state"),
        ),
        sa.ForeignKeyConstraint(
            ["allowance_id", "customer_id"],
            ["balances.allowance_id", "balances.customer_id"],
            name=op.f("fk_cases_allowance_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_cases_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["first_allowance_id", "customer_id"],
            ["balances.allowance_id", "balances.customer_id"],
            name=op.f("fk_cases_first_allowance_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("id", "customer_id", name=op.f("uq_cases_id_customer_id")),
        sa.UniqueConstraint("number", name=op.f("uq_cases_number")),
    )
    op.create_index(
        "ix_cases_customer_id_opened_at", "cases", ["customer_id", "opened_at", "id"], unique=False
    )
    op.create_index(
        "ix_cases_open",
        "cases",
        ["customer_id"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'in_progress', 'waiting_for_customer')"),
    )
    op.create_index("ix_cases_opened_at", "cases", ["opened_at", "id"], unique=False)
    op.create_table(
        "licence_upgrades",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("licence_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("upgraded_on", sa.Date(), nullable=False),
        sa.Column("paid_by", sa.Text(), nullable=False),
        sa.Column("contract_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(paid_by = 'contract') = (contract_id IS NOT NULL)",
            name=op.f("ck_licence_upgrades_contract_id"),
        ),
        sa.CheckConstraint(
            "paid_by IN ('purchase', 'contract')", name=op.f("ck_licence_upgrades_paid_by")
        ),
        sa.ForeignKeyConstraint(
            ["contract_id", "customer_id"],
            ["contracts.id", "contracts.customer_id"],
            name=op.f("fk_licence_upgrades_contract_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_licence_upgrades_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["licence_id", "customer_id"],
            ["licences.id", "licences.customer_id"],
            name=op.f("fk_licence_upgrades_licence_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_licence_upgrades")),
    )
    op.create_index(
        "ix_licence_upgrades_customer_id", "licence_upgrades", ["customer_id"], unique=False
    )
    op.create_index(
        "ix_licence_upgrades_licence_id", "licence_upgrades", ["licence_id"], unique=False
    )
    op.create_table(
        "ticket_uses",
        sa.Column("pack_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint("state IN ('held', 'consumed')", name=op.f("ck_ticket_uses_state")),
        sa.CheckConstraint("position BETWEEN 1 AND quantity", name=op.f("ck_ticket_uses_position")),
        sa.ForeignKeyConstraint(
            ["case_id", "customer_id"],
            ["cases.id", "cases.customer_id"],
            name=op.f("fk_ticket_uses_case_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_ticket_uses_customer_id")
        ),
        sa.ForeignKeyConstraint(
            ["pack_id", "customer_id"],
            ["ticket_packs.id", "ticket_packs.customer_id"],
            name=op.f("fk_ticket_uses_pack_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["pack_id", "quantity"],
            ["ticket_packs.id", "ticket_packs.quantity"],
            name=op.f("fk_ticket_uses_pack_id_quantity"),
        ),
        sa.PrimaryKeyConstraint("pack_id", "position", name=op.f("pk_ticket_uses")),
        sa.UniqueConstraint("case_id", name=op.f("uq_ticket_uses_case_id")),
    )
    op.create_table(
        "time_entries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("technician", sa.Text(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("worked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worked_on", sa.Date(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reversal_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(reversed_at IS NULL) = (reversal_reason IS NULL)",
            name=op.f("ck_time_entries_reversal_reason"),
        ),
        sa.CheckConstraint("minutes BETWEEN 1 AND 1440", name=op.f("ck_time_entries_minutes")),
        sa.ForeignKeyConstraint(
            ["case_id", "customer_id"],
            ["cases.id", "cases.customer_id"],
            name=op.f("fk_time_entries_case_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_time_entries_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_time_entries")),
        sa.UniqueConstraint("id", "customer_id", name=op.f("uq_time_entries_id_customer_id")),
    )
    op.create_index("ix_time_entries_case_id", "time_entries", ["case_id"], unique=False)
    op.create_index("ix_time_entries_worked_on", "time_entries", ["worked_on"], unique=False)
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("allowance_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("used_minutes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("overrun_minutes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("held", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("consumed", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("ticket_position", sa.Integer(), nullable=True),
        sa.Column("time_entry_id", sa.Uuid(), nullable=True),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("covers", sa.BigInteger(), nullable=True),
        sa.Column("cause_case_id", sa.Uuid(), nullable=True),
        sa.Column("counts_on", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("covers IS NULL OR kind = 'charge'", name=op.f("ck_ledger_covers")),
        sa.ForeignKeyConstraint(["covers"], ["ledger.id"], name=op.f("fk_ledger_covers")),
        sa.CheckConstraint(
            "(kind = 'reversal') = (reverses IS NOT NULL)", name=op.f("ck_ledger_reverses")
        ),
        sa.CheckConstraint(
            "(kind IN ('charge', 'overrun', 'reversal')) = (time_entry_id IS NOT NULL)",
            name=op.f("ck_ledger_time_entry_id"),
        ),
        sa.CheckConstraint(
            "(kind IN ('hold', 'consumption', 'reopening', 'release')) = (ticket_position IS NOT NULL)",
            name=op.f("ck_ledger_ticket_position"),
        ),
        sa.CheckConstraint(
            "CASE kind WHEN 'hold' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, 0) WHEN 'consumption' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, -1, 1) WHEN 'reopening' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, -1) WHEN 'release' THEN (used_minutes, overrun_minutes, held, consumed) IN ((0, 0, -1, 0), (0, 0, 0, -1)) WHEN 'charge' THEN used_minutes > 0 AND (overrun_minutes, held, consumed) = (0, 0, 0) WHEN 'overrun' THEN overrun_minutes > 0 AND (used_minutes, held, consumed) = (0, 0, 0) WHEN 'reversal' THEN used_minutes <= 0 AND overrun_minutes <= 0 AND used_minutes + overrun_minutes < 0 AND (held, consumed) = (0, 0) ELSE false END",
            name=op.f("ck_ledger_kind"),
        ),
        sa.CheckConstraint(
            "allowance_id IS NOT NULL OR kind IN ('overrun', 'reversal')",
            name=op.f("ck_ledger_allowance"),
        ),
        sa.ForeignKeyConstraint(
            ["allowance_id", "customer_id"],
            ["balances.allowance_id", "balances.customer_id"],
            name=op.f("fk_ledger_allowance_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["case_id", "customer_id"],
            ["cases.id", "cases.customer_id"],
            name=op.f("fk_ledger_case_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["cause_case_id", "customer_id"],
            ["cases.id", "cases.customer_id"],
            name=op.f("fk_ledger_cause_case_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_ledger_customer_id")
        ),
        sa.ForeignKeyConstraint(["reverses"], ["ledger.id"], name=op.f("fk_ledger_reverses")),
        sa.ForeignKeyConstraint(
            ["time_entry_id", "customer_id"],
            ["time_entries.id", "time_entries.customer_id"],
            name=op.f("fk_ledger_time_entry_id_customer_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
    )
    op.create_index(
        "ix_ledger_allowance_id_counts_on", "ledger", ["allowance_id", "counts_on"], unique=False
    )
    op.create_index("ix_ledger_case_id", "ledger", ["case_id"], unique=False)
    op.create_index(
        "ix_ledger_customer_id_counts_on", "ledger", ["customer_id", "counts_on"], unique=False
    )
    op.create_index(
        "ix_ledger_reverses",
        "ledger",
        ["reverses"],
        unique=False,
        postgresql_where=sa.text("reverses IS NOT NULL"),
    )
    op.create_index("ix_ledger_time_entry_id", "ledger", ["time_entry_id"], unique=False)
    _guard()
    _grant()


def downgrade() -> None:
    op.drop_index("ix_ledger_time_entry_id", table_name="ledger")
    op.drop_index(
        "ix_ledger_reverses", table_name="ledger", postgresql_where=sa.text("reverses IS NOT NULL")
    )
    op.drop_index("ix_ledger_customer_id_counts_on", table_name="ledger")
    op.drop_index("ix_ledger_case_id", table_name="ledger")
    op.drop_index("ix_ledger_allowance_id_counts_on", table_name="ledger")
    op.drop_table("ledger")
    op.drop_index("ix_time_entries_worked_on", table_name="time_entries")
    op.drop_index("ix_time_entries_case_id", table_name="time_entries")
    op.drop_table("time_entries")
    op.drop_table("ticket_uses")
    op.drop_index("ix_licence_upgrades_licence_id", table_name="licence_upgrades")
    op.drop_index("ix_licence_upgrades_customer_id", table_name="licence_upgrades")
    op.drop_table("licence_upgrades")
    op.drop_index("ix_cases_opened_at", table_name="cases")
    op.drop_index(
        "ix_cases_open",
        table_name="cases",
        postgresql_where=sa.text("state IN ('open', 'in_progress', 'waiting_for_customer')"),
    )
    op.drop_index("ix_cases_customer_id_opened_at", table_name="cases")
    op.drop_table("cases")
    op.drop_index("ix_tokens_customer_id", table_name="tokens")
    op.drop_table("tokens")
    op.drop_index("uq_ticket_packs_number", table_name="ticket_packs")
    op.drop_index("ix_ticket_packs_customer_id_id", table_name="ticket_packs")
    op.drop_table("ticket_packs")
    op.drop_table("service_years")
    op.drop_index("uq_licences_serial_number", table_name="licences")
    op.drop_index("ix_licences_customer_id_id", table_name="licences")
    op.drop_table("licences")
    op.drop_table("external_refs")
    op.drop_index("ix_events_xid", table_name="events")
    op.drop_index("ix_events_customer_id", table_name="events")
    op.drop_index("ix_events_case_id", table_name="events")
    op.drop_table("events")
    op.drop_index(
        "uq_contracts_renews",
        table_name="contracts",
        postgresql_where=sa.text("cancelled_on IS NULL"),
    )
    op.drop_index("uq_contracts_number", table_name="contracts")
    op.drop_index("ix_contracts_ends_on", table_name="contracts")
    op.drop_index("ix_contracts_customer_id_id", table_name="contracts")
    op.drop_table("contracts")
    op.drop_index(
        "ix_contacts_phones",
        table_name="contacts",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    op.drop_index("ix_contacts_email", table_name="contacts")
    op.drop_index("ix_contacts_customer_id", table_name="contacts")
    op.drop_table("contacts")
    op.drop_index("ix_balances_customer_id", table_name="balances")
    op.drop_table("balances")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index("uq_customers_code", table_name="customers")
    op.drop_index("ix_customers_words", table_name="customers", postgresql_using="gin")
    op.drop_index("ix_customers_country_id", table_name="customers")
    op.drop_table("customers")
    for sequence in _SEQUENCES:
        op.execute(f"DROP SEQUENCE {sequence}")
    for name in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    # The roles stay: they belong to the whole server, and other databases may use them.
