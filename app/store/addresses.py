"""Addresses of databases: whether the driver understands them, told before it connects."""

import getpass
import inspect
from functools import cache

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.settings import ADDRESS_FORM, Settings

_ADDRESSES = ("database_url", "migration_database_url", "bound_database_url")


class WrongAddress(Exception):
    """The driver would not understand an address; the message names the setting."""


def check(settings: Settings) -> None:
    """Raise WrongAddress if the driver would not understand one of the settings' addresses."""
    for name in _ADDRESSES:
        address = getattr(settings, name)
        if address is not None and (wrong := fault(address)) is not None:
            raise WrongAddress(f"ASSISTENZA_{name.upper()}: {wrong}")


def fault(address: str) -> str | None:
    """Why the driver would not understand an address; None if it does."""
    try:
        parsed = make_url(address)
        _, arguments = parsed.get_dialect()().create_connect_args(parsed)
    except (ArgumentError, ValueError):
        arguments = {"host": ","}
    if "," in arguments.get("host", ""):
        return f"{ADDRESS_FORM}, and for several hosts …@/database?host=first:5432&host=second:5432"
    if "@" in arguments.get("database", ""):
        return f'{ADDRESS_FORM}; in a password write "/" as %2F and "@" as %40'
    if unknown := sorted(arguments.keys() - _parameters()):
        hint = "; the driver's name of sslmode is ssl" if "sslmode" in unknown else ""
        return f"has an unknown parameter: {', '.join(unknown)}{hint}"
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
