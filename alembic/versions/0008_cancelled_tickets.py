"""Tickets that were taken out of their pack, and packs that can be corrected."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# As in 0004, with one more sum, and a kind of entry that belongs to no case.
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
        consumed = consumed + NEW.consumed,{cancelled}
        lengthened_days = lengthened_days + NEW.lengthened_days
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
            AND state = CASE WHEN NEW.held < 0 THEN 'held' ELSE 'consumed' END;{cancellation}
    END CASE;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> 1 THEN
        RAISE EXCEPTION 'ticket % of pack % is not the case''s to move by %',
            NEW.ticket_position, NEW.allowance_id, NEW.kind
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $body$"""
_CANCELLED = """
        cancelled = cancelled + NEW.cancelled,"""
_CANCELLATION = """
    WHEN 'cancellation' THEN
        INSERT INTO ticket_uses (pack_id, position, quantity, customer_id, state)
        SELECT id, NEW.ticket_position, quantity, customer_id, 'cancelled'
        FROM ticket_packs WHERE id = NEW.allowance_id;"""

_KIND = """CASE kind
    WHEN 'hold' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, 0)
    WHEN 'consumption' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, -1, 1)
    WHEN 'reopening' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 1, -1)
    WHEN 'release' THEN (used_minutes, overrun_minutes, held, consumed)
        IN ((0, 0, -1, 0), (0, 0, 0, -1)){cancellation}
    WHEN 'charge' THEN used_minutes > 0 AND (overrun_minutes, held, consumed) = (0, 0, 0)
    WHEN 'overrun' THEN overrun_minutes > 0 AND (used_minutes, held, consumed) = (0, 0, 0)
    WHEN 'reversal' THEN used_minutes <= 0 AND overrun_minutes <= 0
        AND used_minutes + overrun_minutes < 0 AND (held, consumed) = (0, 0)
    ELSE false END"""
_KIND_OF_CANCELLATION = """
    WHEN 'cancellation' THEN (used_minutes, overrun_minutes, held, consumed) = (0, 0, 0, 0)"""
_TICKET = "(kind IN ('hold', 'consumption', 'reopening', 'release'{more})) = (ticket_position IS NOT NULL)"


def _check(table: str, name: str, condition: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)


def upgrade() -> None:
    for table, type_ in (("balances", sa.Integer()), ("ledger", sa.SmallInteger())):
        op.add_column(table, sa.Column("cancelled", type_, server_default="0", nullable=False))
    _check(
        "balances",
        "tickets",
        "held >= 0 AND consumed >= 0 AND cancelled >= 0"
        " AND held + consumed + cancelled <= coalesce(quantity, 0)",
    )
    op.alter_column("ledger", "case_id", nullable=True)
    _check("ledger", "kind", _KIND.format(cancellation=_KIND_OF_CANCELLATION))
    _check("ledger", "ticket_position", _TICKET.format(more=", 'cancellation'"))
    op.create_check_constraint(
        op.f("ck_ledger_cancelled"), "ledger", "cancelled = (kind = 'cancellation')::integer"
    )
    op.create_check_constraint(
        op.f("ck_ledger_case_id"), "ledger", "(kind = 'cancellation') = (case_id IS NULL)"
    )
    op.alter_column("ticket_uses", "case_id", nullable=True)
    _check("ticket_uses", "state", "state IN ('held', 'consumed', 'cancelled')")
    op.create_check_constraint(
        op.f("ck_ticket_uses_case_id"), "ticket_uses", "(state = 'cancelled') = (case_id IS NULL)"
    )
    op.execute(_MOVE_BALANCE.format(cancelled=_CANCELLED, cancellation=_CANCELLATION))
    op.execute("GRANT UPDATE (number, purchased_on, expires_on) ON ticket_packs TO assistenza_app")


def downgrade() -> None:
    op.execute(
        "REVOKE UPDATE (number, purchased_on, expires_on) ON ticket_packs FROM assistenza_app"
    )
    op.execute(_MOVE_BALANCE.format(cancelled="", cancellation=""))
    op.drop_constraint(op.f("ck_ticket_uses_case_id"), "ticket_uses", type_="check")
    _check("ticket_uses", "state", "state IN ('held', 'consumed')")
    op.alter_column("ticket_uses", "case_id", nullable=False)
    op.drop_constraint(op.f("ck_ledger_case_id"), "ledger", type_="check")
    op.drop_constraint(op.f("ck_ledger_cancelled"), "ledger", type_="check")
    _check("ledger", "ticket_position", _TICKET.format(more=""))
    _check("ledger", "kind", _KIND.format(cancellation=""))
    op.alter_column("ledger", "case_id", nullable=False)
    _check(
        "balances",
        "tickets",
        "held >= 0 AND consumed >= 0 AND held + consumed <= coalesce(quantity, 0)",
    )
    for table in ("balances", "ledger"):
        op.drop_column(table, "cancelled")
