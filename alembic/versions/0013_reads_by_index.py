"""Indexes for every filter and search of the lists.

They are built in place: writes to a table wait while its indexes are built, reads go on. The
processes of the release before are stopped for this release in any case.
"""

import string

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_OPEN = "state IN ('open', 'in_progress', 'waiting_for_customer')"


def _words(*columns: str) -> str:
    first, *others = (f"COALESCE({column}, ''::text)" for column in columns)
    joined = f"' '::text || {first}"
    for other in others:
        joined = f"(({joined}) || ' '::text) || {other}"
    return f"lower({joined}) gin_trgm_ops"


_VAT_NUMBER = "translate(vat_number, ' .-'::text, ''::text)"
_DIGITS = f"ltrim({_VAT_NUMBER}, '{string.ascii_letters}'::text)"
_TEXTS = {
    "customers": _words("name", "code", "vat_number", _VAT_NUMBER, _DIGITS),
    "contacts": _words("name", "email"),
    "cases": _words(
        "number",
        "subject",
        "description",
        "requester_name",
        "requester_email",
        "requester_phone",
        "serial_number",
    ),
}
# Table, name, columns or expressions, condition.
_INDEXES: list[tuple[str, str, list[str], str | None]] = [
    ("licences", "ix_licences_kind_id", ["kind", "id"], None),
    ("contracts", "ix_contracts_ends_on_id", ["ends_on", "id"], None),
    ("contracts", "ix_contracts_starts_on_id", ["starts_on", "id"], None),
    (
        "contracts",
        "ix_contracts_cancelled_on_id",
        ["cancelled_on", "id"],
        "cancelled_on IS NOT NULL",
    ),
    ("ticket_packs", "ix_ticket_packs_expires_on_id", ["expires_on", "id"], None),
    ("balances", "ix_balances_lengthened", ["allowance_id"], "lengthened_days > 0"),
    ("cases", "ix_cases_kinds", ["state", "channel", "category", "opened_at", "id"], None),
    (
        "cases",
        "ix_cases_technician",
        ["lower(technician)", "state", "opened_at", "id"],
        None,
    ),
    (
        "cases",
        "ix_cases_serial_number",
        ['lower(serial_number COLLATE "C")', "opened_at", "id"],
        'lower(serial_number COLLATE "C") IS NOT NULL',
    ),
    (
        "cases",
        "ix_cases_queue",
        [
            "priority_support DESC",
            "array_position(ARRAY['high'::text, 'normal'::text, 'low'::text], priority)",
            "opened_at",
            "id",
        ],
        _OPEN,
    ),
]
_MISSING = "the extension pg_trgm is missing and may not be made"


def upgrade() -> None:
    op.execute(f"""
        DO $$
        BEGIN
            CREATE EXTENSION IF NOT EXISTS pg_trgm;
        EXCEPTION
            WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
                RAISE EXCEPTION '{_MISSING}' USING HINT =
                    'Install PostgreSQL''s contrib modules, and run CREATE EXTENSION pg_trgm '
                    'in this database as a superuser.';
        END $$""")
    op.drop_index("ix_customers_words", table_name="customers")
    op.drop_index("ix_contracts_ends_on", table_name="contracts")
    # A unique index takes the place of the constraint, with the expression that queries have.
    op.drop_constraint("uq_cases_number", "cases", type_="unique")
    op.create_index("uq_cases_number", "cases", [sa.text('lower(number COLLATE "C")')], unique=True)
    for table, name, columns, condition in _INDEXES:
        where = None if condition is None else sa.text(condition)
        expressions = [sa.text(column) for column in columns]
        op.create_index(name, table, expressions, postgresql_where=where)
    for table, words in _TEXTS.items():
        op.create_index(f"ix_{table}_words", table, [sa.text(words)], postgresql_using="gin")


def downgrade() -> None:
    for table in _TEXTS:
        op.drop_index(f"ix_{table}_words", table_name=table)
    for table, name, _, _ in _INDEXES:
        op.drop_index(name, table_name=table)
    op.drop_index("uq_cases_number", table_name="cases")
    op.create_unique_constraint("uq_cases_number", "cases", ["number"])
    op.create_index("ix_contracts_ends_on", "contracts", ["ends_on"])
    op.create_index(
        "ix_customers_words",
        "customers",
        [sa.text("to_tsvector('simple'::regconfig, (name || ' '::text) || code)")],
        postgresql_using="gin",
    )
    # The extension stays: other schemas of this database may use it.
