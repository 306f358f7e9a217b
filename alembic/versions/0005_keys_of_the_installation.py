"""The secret key of the installation that authenticates its cursors."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "installation_keys",
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(key) >= 32", name=op.f("ck_installation_keys_key")),
        sa.PrimaryKeyConstraint("purpose", name=op.f("pk_installation_keys")),
    )
    # Each UUID has 122 bits from PostgreSQL's strong random source.
    op.execute("""
        INSERT INTO installation_keys VALUES
            ('cursors', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))""")
    # A process reads the key once. The role of bound tokens never needs it.
    op.execute("GRANT SELECT ON installation_keys TO assistenza_app")


def downgrade() -> None:
    op.drop_table("installation_keys")
