"""Sums of usage by civil day, and which days differ from them.

Triggers say so, because processes of the release before write too. The service computes the days of
an existing database itself; until then, and for the days that differ, answers are computed from
what is recorded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_DIMENSIONS = (
    "technician",
    "channel",
    "category",
    "priority",
    "paid_by",
    "country",
    "help_desk",
)
_MEASURES = (
    "cases_opened",
    "cases_closed",
    "cases_cancelled",
    "cases_refused",
    "cases_bug",
    "worked_minutes",
    "charged_minutes",
    "overrun_minutes",
    "tickets_sold",
    "tickets_consumed",
    "tickets_expired",
    "tickets_cancelled",
    "minutes_granted",
    "minutes_lapsed",
)
_DAY_OF = """
CREATE FUNCTION usage_day(at timestamptz) RETURNS date LANGUAGE sql STABLE
    SET search_path = public, pg_temp
AS 'SELECT CAST(at AT TIME ZONE s.zone AS date) FROM usage_state s'"""


def _noting(name: str, days: str) -> str:
    """A trigger's function that notes the days of a query."""
    return f"""
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $body$
BEGIN
    INSERT INTO usage_changes (day) SELECT DISTINCT day FROM ({days}) d (day) WHERE day IS NOT NULL;
    RETURN NULL;
END $body$"""


_OF_CASE = """VALUES ({0}.opened_on), (usage_day({0}.closed_at)), (usage_day({0}.cancelled_at))"""
_REFUSED = """SELECT usage_day(e.occurred_at) FROM events e
        WHERE e.type = 'case.refused' AND e.customer_id = {}"""
_MERGED = "ANY (ARRAY(SELECT m.customer_id FROM merged_customers m WHERE m.survivor_id = NEW.id))"
# Days that lie after the last one with sums are left out: the service holds the lock of those who
# write these rows while it moves that day on.
_OF_ALLOWANCE = """SELECT day FROM (
        SELECT {0}.starts_on WHERE {0}.kind <> 'ticket_pack'
        UNION ALL SELECT {0}.ends_on WHERE {0}.kind <> 'ticket_pack'
        UNION ALL SELECT CAST(e.day AS date) FROM jsonb_object_keys({0}.ends) e (day)) a (day)
    WHERE day <= (SELECT through FROM usage_state)"""
_FUNCTIONS = {
    "note_new_case": _OF_CASE.format("NEW"),
    "note_changed_case": f"""{_OF_CASE.format("NEW")}
        UNION ALL {_OF_CASE.format("OLD")}
        UNION ALL SELECT worked_on FROM time_entries WHERE case_id = NEW.id
        UNION ALL SELECT counts_on FROM ledger WHERE case_id = NEW.id""",
    "note_ended_case": """VALUES (usage_day(NEW.closed_at)), (usage_day(OLD.closed_at)),
            (usage_day(NEW.cancelled_at)), (usage_day(OLD.cancelled_at))""",
    "note_time": "VALUES (NEW.worked_on)",
    "note_changed_time": """VALUES (NEW.worked_on), (OLD.worked_on)
        UNION ALL SELECT counts_on FROM ledger WHERE time_entry_id = NEW.id""",
    "note_ledger": "VALUES (NEW.counts_on)",
    "note_pack": "VALUES (NEW.purchased_on)",
    "note_changed_pack": "VALUES (NEW.purchased_on), (OLD.purchased_on)",
    "note_refusal": "VALUES (usage_day(NEW.occurred_at))",
    "note_repeated_refusal": "VALUES (usage_day(NEW.first_at))",
    "note_merged_customer": _REFUSED.format("NEW.customer_id"),
    "note_changed_customer": f"""
        SELECT opened_on FROM cases WHERE customer_id = NEW.id
        UNION ALL SELECT usage_day(closed_at) FROM cases WHERE customer_id = NEW.id
        UNION ALL SELECT usage_day(cancelled_at) FROM cases WHERE customer_id = NEW.id
        UNION ALL SELECT t.worked_on FROM cases k JOIN time_entries t ON t.case_id = k.id
            WHERE k.customer_id = NEW.id
        UNION ALL SELECT counts_on FROM ledger WHERE customer_id = NEW.id
        UNION ALL SELECT purchased_on FROM ticket_packs WHERE customer_id = NEW.id
        UNION ALL SELECT starts_on FROM allowance_standings WHERE customer_id = NEW.id
        UNION ALL SELECT ends_on FROM allowance_standings WHERE customer_id = NEW.id
        UNION ALL SELECT CAST(e.day AS date) FROM allowance_standings s
            CROSS JOIN LATERAL jsonb_object_keys(s.ends) e (day) WHERE s.customer_id = NEW.id
        UNION ALL {_REFUSED.format("NEW.id")}
        UNION ALL {_REFUSED.format(_MERGED)}""",
    "note_new_allowance": _OF_ALLOWANCE.format("NEW"),
    "note_old_allowance": _OF_ALLOWANCE.format("OLD"),
    "note_used_allowance": """SELECT NEW.ends_on
    WHERE NEW.ends_on <= (SELECT through FROM usage_state)""",
}


def _differs(*columns: str) -> str:
    old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("OLD", "NEW"))
    return f"({old}) IS DISTINCT FROM ({new})"


# Work changes these rows all day: it concerns what lapsed on the last day, if that is over.
_CHANGED_ALLOWANCE = f"""{
    _differs("customer_id", "kind", "starts_on", "ends_on", "granted", "begun", "ends")
} OR NOT NEW.begun AND {_differs("used", "overrun")}"""
_COUNTS = """NEW.used_minutes <> 0 OR NEW.overrun_minutes <> 0 OR NEW.consumed <> 0
    OR NEW.cancelled <> 0"""
# Name, table, event, condition, function.
_TRIGGERS: list[tuple[str, str, str, str | None, str]] = [
    ("usage_new_case", "cases", "INSERT", None, "note_new_case"),
    (
        "usage_changed_case",
        "cases",
        "UPDATE",
        _differs(
            *("customer_id", "technician", "channel", "category", "priority", "paid_by"),
            *("opened_on", "moved_to"),
        ),
        "note_changed_case",
    ),
    (
        "usage_ended_case",
        "cases",
        "UPDATE",
        _differs("closed_at", "cancelled_at"),
        "note_ended_case",
    ),
    ("usage_time", "time_entries", "INSERT", None, "note_time"),
    (
        "usage_changed_time",
        "time_entries",
        "UPDATE",
        _differs("case_id", "technician", "minutes", "worked_on", "reversed_at"),
        "note_changed_time",
    ),
    ("usage_ledger", "ledger", "INSERT", _COUNTS, "note_ledger"),
    (
        "usage_moved_ledger",
        "ledger",
        "UPDATE",
        f"NEW.case_id IS NULL AND {_differs('customer_id')}",
        "note_ledger",
    ),
    ("usage_pack", "ticket_packs", "INSERT", None, "note_pack"),
    (
        "usage_changed_pack",
        "ticket_packs",
        "UPDATE",
        _differs("customer_id", "purchased_on", "quantity"),
        "note_changed_pack",
    ),
    ("usage_refusal", "events", "INSERT", "NEW.type = 'case.refused'", "note_refusal"),
    (
        "usage_repeated_refusal",
        "refusals",
        "UPDATE",
        _differs("count"),
        "note_repeated_refusal",
    ),
    ("usage_merged_customer", "merged_customers", "INSERT", None, "note_merged_customer"),
    (
        "usage_merged_again",
        "merged_customers",
        "UPDATE",
        _differs("survivor_id"),
        "note_merged_customer",
    ),
    (
        "usage_changed_customer",
        "customers",
        "UPDATE",
        _differs("country", "help_desk"),
        "note_changed_customer",
    ),
    ("usage_new_allowance", "allowance_standings", "INSERT", None, "note_new_allowance"),
    ("usage_old_allowance", "allowance_standings", "DELETE", None, "note_old_allowance"),
    (
        "usage_changed_allowance",
        "allowance_standings",
        "UPDATE",
        _CHANGED_ALLOWANCE,
        "note_new_allowance",
    ),
    (
        "usage_used_allowance",
        "allowance_standings",
        "UPDATE",
        f"NEW.kind <> 'ticket_pack' AND {_differs('used')}",
        "note_used_allowance",
    ),
    (
        "usage_moved_allowance",
        "allowance_standings",
        "UPDATE",
        _differs("customer_id", "starts_on", "ends_on", "ends"),
        "note_old_allowance",
    ),
]


def upgrade() -> None:
    op.create_table(
        "usage_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("dimensions", sa.SmallInteger(), nullable=False),
        *(sa.Column(one, sa.Text(), nullable=True) for one in _DIMENSIONS),
        *(sa.Column(one, sa.Integer(), nullable=False) for one in _MEASURES),
    )
    op.create_index("ix_usage_days_dimensions_day", "usage_days", ["dimensions", "day"])
    op.create_index("ix_usage_days_day", "usage_days", ["day"])
    op.create_table(
        "usage_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_changes")),
    )
    op.create_table(
        "usage_state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("through", sa.Date(), nullable=True),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_usage_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_state")),
    )
    op.execute("INSERT INTO usage_state VALUES (1, NULL, '', 'Europe/Rome')")
    op.execute("GRANT SELECT, INSERT, DELETE ON usage_days TO assistenza_app")
    op.execute("GRANT SELECT, DELETE ON usage_changes TO assistenza_app")
    op.execute("GRANT SELECT ON SEQUENCE usage_changes_id_seq TO assistenza_app")
    op.execute("GRANT SELECT, UPDATE (through, rules, zone) ON usage_state TO assistenza_app")
    op.execute(_DAY_OF)
    for name, days in _FUNCTIONS.items():
        op.execute(_noting(name, days))
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name}() FROM PUBLIC")
    for name, table, event, condition, function in _TRIGGERS:
        when = "" if condition is None else f" WHEN ({condition})"
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW{when}"
            f" EXECUTE FUNCTION {function}()"
        )


def downgrade() -> None:
    for name, table, *_ in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON {table}")
    for name in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("DROP FUNCTION usage_day(timestamptz)")
    for table in ("usage_state", "usage_changes", "usage_days"):
        op.drop_table(table)
