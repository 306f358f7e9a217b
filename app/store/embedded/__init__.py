"""A PostgreSQL server that the service runs itself when ASSISTENZA_DATABASE_URL is not set.

`EmbeddedPostgres(data_dir).serve()` owns the server, `.share()` uses it for a short command.
Why the service does this, and how: DECISION-embedded-postgresql.md.
"""

from app.store.embedded.errors import (
    DataDirectoryUnusable,
    EmbeddedPostgresError,
    ServerFailed,
    ServerInUse,
    VersionMismatch,
)
from app.store.embedded.server import EmbeddedPostgres

__all__ = [
    "DataDirectoryUnusable",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "ServerFailed",
    "ServerInUse",
    "VersionMismatch",
]
