"""Errors of the embedded server. Each message tells the operator what to do.

EmbeddedPostgresError
 ├─ ServerInUse             another process uses the data directory
 ├─ DataDirectoryUnusable   an account, a permission or a damaged file prevents its use
 ├─ VersionMismatch         the data were written by another major version
 └─ ServerFailed            the server did not start, did not answer in time, or did not stop
"""


class EmbeddedPostgresError(RuntimeError):
    """Base class; the message is written for the operator."""


class ServerInUse(EmbeddedPostgresError):
    """Another process uses the data directory."""


class DataDirectoryUnusable(EmbeddedPostgresError):
    """The data directory cannot be used by this account, or is damaged."""


class VersionMismatch(EmbeddedPostgresError):
    """The data were written by another major version of PostgreSQL."""


class ServerFailed(EmbeddedPostgresError):
    """The server did not start, did not answer in time, or did not stop."""
