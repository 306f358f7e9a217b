"""Tokens: made, read, used and revoked.

A token has 256 random bits and is stored as its SHA-256. A password's slow hash would add no
protection and would cost more than the whole request. The prefix lets secret scanners recognise a
token. Tokens bound to a customer have a prefix of their own, so that the database role can be
chosen before anything is read.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, Row, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import CustomerNotFound, InsufficientScope, LinkExpired, Unauthorized
from app.ids import as_id, new_id
from app.services.unit_of_work import Caller, UnitOfWork
from app.services.visibility import find, find_locked, lock_owner, records
from app.store.event_types import EventType, TokenIssued
from app.store.tables import customers, tokens

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
    "customers:erase",
    "tokens:issue",
    "calls:read",
    "calls:write",
    "webhooks:manage",
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
"""The scopes that a token bound to one customer may hold."""

PREFIX, BOUND_PREFIX = "assistenza_", "assistenzac_"
LINK_PREFIX = "assistenzal_"
"""Of the code in a sign-in link, which is not a token: no request is admitted with it."""
SECRET_LENGTH = len(secrets.token_urlsafe(32))

IS_VALID = "hash = :token_hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"
"""An SQL condition on a row of `tokens`."""
_FIND = text(f"SELECT id, name, scopes, customer_id FROM tokens WHERE {IS_VALID}")
# Reads the token, then lets the transaction see its customer's rows.
_ADMIT_BOUND = text("SELECT id, name, scopes, customer_id FROM admit_bound(:token_hash, :now)")
_REDEEM = text(f"""
    UPDATE tokens SET hash = :new_hash WHERE {IS_VALID} AND customer_id IS NOT NULL
    RETURNING id, customer_id, scopes, created_at, expires_at, revoked_at""")
_ISSUER = text("SELECT id FROM tokens WHERE id = :id AND revoked_at IS NULL FOR SHARE")
FORGOTTEN_AT_ONCE = 5_000
_FORGET = text("""
    DELETE FROM tokens WHERE id IN (
        SELECT e.id FROM tokens e
        WHERE e.expires_at < :before AND NOT EXISTS (SELECT FROM tokens i WHERE i.issued_by = e.id)
        ORDER BY e.expires_at LIMIT :most)""")
_USED = text("""
    UPDATE tokens t SET last_used_at = u.at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:instants AS timestamptz[])) u (id, at)
    WHERE t.id = u.id AND (t.last_used_at IS NULL OR t.last_used_at < u.at)""")


def new_token(bound: bool) -> tuple[str, bytes]:
    """A new secret, which is shown once, and the hash to store."""
    token = (BOUND_PREFIX if bound else PREFIX) + secrets.token_urlsafe(32)
    return token, hash_of(token)


def hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def is_bound(token: str) -> bool:
    """Whether a token is bound to a customer; its prefix tells."""
    return token.startswith(BOUND_PREFIX)


def admitted(row: Any, scope: str | None) -> Caller:
    """The caller whose token's row was read (None: no valid token), if it has the scope. The row
    begins with id, name, scopes and customer_id.

    Raises Unauthorized, InsufficientScope.
    """
    if row is None or row[0] is None:
        raise Unauthorized(token_sent=True)
    # By position, because the driver's rows look up each name in Python.
    id_, name, scopes, customer_id = row[:4]
    caller = Caller(id_, name, frozenset(scopes), customer_id)
    if scope is not None and scope not in caller.scopes:
        raise InsufficientScope(scope)
    return caller


async def authenticate(
    connection: AsyncConnection, token: str, scope: str | None, now: datetime
) -> Caller:
    """The caller that holds `token`. Raises as `admitted`.

    For a bound token the connection belongs to the bound role and is in a transaction: it sees
    nothing before this statement, and one customer's rows after it.
    """
    found = await connection.execute(
        _ADMIT_BOUND if is_bound(token) else _FIND, {"token_hash": hash_of(token), "now": now}
    )
    return admitted(found.one_or_none(), scope)


def new_code() -> tuple[str, bytes]:
    """The code of a new sign-in link, which is shown once, and the hash to store."""
    code = LINK_PREFIX + secrets.token_urlsafe(32)
    return code, hash_of(code)


async def store(
    connection: AsyncConnection,
    now: datetime,
    *,
    name: str,
    scopes: Collection[str],
    customer_id: UUID | None = None,
    expires_at: datetime | None = None,
    issued_by: UUID | None = None,
    by_link: bool = False,
) -> tuple[UUID, str]:
    """Make a token: its id, and the secret, which is shown once.

    `by_link`: the secret is the code of a sign-in link, for which `redeem` gives the token once.
    """
    token, token_hash = new_code() if by_link else new_token(customer_id is not None)
    id_ = new_id()
    await connection.execute(
        insert(tokens).values(
            id=id_,
            name=name,
            hash=token_hash,
            scopes=sorted(set(scopes)),
            customer_id=customer_id,
            created_at=now,
            expires_at=expires_at,
            issued_by=issued_by,
        )
    )
    return id_, token


async def issue(
    work: UnitOfWork,
    customer: str,
    scopes: Collection[str],
    expires_at: datetime,
    *,
    with_link: bool = False,
) -> tuple[Row[Any], str, str | None]:
    """Issue a token bound to a customer: its row, and the secret, which is shown once.

    `with_link`: also the code of a sign-in link to another token that may do the same for as long.

    Raises NotFound, InsufficientScope for a scope that the issuer itself lacks, and Unauthorized
    if the issuer has been revoked meanwhile.
    """
    # Under the lock, because a merge ends the tokens of the record that it finds (R49).
    owner = await find_locked(work, customers, customer)
    for scope in scopes:
        if not work.caller.may(scope):
            raise InsufficientScope(scope)
    # `revoke` waits for this transaction, then ends this token too, or this sees it.
    if await work.connection.scalar(_ISSUER, {"id": work.caller.id}) is None:
        raise Unauthorized(token_sent=True)

    async def make(by_link: bool) -> tuple[UUID, str]:
        id_, secret = await store(
            work.connection,
            work.now,
            name=work.caller.name,
            scopes=scopes,
            customer_id=owner.id,
            expires_at=expires_at,
            issued_by=work.caller.id,
            by_link=by_link,
        )
        data: TokenIssued = {"scopes": sorted(set(scopes)), "expires_at": expires_at.isoformat()}
        await work.record(EventType.TOKEN_ISSUED, data, customer_id=owner.id, subject_id=id_)
        return id_, secret

    id_, token = await make(by_link=False)
    code = (await make(by_link=True))[1] if with_link else None
    return await _of_customer(work, owner.id, id_), token, code


async def redeem(connection: AsyncConnection, code: str, now: datetime) -> tuple[Row[Any], str]:
    """Give the token of a sign-in link, once: its row, and the secret, which is shown once.

    One statement replaces the hash of the code by the token's own, so that of two requests at the
    same moment one gets it. Raises LinkExpired.
    """
    if not code.startswith(LINK_PREFIX):
        # The hash of a token would be found too.
        raise LinkExpired
    token, token_hash = new_token(bound=True)
    redeemed = await connection.execute(
        _REDEEM, {"token_hash": hash_of(code), "new_hash": token_hash, "now": now}
    )
    row = redeemed.one_or_none()
    if row is None:
        raise LinkExpired
    return row, token


async def own_customer(work: UnitOfWork) -> Row[Any] | None:
    """The customer to whom the caller's token is bound; None for every other token."""
    if work.caller.customer_id is None:
        return None
    return await find(work, customers, work.caller.customer_id)


async def read(work: UnitOfWork, customer: str, token_id: UUID) -> Row[Any]:
    """One token of a customer, without its secret. Raises NotFound."""
    owner = await find(work, customers, customer)
    return await _of_customer(work, owner.id, token_id)


async def _of_customer(work: UnitOfWork, customer_id: UUID, token_id: UUID) -> Row[Any]:
    # Tokens stay with the record that they were bound to.
    bound_to = tokens.c.customer_id.in_(await records(work, customer_id))
    return await find(work, tokens, token_id, select(tokens).where(bound_to))


async def create_key(
    connection: AsyncConnection,
    now: datetime,
    *,
    name: str,
    scopes: Collection[str],
    customer: str | None,
    expires_at: datetime | None,
) -> str:
    """Make a client's key, bound to the customer with this code if one is named: the secret.

    Raises CustomerNotFound.
    """
    customer_id: UUID | None = None
    if customer is not None:
        # Locked, because a merge ends the tokens of the record that it finds (R49).
        customer_id = await lock_owner(connection, customers, customer)
        if customer_id is None:
            raise CustomerNotFound
    _, token = await store(
        connection,
        now,
        name=name,
        scopes=scopes,
        customer_id=customer_id,
        expires_at=expires_at,
    )
    return token


async def valid_keys(connection: AsyncConnection, now: datetime) -> Sequence[Row[Any]]:
    """Every valid token in the order of creation, with `code`, its customer's code or None."""
    rows = await connection.execute(
        select(tokens, customers.c.code)
        .outerjoin(customers, customers.c.id == tokens.c.customer_id)
        .where(tokens.c.revoked_at.is_(None))
        .where(tokens.c.expires_at.is_(None) | (tokens.c.expires_at > now))
        .order_by(tokens.c.id)
    )
    return rows.all()


async def revoke(connection: AsyncConnection, now: datetime, *keys: str) -> int:
    """End every token that has one of these ids or clients' names, and what it has issued.

    Returns how many ended.
    """
    wanted: list[ColumnElement[bool]] = [
        tokens.c.name == key if (id_ := as_id(key)) is None else tokens.c.id == id_ for key in keys
    ]
    # Locked first: the next statement then sees whatever they were issuing at this moment.
    locked = await connection.execute(
        select(tokens.c.id)
        .where(or_(*wanted))
        .order_by(tokens.c.id)
        .with_for_update(key_share=True)
    )
    ids = locked.scalars().all()
    ended = await connection.execute(
        update(tokens)
        .where(tokens.c.id.in_(ids) | tokens.c.issued_by.in_(ids), tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return ended.rowcount


async def revoke_bound(connection: AsyncConnection, now: datetime, customer_id: UUID) -> None:
    """End every token that is bound to a customer."""
    bound = tokens.c.customer_id == customer_id, tokens.c.revoked_at.is_(None)
    # In the order of ids, as by `record_uses`: two writers cannot deadlock.
    locked = await connection.execute(
        select(tokens.c.id).where(*bound).order_by(tokens.c.id).with_for_update(key_share=True)
    )
    await connection.execute(
        update(tokens).where(tokens.c.id.in_(locked.scalars().all())).values(revoked_at=now)
    )


async def forget_expired(connection: AsyncConnection, before: datetime) -> bool:
    """Delete tokens that expired before an instant; False if there may be more to delete.

    Events keep the names of their actors themselves. An issuer goes after what it has issued.
    """
    deleted = await connection.execute(_FORGET, {"before": before, "most": FORGOTTEN_AT_ONCE})
    return deleted.rowcount < FORGOTTEN_AT_ONCE


async def record_uses(connection: AsyncConnection, last_used: Mapping[UUID, datetime]) -> None:
    """Store when each token was last used, in the order of ids: two writers cannot deadlock."""
    ids = sorted(last_used)
    await connection.execute(_USED, {"ids": ids, "instants": [last_used[id_] for id_ in ids]})
