"""Usage by day: when a case was cancelled, and indexes by the days on which figures count.

The indexes are built in place: writes to a table wait while its indexes are built, reads go on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

# Table, name, columns, condition.
_INDEXES: list[tuple[str, str, list[str], str | None]] = [
    ("cases", "ix_cases_opened_on", ["opened_on"], None),
    ("cases", "ix_cases_closed_at", ["closed_at"], "closed_at IS NOT NULL"),
    ("cases", "ix_cases_cancelled_at", ["cancelled_at"], "cancelled_at IS NOT NULL"),
    ("ledger", "ix_ledger_counts_on", ["counts_on"], None),
    ("ticket_packs", "ix_ticket_packs_purchased_on", ["purchased_on"], None),
    ("allowance_standings", "ix_allowance_standings_starts_on", ["starts_on"], None),
    ("allowance_standings", "ix_allowance_standings_ends_on", ["ends_on"], None),
    ("events", "ix_events_refused_at", ["occurred_at"], "type = 'case.refused'"),
    ("events", "ix_events_refused", ["customer_id", "occurred_at"], "type = 'case.refused'"),
]
# A trigger, because the release before cancels cases too.
_NOTE = """
CREATE FUNCTION note_cancellation() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $body$
BEGIN
    NEW.cancelled_at := NEW.updated_at;
    RETURN NEW;
END $body$"""


def upgrade() -> None:
    op.add_column("cases", sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE cases k SET cancelled_at = coalesce((SELECT max(e.occurred_at) FROM events e"
        " WHERE e.case_id = k.id AND e.type = 'case.cancelled'), k.updated_at)"
        " WHERE k.state = 'cancelled'"
    )
    op.execute(_NOTE)
    op.execute(
        "CREATE TRIGGER note_cancellation BEFORE INSERT OR UPDATE OF state ON cases FOR EACH ROW"
        " WHEN (NEW.state = 'cancelled' AND NEW.cancelled_at IS NULL)"
        " EXECUTE FUNCTION note_cancellation()"
    )
    for table, name, columns, condition in _INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns, postgresql_where=where)
    op.create_index(
        "ix_allowance_standings_ends", "allowance_standings", ["ends"], postgresql_using="gin"
    )


def downgrade() -> None:
    op.drop_index("ix_allowance_standings_ends", "allowance_standings")
    for table, name, _, _ in reversed(_INDEXES):
        op.drop_index(name, table)
    op.execute("DROP TRIGGER note_cancellation ON cases")
    op.execute("DROP FUNCTION note_cancellation()")
    op.drop_column("cases", "cancelled_at")
