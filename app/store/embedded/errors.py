"""What can go wrong with the embedded server. Each message says what to do about it.

EmbeddedPostgresError
 ├─ ServerInUse             another process uses the data directory
 ├─ DataDirectoryUnusable   an account, a permission or a file of the data directory is in the way
 ├─ VersionMismatch         the data were written by another major version
 └─ ServerFailed            the server did not start, did not answer in time, or did not stop
"""


class EmbeddedPostgresError(RuntimeError):
    """Base of all; its text is meant for the operator."""


class ServerInUse(EmbeddedPostgresError):
    """Another process uses the data directory."""


class DataDirectoryUnusable(EmbeddedPostgresError):
    """The data directory cannot be used by this account, or is damaged."""


class VersionMismatch(EmbeddedPostgresError):
    """The data were written by another major version of PostgreSQL."""


class ServerFailed(EmbeddedPostgresError):
    """The server did not start, did not answer in time, or did not stop."""
