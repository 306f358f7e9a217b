"""Every table with its constraints. No behaviour: triggers and roles are in the migrations."""

from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

Instant = DateTime(timezone=True)


class XID8(UserDefinedType[int]):
    """A transaction's 64-bit id, which never wraps round."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "xid8"


ischema_names.setdefault("xid8", XID8)


def _id() -> Column[UUID]:
    return Column("id", Uuid, primary_key=True)


def _customer(nullable: bool = False) -> Column[UUID]:
    return Column("customer_id", Uuid, ForeignKey("customers.id"), nullable=nullable)


def _unique_whatever_case(table: str, column: str) -> Index:
    # The collation is named because lower() of an ASCII code must not depend on the server's
    # locale (in Turkish the small form of I is not i).
    return Index(
        f"uq_{table}_{column}",
        func.lower(literal_column(f'{column} COLLATE "C"')),
        unique=True,
    )


def _own(table: str, key: str, column: str | None = None) -> ForeignKeyConstraint:
    """A reference that cannot leave the customer: the key goes together with the customer's."""
    return ForeignKeyConstraint(
        [column or key, "customer_id"], [f"{table}.{key}", f"{table}.customer_id"]
    )


def _one_of(column: str, *values: str) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


tokens = Table(
    "tokens",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    _customer(nullable=True),
    Column("issued_by", Uuid, ForeignKey("tokens.id")),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    UniqueConstraint("hash"),
    Index("ix_tokens_customer_id", "customer_id"),
)

customers = Table(
    "customers",
    metadata,
    _id(),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("vat_number", Text),
    Column("help_desk", Text),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
    _one_of("language", "it", "en", "de"),
    _unique_whatever_case("customers", "code"),
    Index(
        "ix_customers_words",
        text("to_tsvector('simple'::regconfig, (name || ' '::text) || code)"),
        postgresql_using="gin",
    ),
    Index("ix_customers_country_id", "country", "id"),
)

external_refs = Table(
    "external_refs",
    metadata,
    Column("customer_id", Uuid, ForeignKey("customers.id"), primary_key=True),
    Column("system", Text, primary_key=True),
    Column("ref", Text, nullable=False),
    UniqueConstraint("system", "ref"),
)

contacts = Table(
    "contacts",
    metadata,
    _id(),
    _customer(),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("phones", ARRAY(Text), nullable=False),
    Index("ix_contacts_customer_id", "customer_id"),
    Index("ix_contacts_email", func.lower(literal_column("email"))),
    Index(
        "ix_contacts_phones",
        "phones",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    ),
)

licences = Table(
    "licences",
    metadata,
    _id(),
    _customer(),
    Column("serial_number", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("purchased_on", Date, nullable=False),
    Column("withdrawn_on", Date),
    Column("withdrawal_reason", Text),
    Column("created_at", Instant, nullable=False),
    _one_of("kind", "editor", "runtime", "other"),
    CheckConstraint("withdrawn_on >= purchased_on", name="withdrawn_on"),
    CheckConstraint(
        "(withdrawn_on IS NULL) = (withdrawal_reason IS NULL)", name="withdrawal_reason"
    ),
    _unique_whatever_case("licences", "serial_number"),
    UniqueConstraint("id", "customer_id"),
    Index("ix_licences_customer_id_id", "customer_id", "id"),
)

contracts = Table(
    "contracts",
    metadata,
    _id(),
    _customer(),
    Column("number", Text, nullable=False),
    Column("starts_on", Date, nullable=False),
    Column("ends_on", Date, nullable=False),
    Column("included_minutes", Integer, nullable=False),
    Column("renews", Uuid),
    Column("cancelled_on", Date),
    Column("cancellation_reason", Text),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("starts_on < ends_on", name="period"),
    CheckConstraint("included_minutes > 0", name="included_minutes"),
    CheckConstraint("cancelled_on BETWEEN starts_on AND ends_on", name="cancelled_on"),
    CheckConstraint(
        "(cancelled_on IS NULL) = (cancellation_reason IS NULL)", name="cancellation_reason"
    ),
    _unique_whatever_case("contracts", "number"),
    UniqueConstraint("id", "customer_id"),
    _own("contracts", "id", "renews"),
    # A cancelled successor frees its predecessor for renewal (R24).
    Index(
        "uq_contracts_renews",
        "renews",
        unique=True,
        postgresql_where=text("cancelled_on IS NULL"),
    ),
    Index("ix_contracts_customer_id_id", "customer_id", "id"),
    Index("ix_contracts_ends_on", "ends_on"),
)

licence_upgrades = Table(
    "licence_upgrades",
    metadata,
    _id(),
    _customer(),
    Column("licence_id", Uuid, nullable=False),
    Column("version", Text, nullable=False),
    Column("upgraded_on", Date, nullable=False),
    Column("paid_by", Text, nullable=False),
    Column("contract_id", Uuid),
    Column("created_at", Instant, nullable=False),
    _one_of("paid_by", "purchase", "contract"),
    CheckConstraint("(paid_by = 'contract') = (contract_id IS NOT NULL)", name="contract_id"),
    _own("licences", "id", "licence_id"),
    _own("contracts", "id", "contract_id"),
    Index("ix_licence_upgrades_licence_id", "licence_id"),
    Index("ix_licence_upgrades_customer_id", "customer_id"),
)

service_years = Table(
    "service_years",
    metadata,
    _id(),
    _customer(),
    Column("starts_on", Date, nullable=False),
    Column("ends_on", Date, nullable=False),
    Column("granted_minutes", Integer, nullable=False),
    CheckConstraint("starts_on < ends_on", name="period"),
    CheckConstraint("granted_minutes > 0", name="granted_minutes"),
    # A service year is made when something is first recorded against it, once (R14).
    UniqueConstraint("customer_id", "starts_on"),
)

ticket_packs = Table(
    "ticket_packs",
    metadata,
    _id(),
    _customer(),
    Column("number", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("purchased_on", Date, nullable=False),
    Column("expires_on", Date, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("quantity BETWEEN 1 AND 1000", name="quantity"),
    CheckConstraint("purchased_on < expires_on", name="period"),
    _unique_whatever_case("ticket_packs", "number"),
    UniqueConstraint("id", "customer_id"),
    UniqueConstraint("id", "quantity"),
    Index("ix_ticket_packs_customer_id_id", "customer_id", "id"),
)

balances = Table(
    # One row for each allowance, written by triggers alone: made with the allowance, moved by the
    # ledger's inserts. Its checks are what no code can overdraw.
    "balances",
    metadata,
    Column("allowance_id", Uuid, primary_key=True),
    _customer(),
    Column("kind", Text, nullable=False),
    Column("granted_minutes", Integer),
    Column("quantity", Integer),
    Column("used_minutes", Integer, nullable=False, server_default="0"),
    Column("overrun_minutes", Integer, nullable=False, server_default="0"),
    Column("held", Integer, nullable=False, server_default="0"),
    Column("consumed", Integer, nullable=False, server_default="0"),
    _one_of("kind", "free_hours", "contract", "ticket"),
    CheckConstraint("(kind = 'ticket') = (quantity IS NOT NULL)", name="quantity"),
    CheckConstraint("(kind = 'ticket') = (granted_minutes IS NULL)", name="granted_minutes"),
    CheckConstraint("used_minutes >= 0 AND used_minutes <= granted_minutes", name="used_minutes"),
    CheckConstraint("kind <> 'ticket' OR used_minutes = 0", name="ticket_minutes"),
    CheckConstraint("overrun_minutes >= 0", name="overrun_minutes"),
    UniqueConstraint("allowance_id", "customer_id"),
    CheckConstraint(
        "held >= 0 AND consumed >= 0 AND held + consumed <= coalesce(quantity, 0)", name="tickets"
    ),
    Index("ix_balances_customer_id", "customer_id"),
)

cases = Table(
    "cases",
    metadata,
    _id(),
    _customer(),
    Column("number", Text, nullable=False),
    Column("requester_contact_id", Uuid),
    Column("requester_name", Text, nullable=False),
    Column("requester_email", Text),
    Column("requester_phone", Text),
    Column("serial_number", Text),
    Column("product", Text),
    Column("product_version", Text),
    Column("channel", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("priority_requested", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("priority_support", Boolean, nullable=False),
    Column("subject", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("steps_to_reproduce", Text),
    Column("example_url", Text),
    Column("technician", Text),
    Column("state", Text, nullable=False),
    Column("paid_by", Text, nullable=False),
    Column("allowance_id", Uuid),
    Column("ticket_position", Integer),
    # What it was first bound to, to which it returns when a bug proves none (R22).
    Column("first_paid_by", Text, nullable=False),
    Column("first_allowance_id", Uuid),
    Column("first_ticket_position", Integer),
    Column("resolution", Text),
    Column("opened_on", Date, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("updated_at", Instant, nullable=False),
    _one_of("channel", "email", "phone", "remote"),
    _one_of("category", "problem", "question", "bug"),
    _one_of("priority_requested", "high", "normal", "low"),
    _one_of("priority", "high", "normal", "low"),
    _one_of("state", "open", "in_progress", "waiting_for_customer", "closed", "cancelled"),
    _one_of("paid_by", "free_hours", "contract", "ticket", "none"),
    _one_of("first_paid_by", "free_hours", "contract", "ticket", "none"),
    CheckConstraint("(paid_by = 'none') = (allowance_id IS NULL)", name="allowance_id"),
    CheckConstraint("(paid_by = 'ticket') = (ticket_position IS NOT NULL)", name="ticket_position"),
    CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
    CheckConstraint("state <> 'closed' OR resolution IS NOT NULL", name="resolution"),
    UniqueConstraint("number"),
    UniqueConstraint("id", "customer_id"),
    _own("balances", "allowance_id"),
    _own("balances", "allowance_id", "first_allowance_id"),
    Index(
        "ix_cases_open",
        "customer_id",
        postgresql_where=text("state IN ('open', 'in_progress', 'waiting_for_customer')"),
    ),
    Index("ix_cases_customer_id_opened_at", "customer_id", "opened_at", "id"),
    Index("ix_cases_opened_at", "opened_at", "id"),
)

ticket_uses = Table(
    # A ticket held or consumed, for as long as it is: its key is the ticket, so that no ticket
    # can serve two cases, and one case cannot take two (R19). Written by the ledger's trigger.
    "ticket_uses",
    metadata,
    Column("pack_id", Uuid, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("quantity", Integer, nullable=False),
    _customer(),
    Column("case_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    _one_of("state", "held", "consumed"),
    CheckConstraint("position BETWEEN 1 AND quantity", name="position"),
    ForeignKeyConstraint(["pack_id", "quantity"], ["ticket_packs.id", "ticket_packs.quantity"]),
    _own("ticket_packs", "id", "pack_id"),
    _own("cases", "id", "case_id"),
    UniqueConstraint("case_id"),
)

time_entries = Table(
    "time_entries",
    metadata,
    _id(),
    _customer(),
    Column("case_id", Uuid, nullable=False),
    Column("technician", Text, nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("worked_at", Instant, nullable=False),
    Column("worked_on", Date, nullable=False),
    Column("note", Text),
    Column("recorded_at", Instant, nullable=False),
    Column("reversed_at", Instant),
    Column("reversal_reason", Text),
    CheckConstraint("minutes BETWEEN 1 AND 1440", name="minutes"),
    CheckConstraint("(reversed_at IS NULL) = (reversal_reason IS NULL)", name="reversal_reason"),
    _own("cases", "id", "case_id"),
    UniqueConstraint("id", "customer_id"),
    Index("ix_time_entries_case_id", "case_id"),
    Index("ix_time_entries_worked_on", "worked_on"),
)

ledger = Table(
    # Append-only. What each kind of entry moves is checked here; the deltas are all that the
    # trigger adds to the balances, so that a balance is a sum over this table and nothing else.
    "ledger",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _customer(),
    Column("case_id", Uuid, nullable=False),
    Column("allowance_id", Uuid),
    Column("kind", Text, nullable=False),
    Column("used_minutes", Integer, nullable=False, server_default="0"),
    Column("overrun_minutes", Integer, nullable=False, server_default="0"),
    Column("held", SmallInteger, nullable=False, server_default="0"),
    Column("consumed", SmallInteger, nullable=False, server_default="0"),
    Column("ticket_position", Integer),
    Column("time_entry_id", Uuid),
    Column("reverses", BigInteger, ForeignKey("ledger.id")),
    # The overrun that this charge covers afterwards, and the case that gave the minutes back.
    Column("covers", BigInteger, ForeignKey("ledger.id")),
    Column("cause_case_id", Uuid),
    Column("counts_on", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint(
        "CASE kind"
        " WHEN 'hold' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, 0)"
        " WHEN 'consumption' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, -1, 1)"
        " WHEN 'reopening' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, -1)"
        " WHEN 'release' THEN (used_minutes, overrun_minutes, held, consumed)"
        " IN ((0, 0, -1, 0), (0, 0, 0, -1))"
        " WHEN 'charge' THEN used_minutes > 0 AND (overrun_minutes, held, consumed) = (0, 0, 0)"
        " WHEN 'overrun' THEN overrun_minutes > 0 AND (used_minutes, held, consumed) = (0, 0, 0)"
        " WHEN 'reversal' THEN used_minutes <= 0 AND overrun_minutes <= 0"
        " AND used_minutes + overrun_minutes < 0 AND (held, consumed) = (0, 0)"
        " ELSE false END",
        name="kind",
    ),
    CheckConstraint(
        "(kind IN ('hold', 'consumption', 'reopening', 'release')) = (ticket_position IS NOT NULL)",
        name="ticket_position",
    ),
    CheckConstraint(
        "(kind IN ('charge', 'overrun', 'reversal')) = (time_entry_id IS NOT NULL)",
        name="time_entry_id",
    ),
    CheckConstraint("(kind = 'reversal') = (reverses IS NOT NULL)", name="reverses"),
    CheckConstraint("covers IS NULL OR kind = 'charge'", name="covers"),
    CheckConstraint(
        "allowance_id IS NOT NULL OR kind IN ('overrun', 'reversal')", name="allowance"
    ),
    _own("balances", "allowance_id"),
    _own("cases", "id", "case_id"),
    _own("cases", "id", "cause_case_id"),
    _own("time_entries", "id", "time_entry_id"),
    Index("ix_ledger_case_id", "case_id"),
    Index("ix_ledger_allowance_id_counts_on", "allowance_id", "counts_on"),
    Index("ix_ledger_customer_id_counts_on", "customer_id", "counts_on"),
    Index("ix_ledger_time_entry_id", "time_entry_id"),
    Index("ix_ledger_reverses", "reverses", postgresql_where=text("reverses IS NOT NULL")),
)

events = Table(
    # The one record of what happened: audit trail, a case's timeline, source of the event feed.
    # `xid` lets a reader stop before the oldest transaction still under way, so that nothing
    # appears behind its cursor.
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("xid", XID8, nullable=False, server_default=text("pg_current_xact_id()")),
    _customer(nullable=True),
    Column("case_id", Uuid),
    Column("type", Text, nullable=False),
    Column("subject_id", Uuid),
    Column("occurred_at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("actor_id", Uuid),
    Column("data", JSONB, nullable=False),
    Index("ix_events_case_id", "case_id", "id"),
    Index("ix_events_customer_id", "customer_id", "id"),
    Index("ix_events_xid", "xid", "id"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("client", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

schema_compatibility = Table(
    "schema_compatibility",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("lowest_program_version", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
"""One row, written by migrations: see alembic/DECISION-compatible-migrations.md."""
