"""Tables of clients' tokens, customers, their contacts and references, and licences."""

import string

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from app.store.tables.columns import (
    Instant,
    customer_reference,
    identifier,
    metadata,
    one_of,
    unique_ignoring_case,
    within_customer,
    words_index,
)
from app.store.tables.text_search import searched

_VAT_NUMBER = "translate(vat_number, ' .-'::text, ''::text)"
_DIGITS = f"ltrim({_VAT_NUMBER}, '{string.ascii_letters}'::text)"
CUSTOMER_TEXT = searched("name", "code", "vat_number", _VAT_NUMBER, _DIGITS)
"""SQL for the words of a customer itself. People write VAT numbers with spaces or without, and
without the country."""
CONTACT_TEXT = searched("name", "email")
"""SQL for the words of a contact."""

tokens = Table(
    "tokens",
    metadata,
    identifier(),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    customer_reference(nullable=True),
    Column("issued_by", Uuid, ForeignKey("tokens.id")),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    UniqueConstraint("hash"),
    # `BOUND_SCOPES` of `services.tokens`; a test compares the two.
    CheckConstraint(
        "customer_id IS NULL OR scopes <@ ARRAY['cases:read', 'cases:write', 'contracts:read',"
        " 'customers:read', 'entitlements:read', 'licences:read', 'tickets:read',"
        " 'usage:read']::text[]",
        name="bound_scopes",
    ),
    Index("ix_tokens_customer_id", "customer_id"),
    Index("ix_tokens_issued_by", "issued_by"),
    Index("ix_tokens_expires_at", "expires_at"),
)

customers = Table(
    "customers",
    metadata,
    identifier(),
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("vat_number", Text),
    Column("help_desk", Text),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("archived_at", Instant),
    # When it became part of another record of the same customer: see merged_customers.
    Column("merged_at", Instant),
    CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
    one_of("language", "it", "en", "de"),
    unique_ignoring_case("customers", "code"),
    words_index("customers", CUSTOMER_TEXT),
    Index("ix_customers_country_id", "country", "id"),
    Index("ix_customers_archived", "id", postgresql_where=text("archived_at IS NOT NULL")),
)

merged_customers = Table(
    # Records that were merged, each with the customer that has all of theirs (R49). When that one
    # is merged too, its rows here are changed: everyone leads to the last survivor at once. A table
    # of its own, because those who wait for a merged record hold the lock of its row.
    "merged_customers",
    metadata,
    Column("customer_id", Uuid, ForeignKey("customers.id"), primary_key=True),
    Column("survivor_id", Uuid, ForeignKey("customers.id"), nullable=False),
    CheckConstraint("customer_id <> survivor_id", name="survivor_id"),
    Index("ix_merged_customers_survivor_id", "survivor_id"),
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
    identifier(),
    customer_reference(),
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
    words_index("contacts", CONTACT_TEXT),
)

licences = Table(
    "licences",
    metadata,
    identifier(),
    customer_reference(),
    Column("serial_number", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("purchased_on", Date, nullable=False),
    Column("withdrawn_on", Date),
    Column("withdrawal_reason", Text),
    # Kind, product, version and day of purchase as the CRM sent them last (R40), and the serial
    # number if staff have corrected that since. Null in rows of 0.2 and before: what they hold is
    # what was sent.
    Column("sent", JSONB),
    # A row is what one customer holds without a break. One that was got by a transfer on
    # `held_from` names the row of whoever bought the licence; one that was `passed_on` ended by a
    # transfer, on the day `withdrawn_on` (R44). The constraint `ex_licences_holder` gives a serial
    # number at most one holder on any day: see the migration that makes it.
    Column("held_from", Date),
    Column("origin_id", Uuid, ForeignKey("licences.id")),
    Column("passed_on", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Instant, nullable=False),
    one_of("kind", "editor", "runtime", "other"),
    CheckConstraint("withdrawn_on >= coalesce(held_from, purchased_on)", name="withdrawn_on"),
    CheckConstraint(
        "(held_from IS NULL) = (origin_id IS NULL) AND held_from > purchased_on", name="held_from"
    ),
    CheckConstraint("NOT passed_on OR withdrawn_on IS NOT NULL", name="passed_on"),
    CheckConstraint(
        "(withdrawn_on IS NULL) = (withdrawal_reason IS NULL)", name="withdrawal_reason"
    ),
    Index("ix_licences_serial_number", func.lower(literal_column('serial_number COLLATE "C"'))),
    Index("ix_licences_origin_id", "origin_id", postgresql_where=text("origin_id IS NOT NULL")),
    UniqueConstraint("id", "customer_id"),
    Index("ix_licences_customer_id_id", "customer_id", "id"),
    Index("ix_licences_kind_id", "kind", "id"),
)

licence_upgrades = Table(
    "licence_upgrades",
    metadata,
    identifier(),
    customer_reference(),
    Column("licence_id", Uuid, nullable=False),
    Column("version", Text, nullable=False),
    Column("upgraded_on", Date, nullable=False),
    Column("paid_by", Text, nullable=False),
    Column("contract_id", Uuid),
    Column("created_at", Instant, nullable=False),
    Column("reversed_at", Instant),
    Column("reversal_reason", Text),
    one_of("paid_by", "purchase", "contract"),
    CheckConstraint("(paid_by = 'contract') = (contract_id IS NOT NULL)", name="contract_id"),
    CheckConstraint("(reversed_at IS NULL) = (reversal_reason IS NULL)", name="reversal_reason"),
    within_customer("licences", "id", "licence_id"),
    within_customer("contracts", "id", "contract_id"),
    Index("ix_licence_upgrades_licence_id", "licence_id"),
    Index("ix_licence_upgrades_customer_id", "customer_id"),
)
