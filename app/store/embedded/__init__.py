"""The service's own PostgreSQL for one machine, used where no database is named.

`EmbeddedPostgres(data_dir).serve()` owns the server, `.share()` borrows it for a short command.
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
