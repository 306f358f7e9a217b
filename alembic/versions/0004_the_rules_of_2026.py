"""Tickets that a bug lengthened, unverified serial numbers, and licences as they were sent last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# As in the first migration, with one more sum.
_MOVE_BALANCE = """
CREATE OR REPLACE FUNCTION move_balance() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $body$
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
        consumed = consumed + NEW.consumed{lengthened}
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
END $body$"""
_LENGTHENED = """,
        lengthened_days = lengthened_days + NEW.lengthened_days"""


def upgrade() -> None:
    for table in ("balances", "ledger"):
        op.add_column(
            table,
            sa.Column("lengthened_days", sa.Integer(), server_default="0", nullable=False),
        )
    op.create_check_constraint(
        op.f("ck_ledger_lengthened_days"),
        "ledger",
        "lengthened_days = 0 OR (kind = 'release' AND lengthened_days > 0)",
    )
    op.add_column("cases", sa.Column("serial_verified", sa.Boolean(), nullable=True))
    op.add_column("licences", sa.Column("sent", postgresql.JSONB(), nullable=True))
    op.execute("GRANT UPDATE (sent) ON licences TO assistenza_app")
    op.execute(_MOVE_BALANCE.format(lengthened=_LENGTHENED))


def downgrade() -> None:
    op.execute(_MOVE_BALANCE.format(lengthened=""))
    op.drop_column("licences", "sent")
    op.drop_column("cases", "serial_verified")
    op.drop_constraint(op.f("ck_ledger_lengthened_days"), "ledger", type_="check")
    for table in ("balances", "ledger"):
        op.drop_column(table, "lengthened_days")
