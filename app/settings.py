"""Every setting of the service, read from environment variables that begin with ASSISTENZA_."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _default_data_dir() -> Path:
    # PostgreSQL refuses to run as root and then runs as an unprivileged account, which cannot
    # enter root's home: root's default is therefore the system's place for data.
    if os.geteuid() == 0:
        return Path("/var/lib/assistenza")
    return user_data_path("assistenza", appauthor=False)


class Settings(BaseSettings):
    """Durations are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="ASSISTENZA_", env_ignore_empty=True)

    database_url: str | None = None
    """PostgreSQL to use, as the role that serves requests. Without it the service runs its own."""
    migration_database_url: str | None = None
    """The same database as the role that owns the schema; used by `migrate` alone."""
    bound_database_url: str | None = None
    """The same database as a role that acts as assistenza_bound. Needed behind a pooler alone:
    otherwise the service takes that role on connections of their own."""
    data_dir: Path = Field(default_factory=_default_data_dir)
    """Where the embedded PostgreSQL keeps its data."""
    policy_dir: Path | None = None
    """Policy documents (*.toml) of the operator's own, in place of the published one."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that serve. Each has pools of its own: see pool_size."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Serve /metrics without a token on this port as well, for Prometheus."""
    metrics_host: str = "127.0.0.1"

    header_timeout: float = Field(default=10.0, gt=0, le=600)
    """How long a client may take from connecting to the end of a request's headers."""
    body_timeout: float = Field(default=10.0, gt=0, le=600)
    """How long a client may take over a request's body before it is answered 408."""
    send_timeout: float = Field(default=30.0, gt=0, le=600)
    """How long a client may leave an answer unread before the connection is cut."""
    request_timeout: float = Field(default=15.0, gt=0, le=600)
    """How long a request may take, its body included, before it is answered 503; whatever keeps
    it: a database host that has vanished answers nothing at all."""

    pool_size: int = Field(default=10, ge=1, le=500)
    """Connections that each process opens at most for each of its five uses: entitlements, other
    reads and writes; for bound tokens entitlements and all else."""
    pool_timeout: float = Field(default=2.0, gt=0, le=60)
    """How long a request waits for a connection before it is answered 503."""
    connect_timeout: float = Field(default=3.0, gt=0, le=60)
    statement_timeout_ms: int = Field(default=5_000, ge=10, le=600_000)
    lock_timeout_ms: int = Field(default=3_000, ge=10, le=600_000)
    prepared_statements: bool = True
    """False behind a PgBouncer older than 1.21 in transaction mode."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("database_url", "migration_database_url", "bound_database_url")
    @classmethod
    def _with_driver(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
            raise ValueError("must look like postgresql://user:password@host:port/database")
        return f"postgresql+asyncpg://{rest}"


# Read by the tests alone, never by the service.
_OTHERS = ("ASSISTENZA_TEST_", "ASSISTENZA_LONG_")


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: misspelt, most likely."""
    known = {f"ASSISTENZA_{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name
        for name in map(str.upper, environment)
        if name.startswith("ASSISTENZA_") and name not in known and not name.startswith(_OTHERS)
    )
