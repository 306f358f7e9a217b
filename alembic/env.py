"""Run migrations on the connection that `app.store.migrations` passes in."""

from alembic import context
from alembic.config import Config
from sqlalchemy import Connection

from app.store.tables import metadata

config: Config = context.config


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


connection = config.attributes.get("connection")
if connection is not None:
    _migrate(connection)
else:
    # Started by the alembic command: connect to the database that the settings name.
    import asyncio

    from app.settings import Settings
    from app.store.migrations import run_on

    settings = Settings()
    asyncio.run(run_on(settings.migration_database_url or settings.database_url, _migrate))
