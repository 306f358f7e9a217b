"""Contracts whose first day, minutes and number can be corrected."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_COLUMNS = "(number, starts_on, ends_on, included_minutes)"
# Runs with the rights of the schema's owner: the role that serves requests writes no balance.
_REGRANT = """
CREATE FUNCTION regrant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp
AS $body$
BEGIN
    UPDATE balances SET granted_minutes = NEW.included_minutes WHERE allowance_id = NEW.id;
    RETURN NULL;
END $body$"""


def upgrade() -> None:
    op.execute(_REGRANT)
    op.execute("REVOKE ALL ON FUNCTION regrant() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER regrant AFTER UPDATE OF included_minutes ON contracts"
        " FOR EACH ROW EXECUTE FUNCTION regrant()"
    )
    op.execute(f"GRANT UPDATE {_COLUMNS} ON contracts TO assistenza_app")


def downgrade() -> None:
    op.execute(f"REVOKE UPDATE {_COLUMNS} ON contracts FROM assistenza_app")
    op.execute("DROP TRIGGER regrant ON contracts")
    op.execute("DROP FUNCTION regrant()")
