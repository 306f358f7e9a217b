"""Tables of allowances (contracts, service years, ticket packs) and their balances."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from app.store.tables.columns import (
    Instant,
    customer_reference,
    identifier,
    metadata,
    one_of,
    unique_ignoring_case,
    within_customer,
)

contracts = Table(
    "contracts",
    metadata,
    identifier(),
    customer_reference(),
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
    unique_ignoring_case("contracts", "number"),
    UniqueConstraint("id", "customer_id"),
    within_customer("contracts", "id", "renews"),
    # One successor that is not cancelled. A successor cancelled after its first day keeps the
    # contract renewed as well (R24): the renewal checks that itself.
    Index(
        "uq_contracts_renews",
        "renews",
        unique=True,
        postgresql_where=text("cancelled_on IS NULL"),
    ),
    Index("ix_contracts_customer_id_id", "customer_id", "id"),
    # The order of the lists by state.
    Index("ix_contracts_ends_on_id", "ends_on", "id"),
    Index("ix_contracts_starts_on_id", "starts_on", "id"),
    Index(
        "ix_contracts_cancelled_on_id",
        "cancelled_on",
        "id",
        postgresql_where=text("cancelled_on IS NOT NULL"),
    ),
)

service_years = Table(
    "service_years",
    metadata,
    identifier(),
    customer_reference(),
    Column("starts_on", Date, nullable=False),
    Column("ends_on", Date, nullable=False),
    Column("granted_minutes", Integer, nullable=False),
    CheckConstraint("starts_on < ends_on", name="period"),
    CheckConstraint("granted_minutes > 0", name="granted_minutes"),
    # The year that took its place when two customers whose years began on one day were merged.
    # Nothing stands on it any more (R14, R49).
    Column("superseded_by", Uuid, ForeignKey("service_years.id")),
    # A service year is stored when something is first recorded against it, once (R14).
    Index(
        "uq_service_years_standing",
        "customer_id",
        "starts_on",
        unique=True,
        postgresql_where=text("superseded_by IS NULL"),
    ),
    Index("ix_service_years_customer_id", "customer_id"),
)

ticket_packs = Table(
    "ticket_packs",
    metadata,
    identifier(),
    customer_reference(),
    Column("number", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("purchased_on", Date, nullable=False),
    Column("expires_on", Date, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("quantity BETWEEN 1 AND 1000", name="quantity"),
    CheckConstraint("purchased_on < expires_on", name="period"),
    unique_ignoring_case("ticket_packs", "number"),
    UniqueConstraint("id", "customer_id"),
    UniqueConstraint("id", "quantity"),
    Index("ix_ticket_packs_customer_id_id", "customer_id", "id"),
    Index("ix_ticket_packs_expires_on_id", "expires_on", "id"),
    Index("ix_ticket_packs_purchased_on", "purchased_on"),
)

balances = Table(
    # One row for each allowance. Only triggers write it: one creates the row with the allowance,
    # one adds each new ledger row to it. The checks make an overdraft impossible whatever the code
    # does.
    "balances",
    metadata,
    Column("allowance_id", Uuid, primary_key=True),
    customer_reference(),
    Column("kind", Text, nullable=False),
    Column("granted_minutes", Integer),
    Column("quantity", Integer),
    Column("used_minutes", Integer, nullable=False, server_default="0"),
    Column("overrun_minutes", Integer, nullable=False, server_default="0"),
    Column("held", Integer, nullable=False, server_default="0"),
    Column("consumed", Integer, nullable=False, server_default="0"),
    Column("cancelled", Integer, nullable=False, server_default="0"),
    # The sum over its tickets, so that a read looks for lengthened ones only where there are any.
    Column("lengthened_days", Integer, nullable=False, server_default="0"),
    one_of("kind", "free_hours", "contract", "ticket"),
    CheckConstraint("(kind = 'ticket') = (quantity IS NOT NULL)", name="quantity"),
    CheckConstraint("(kind = 'ticket') = (granted_minutes IS NULL)", name="granted_minutes"),
    CheckConstraint("used_minutes >= 0 AND used_minutes <= granted_minutes", name="used_minutes"),
    CheckConstraint("kind <> 'ticket' OR used_minutes = 0", name="ticket_minutes"),
    CheckConstraint("overrun_minutes >= 0", name="overrun_minutes"),
    UniqueConstraint("allowance_id", "customer_id"),
    CheckConstraint(
        "held >= 0 AND consumed >= 0 AND cancelled >= 0"
        " AND held + consumed + cancelled <= coalesce(quantity, 0)",
        name="tickets",
    ),
    Index("ix_balances_customer_id", "customer_id"),
    Index(
        "ix_balances_lengthened",
        "allowance_id",
        postgresql_where=text("lengthened_days > 0"),
    ),
)
