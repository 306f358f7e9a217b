"""Licences that change hands: a serial number has at most one holder on any day."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# A text range from `serial|from` to `serial|until` holds texts that begin with `serial|` alone, so
# that two ranges overlap only where serial number and days do. Days are counted, because the text
# of a date depends on settings. `~` sorts after every digit. btree_gist would do the same with a
# column of text, but a packaged server may lack that extension; range types are built in.
_EDGE = """lower(serial_number COLLATE "C") || '|' || {day}"""
_DAY = "lpad(({day} - DATE '0001-01-01')::text, 8, '0')"
_FROM = _EDGE.format(day=_DAY.format(day="coalesce(held_from, purchased_on)"))
_UNTIL = _EDGE.format(day=f"coalesce({_DAY.format(day='withdrawn_on')}, '~')")


def upgrade() -> None:
    op.add_column("licences", sa.Column("held_from", sa.Date(), nullable=True))
    op.add_column("licences", sa.Column("origin_id", sa.Uuid(), nullable=True))
    op.add_column(
        "licences",
        sa.Column("passed_on", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_foreign_key(
        op.f("fk_licences_origin_id"), "licences", "licences", ["origin_id"], ["id"]
    )
    op.create_check_constraint(
        op.f("ck_licences_held_from"),
        "licences",
        "(held_from IS NULL) = (origin_id IS NULL) AND held_from > purchased_on",
    )
    op.create_check_constraint(
        op.f("ck_licences_passed_on"), "licences", "NOT passed_on OR withdrawn_on IS NOT NULL"
    )
    op.drop_constraint(op.f("ck_licences_withdrawn_on"), "licences", type_="check")
    op.create_check_constraint(
        op.f("ck_licences_withdrawn_on"),
        "licences",
        "withdrawn_on >= coalesce(held_from, purchased_on)",
    )
    op.create_index(
        "ix_licences_origin_id",
        "licences",
        ["origin_id"],
        postgresql_where=sa.text("origin_id IS NOT NULL"),
    )
    op.create_index(
        "ix_licences_serial_number",
        "licences",
        [sa.literal_column('lower(serial_number COLLATE "C")')],
    )
    op.execute('CREATE TYPE holding AS RANGE (SUBTYPE = text, COLLATION = "C")')
    op.execute(f"""
        ALTER TABLE licences ADD CONSTRAINT ex_licences_holder
            EXCLUDE USING gist (holding({_FROM}, {_UNTIL}) WITH &&)""")
    op.drop_index("uq_licences_serial_number", table_name="licences")
    op.execute("GRANT UPDATE (passed_on) ON licences TO assistenza_app")


def downgrade() -> None:
    op.execute("REVOKE UPDATE (passed_on) ON licences FROM assistenza_app")
    # Fails where a serial number has had several holders: the schema before cannot hold that.
    op.create_index(
        "uq_licences_serial_number",
        "licences",
        [sa.literal_column('lower(serial_number COLLATE "C")')],
        unique=True,
    )
    op.execute("ALTER TABLE licences DROP CONSTRAINT ex_licences_holder")
    op.execute("DROP TYPE holding")
    op.drop_index("ix_licences_serial_number", table_name="licences")
    op.drop_index("ix_licences_origin_id", table_name="licences")
    for name in ("withdrawn_on", "passed_on", "held_from"):
        op.drop_constraint(op.f(f"ck_licences_{name}"), "licences", type_="check")
    op.create_check_constraint(
        op.f("ck_licences_withdrawn_on"), "licences", "withdrawn_on >= purchased_on"
    )
    op.drop_constraint(op.f("fk_licences_origin_id"), "licences", type_="foreignkey")
    for name in ("passed_on", "origin_id", "held_from"):
        op.drop_column("licences", name)
