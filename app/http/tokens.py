"""Tokens: who is asking, what they may do, and for which customer.

256 random bits, kept as their SHA-256: a password's slow hash would protect nothing here and cost
more than the request. The prefix lets secret scanners recognise one; tokens bound to a customer
have their own, so that the way into the database can be chosen before anything is read.
"""

import hashlib
import secrets
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from app.http.problems import InsufficientScope, Unauthorized
from app.store.events import Actor

Scope = Literal[
    "entitlements:read",
    "customers:read",
    "customers:write",
    "licences:read",
    "licences:write",
    "contracts:read",
    "contracts:write",
    "tickets:read",
    "tickets:write",
    "cases:read",
    "cases:write",
    "cases:work",
    "usage:read",
    "events:read",
    "tokens:issue",
    "admin",
]
SCOPES: frozenset[str] = frozenset(get_args(Scope))
BoundScope = Literal[
    "entitlements:read",
    "customers:read",
    "licences:read",
    "contracts:read",
    "tickets:read",
    "cases:read",
    "cases:write",
    "usage:read",
]
BOUND_SCOPES: frozenset[str] = frozenset(get_args(BoundScope))
"""What a token bound to one customer may hold."""

PREFIX, BOUND_PREFIX = "assistenza_", "assistenzac_"
_SECRET_LENGTH = len(secrets.token_urlsafe(32))

IS_VALID = "hash = :token_hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"
_FIND = text(f"SELECT id, name, scopes, customer_id FROM tokens WHERE {IS_VALID}")
# Reads the token and lets the transaction see its customer's rows, in this order.
_ADMIT_BOUND = text("SELECT id, name, scopes, customer_id FROM admit_bound(:token_hash, :now)")


class Caller(NamedTuple):
    id: UUID
    name: str
    scopes: frozenset[str]
    customer_id: UUID | None
    """The one customer that a bound token sees and touches; None for all others."""

    @property
    def client(self) -> str:
        """Whom idempotency keys belong to: the named client, whichever token it uses today."""
        return f"customer:{self.customer_id}" if self.customer_id else f"client:{self.name}"

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.id)

    def may(self, scope: str) -> bool:
        return scope in self.scopes

    def sees(self, customer_id: UUID) -> bool:
        return self.customer_id is None or self.customer_id == customer_id


def new_token(bound: bool) -> tuple[str, bytes]:
    """A new secret, to be shown once, and the hash to keep."""
    token = (BOUND_PREFIX if bound else PREFIX) + secrets.token_urlsafe(32)
    return token, hash_of(token)


def hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def sent_token(request: Request) -> str:
    """The bearer token of a request (RFC 6750, 2.1). Raises Unauthorized where none can be one."""
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthorized
    scheme, _, token = header.partition(" ")
    token = token.strip(" ")
    prefix, separator, secret = token.partition("_")
    if (
        scheme.lower() != "bearer"
        or prefix + separator not in (PREFIX, BOUND_PREFIX)
        or len(secret) != _SECRET_LENGTH
        or not token.isascii()
    ):
        raise Unauthorized(token_sent=bool(token))
    return token


def admit(row: Any, scope: str | None, request: Request) -> Caller:
    """The caller whose token's row (or None) was read, if it has the scope the route needs.

    Raises Unauthorized or InsufficientScope. Every route that is not open comes through here.
    """
    if row is None or row.id is None:
        raise Unauthorized(token_sent=True)
    caller = Caller(row.id, row.name, frozenset(row.scopes), row.customer_id)
    request.state.caller_name = caller.name
    request.app.state.housekeeping.used(caller.id, request.state.now)
    if scope is not None and scope not in caller.scopes:
        raise InsufficientScope(scope)
    return caller


def is_bound(token: str) -> bool:
    """Whether a token is bound to a customer, told before anything is read."""
    return token.startswith(BOUND_PREFIX)


async def authenticate(
    connection: AsyncConnection, request: Request, scope: str | None, now: datetime
) -> Caller:
    """The caller, who may. For a bound token the connection is one of the bound role's, and in a
    transaction: it sees nothing before this statement, and one customer's rows after it."""
    token = sent_token(request)
    find = _ADMIT_BOUND if is_bound(token) else _FIND
    row = await connection.execute(find, {"token_hash": hash_of(token), "now": now})
    return admit(row.one_or_none(), scope, request)
