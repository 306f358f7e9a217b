"""All settings of the service, read from environment variables with the prefix ASSISTENZA_."""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from phonenumbers import SUPPORTED_REGIONS
from platformdirs import user_data_path
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ADDRESS_FORM = "must have the form postgresql://user:password@host:port/database"
_origin = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_public_address = re.compile(rf"{_origin.pattern}(/[A-Za-z0-9._~-]+)*")
_host = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def _default_data_dir() -> Path | None:
    # Started as root, PostgreSQL runs as an unprivileged account, which cannot enter root's home.
    if os.geteuid() == 0:
        return Path("/var/lib/assistenza")
    try:
        directory = user_data_path("assistenza", appauthor=False)
    except RuntimeError:
        return None
    # An empty HOME gives a directory in the root directory.
    return directory if Path.home() != Path("/") else None


LEAST_CONNECTIONS = 8
"""What a worker needs: one connection in each pool, two for readiness and housekeeping."""
BACKGROUND_CONNECTIONS = 4
"""What the background process opens at most."""


def least_connections(workers: int, background_process: bool) -> int:
    """The least budget of all processes."""
    return LEAST_CONNECTIONS * workers + (BACKGROUND_CONNECTIONS if background_process else 0)


class Settings(BaseSettings):
    """Durations are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="ASSISTENZA_", env_ignore_empty=True)

    database_url: str | None = None
    """PostgreSQL to use, as the role that serves requests. If unset, the service starts its own."""
    migration_database_url: str | None = None
    """The same database as the role that owns the schema; used by `migrate` only."""
    bound_database_url: str | None = None
    """The same database as a login role that is a member of assistenza_bound. Needed only behind a
    pooler; without one the service switches to assistenza_bound itself."""
    read_database_url: str | None = None
    """A replica of the same database, as the role that serves requests: calls that only read go
    there while it is fresh enough. One server, for a balancer would mix replicas of several
    ages."""
    read_staleness: float = Field(default=1.0, ge=0.5, le=3_600)
    """How old what a replica answers may be at most; beyond that the primary answers."""
    data_dir: Path | None = Field(default_factory=_default_data_dir)
    """Where the embedded PostgreSQL keeps its data. None: the account has no home directory."""
    policy_dir: Path | None = None
    """Directory with the operator's policy documents (*.toml), used instead of the built-in one."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    """Number of server processes. They share `connections`."""
    background_process: bool = True
    """Publish events, sum usage and deliver to webhooks in a process of its own, so that requests
    do not wait for that. False: in every server process, which takes less memory."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Also serve /metrics on this port, without a token, for Prometheus."""
    metrics_host: str = "127.0.0.1"

    drain_seconds: float = Field(default=0.0, ge=0, le=3_600)
    """Time from SIGTERM on in which the service still accepts requests, while `/readyz` answers
    503. 0, because only whoever has a load balancer that asks `/readyz` gains by the wait."""

    pages: bool = True
    """Serve the pages for people besides the API. False: nothing of them is imported."""
    public_url: str | None = None
    """Address under which browsers reach the service, such as https://support.example.com. If
    unset, the one in each request's `Host`."""
    frame_ancestors: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins, separated by commas, whose pages may show the pages of the service in a frame. Pages
    of the service's own origin may in any case."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may call from a browser, separated by commas, such as
    https://desk.example.com. Other origins are refused."""
    client_connections: int = Field(default=1_000, ge=10, le=100_000)
    """Largest number of client connections of a process. One more closes the one that has been idle
    for longest, or is closed itself if none is idle."""
    header_timeout: float = Field(default=10.0, gt=0, le=600)
    """Time from connecting to the end of the request's headers; then the connection is closed."""
    export_timeout: float = Field(default=300.0, gt=0, le=86_400)
    """Time for the whole answer of an export; then it is cut off."""
    body_timeout: float = Field(default=10.0, gt=0, le=600)
    """Time for a client to send a request's body; then the answer is 408."""
    send_timeout: float = Field(default=30.0, gt=0, le=600)
    """Time that a client may leave an answer unread; then the connection is closed."""
    request_timeout: float = Field(default=15.0, gt=0, le=600)
    """Time for a whole request, including its body; then the answer is 503. It also covers a
    database host that no longer answers at all."""

    connections: int = Field(default=80, ge=1, le=10_000, validate_default=True)
    """Most connections to the database of all workers together, for all that they do. The default
    leaves an operator and commands 20 of the 100 that PostgreSQL accepts unless told otherwise."""
    pool_timeout: float = Field(default=2.0, gt=0, le=60)
    """Time that a request waits for a connection; then the answer is 503."""
    connect_timeout: float = Field(default=3.0, gt=0, le=60)
    statement_timeout_ms: int = Field(default=5_000, ge=10, le=600_000)
    lock_timeout_ms: int = Field(default=3_000, ge=10, le=600_000)
    prepared_statements: bool = True
    """Set to false behind a PgBouncer older than 1.21 in transaction mode."""

    bound_open_cases: int = Field(default=20, ge=1, le=10_000)
    """Open cases of a customer with which a token bound to it opens no more; then 409."""
    bound_writes_per_minute: int = Field(default=30, ge=1, le=600)
    """Writes within a minute of all tokens bound to one customer, refused ones included; then
    429."""

    case_text_keep_days: int | None = Field(default=None, ge=3, le=36_500)
    """Days after its last change on which the texts of a closed or cancelled case are cleared. If
    unset, they are kept for ever."""
    call_number_keep_days: int | None = Field(default=None, ge=3, le=36_500)
    """Days after a telephone call was last noted on which its caller's number is cleared. If unset,
    it is kept for ever."""
    events_keep_days: int = Field(default=90, ge=1, le=36_500)
    """Days for which `GET /v1/events` keeps events. What they tell of stays: timelines, statements
    and answers about the past do not read them."""
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts and networks, separated by commas, to which webhooks may go although they are not
    public, such as intranet.example.com,10.1.0.0/16. Plain http is for these alone."""
    import_max_bytes: int = Field(default=268_435_456, ge=1_000, le=1_099_511_627_776)
    """Size of the largest file that `assistenza import` reads. It bounds the time that an import
    takes, and its space in memory and in the database."""
    phone_region: str | None = None
    """Country of the telephone exchange, such as IT: national phone numbers are read in it unless a
    request names a `region`."""
    phone_trunk_prefix: str | None = Field(default=None, pattern=r"^[0-9]{1,4}$")
    """Digits that the exchange may write before outside numbers, such as 0."""
    default_desk: str | None = None
    """Help desk, by its id, of callers whom nobody knows and who dialled no desk's number."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] | None = None
    """Form of the log's lines. None: text where standard error is a terminal, else JSON."""

    def environment(self) -> dict[str, str]:
        """The variables that give another process the same settings."""
        return {
            f"ASSISTENZA_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
            for name, value in self.model_dump(exclude_none=True, mode="json").items()
        }

    @field_validator("connections")
    @classmethod
    def _enough_for_the_workers(cls, connections: int, info: ValidationInfo) -> int:
        workers = info.data.get("workers", 1)
        least = least_connections(workers, info.data.get("background_process", True))
        if connections < least:
            raise ValueError(
                f"{connections} are too few for ASSISTENZA_WORKERS={workers}: set {least} or more,"
                " and PostgreSQL's max_connections above that"
            )
        return connections

    @field_validator(
        "database_url", "migration_database_url", "bound_database_url", "read_database_url"
    )
    @classmethod
    def _with_driver(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
            raise ValueError(ADDRESS_FORM)
        return f"postgresql+asyncpg://{rest}"

    @field_validator("public_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        address = url.strip().rstrip("/")
        if not _public_address.fullmatch(address):
            raise ValueError(
                "must have the form https://host, https://host:port or https://host/path"
            )
        return address

    @field_validator("phone_region")
    @classmethod
    def _known_region(cls, region: str | None) -> str | None:
        if region is not None and region not in SUPPORTED_REGIONS:
            raise ValueError("must be the code of a country, such as IT, DE or GB")
        return region

    @field_validator("cors_origins", "frame_ancestors", mode="before")
    @classmethod
    def _origins(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        origins = tuple(one.strip().lower() for one in given.split(",") if one.strip())
        for origin in origins:
            if not _origin.fullmatch(origin):
                raise ValueError(f"{origin!r} is not of the form https://host or https://host:port")
        return origins

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _hosts_and_networks(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        allowed = tuple(one.strip().lower() for one in given.split(",") if one.strip())
        for one in allowed:
            try:
                ip_network(one)
            except ValueError:
                if not _host.fullmatch(one):
                    raise ValueError(
                        f"{one!r} is neither the name of a host nor a network such as 10.1.0.0/16"
                    ) from None
        return allowed


# Read by the tests only, never by the service.
_OTHERS = ("ASSISTENZA_TEST_", "ASSISTENZA_LONG_")


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """Variables with the prefix that are not settings: probably misspelt."""
    known = {f"ASSISTENZA_{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name
        for name in map(str.upper, environment)
        if name.startswith("ASSISTENZA_") and name not in known and not name.startswith(_OTHERS)
    )
