"""Store the lowest program version that may serve the schema.

The rule is in DECISION-compatible-migrations.md.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schema_compatibility",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("lowest_program_version", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_schema_compatibility_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schema_compatibility")),
    )
    # 0.1.0 serves its own schema version alone and reads nothing here.
    op.execute("INSERT INTO schema_compatibility VALUES (1, '0.2.0')")
    op.execute("GRANT SELECT ON schema_compatibility TO assistenza_app")


def downgrade() -> None:
    op.drop_table("schema_compatibility")
