"""Addresses of databases: one server or several, and whether the driver understands them."""

import getpass
import inspect
import re
from functools import cache
from typing import Any, NamedTuple

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.settings import ADDRESS_FORM, Settings

_ADDRESSES = ("database_url", "migration_database_url", "bound_database_url")
_PORT = 5432
_KINDS = frozenset(each.value for each in SessionAttribute)
_THAT_WRITE = frozenset({"any", "primary", "read-write"})
SEVERAL_HOSTS = (
    "for several hosts postgresql://user:password@first:5432,second:5432/database"
    " or …@/database?host=first:5432&host=second:5432"
)
# An IPv6 address stands in brackets.
_host_and_port = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]@/?]+)(:(?P<port>\d{1,5}))?")


class WrongAddress(Exception):
    """The driver would not understand an address; the message names the setting."""


class Address(NamedTuple):
    """An address as SQLAlchemy and the driver take it."""

    url: URL
    arguments: dict[str, Any]
    """Arguments of the driver that are not in `url`: the hosts, if there are several."""


def parse(address: str) -> Address:
    """Read an address. Raises ValueError with what is wrong with it.

    Several hosts are given as libpq takes them (`first:5432,second:5432`) or as SQLAlchemy does
    (`?host=first:5432&host=second:5432`). Then `target_session_attrs` is `primary` unless it is
    given: whoever is promoted is found.
    """
    scheme, separator, rest = address.partition("://")
    authority = re.match("[^/?]*", rest)
    if not separator or authority is None:
        raise ValueError(ADDRESS_FORM)
    credentials, at, named = authority[0].rpartition("@")
    try:
        if "," in named:
            url = make_url(f"{scheme}://{credentials}{at}{rest[authority.end() :]}")
        else:
            url, named = make_url(address), ""
    except (ArgumentError, ValueError):
        raise ValueError(f"{ADDRESS_FORM}, and {SEVERAL_HOSTS}") from None
    given = url.query.get("host", ())
    hosts = ([given] if isinstance(given, str) else [*given]) + ([named] if named else [])
    hosts = [host for one in hosts for host in one.split(",")]
    chosen = url.query.get("target_session_attrs")
    if chosen is not None and chosen not in _KINDS:
        raise ValueError(f"target_session_attrs must be one of {', '.join(sorted(_KINDS))}")
    if len(hosts) < 2:
        return Address(url, {})
    if url.host or "port" in url.query:
        raise ValueError(f"names hosts twice, or a port apart from its host; {SEVERAL_HOSTS}")
    arguments = {
        **_split(hosts),
        "target_session_attrs": chosen or SessionAttribute.primary.value,
    }
    return Address(url.difference_update_query(["host", "target_session_attrs"]), arguments)


def _split(hosts: list[str]) -> dict[str, Any]:
    found = [_host_and_port.fullmatch(host) for host in hosts]
    names, ports = [], []
    for host, match in zip(hosts, found, strict=True):
        port = int((match and match["port"]) or _PORT)
        if match is None or not 0 < port < 65_536:
            raise ValueError(f"{host!r} is not of the form host:port; {SEVERAL_HOSTS}")
        names.append(match["host"].strip("[]"))
        ports.append(port)
    return {"host": names, "port": ports}


def check(settings: Settings) -> None:
    """Raise WrongAddress if the driver would not understand one of the settings' addresses."""
    for name in _ADDRESSES:
        address = getattr(settings, name)
        if address is not None and (wrong := fault(address)) is not None:
            raise WrongAddress(f"ASSISTENZA_{name.upper()}: {wrong}")
    if (address := settings.read_database_url) is not None:
        wrong = fault(address, _KINDS)
        if wrong is None and parse(address).arguments:
            wrong = "names several servers: name one replica, whose age is then known"
        if wrong is not None:
            raise WrongAddress(f"ASSISTENZA_READ_DATABASE_URL: {wrong}")


def fault(address: str, kinds: frozenset[str] = _THAT_WRITE) -> str | None:
    """Why the driver would not understand an address; None if it does.

    `kinds` of servers are allowed as `target_session_attrs`.
    """
    try:
        url, arguments = parse(address)
        _, of_url = url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError) as error:
        reason = str(error)
        return reason if isinstance(error, ValueError) else f"{ADDRESS_FORM}, and {SEVERAL_HOSTS}"
    arguments = {**of_url, **arguments}
    if "@" in arguments.get("database", ""):
        return f'{ADDRESS_FORM}; in a password write "/" as %2F and "@" as %40'
    if unknown := sorted(arguments.keys() - _parameters()):
        hint = "; the driver's name of sslmode is ssl" if "sslmode" in unknown else ""
        return f"has an unknown parameter: {', '.join(unknown)}{hint}"
    if (kind := arguments.get("target_session_attrs", "any")) not in kinds:
        return f"target_session_attrs={kind} would choose a server that takes no writes"
    if "user" not in arguments:
        try:
            getpass.getuser()
        except (KeyError, OSError):
            return f"{ADDRESS_FORM}: it names no user, and this account has no name"
    return None


@cache
def _parameters() -> frozenset[str]:
    """The arguments that an address may give to the driver."""
    named = inspect.signature(asyncpg.connect).parameters
    return frozenset(named) | {"prepared_statement_cache_size"}
