"""Tokens for the reserved area: bound to one customer, short-lived, no more than the issuer's."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import insert, select
from starlette.requests import Request
from starlette.responses import Response

from app.http.documented import CACHED, posts, reads
from app.http.etags import json_response
from app.http.fields import Id, Input, Key, Output
from app.http.problems import InsufficientScope, NotFound, SecretAlreadyIssued
from app.http.reach import find
from app.http.routes import Connection, CurrentCaller, Now, Route, needs
from app.http.tokens import BoundScope, Scope, new_token
from app.ids import new_id
from app.store import events
from app.store.tables import customers, tokens

router = APIRouter(route_class=Route, tags=["Customers"])

LONGEST_SECONDS = 3_600


class NewToken(Input):
    scopes: Annotated[list[BoundScope], Field(min_length=1, max_length=16)]
    expires_in_seconds: Annotated[int, Field(ge=1, le=LONGEST_SECONDS)] = LONGEST_SECONDS


class IssuedToken(Output):
    id: UUID
    customer_id: UUID
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenWithSecret(IssuedToken):
    token: str = Field(description="Shown this once; it is kept as a hash.")


_SHOWN = [tokens.c[name] for name in IssuedToken.model_fields]


@router.post(
    "/customers/{customer}/tokens",
    status_code=201,
    operation_id="issue_token",
    openapi_extra=needs("tokens:issue"),
    response_model=TokenWithSecret,
    responses=posts(NotFound, SecretAlreadyIssued),
)
async def issue_token(
    request: Request,
    customer: Key,
    body: NewToken,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
) -> Response:
    """A token with which the website shows this customer its own data, and no other's."""
    row = await find(connection, caller, customers, customer)
    for scope in body.scopes:
        if not caller.may(scope):
            raise InsufficientScope(scope)
    token, token_hash = new_token(bound=True)
    fields = {
        "id": new_id(),
        "customer_id": row.id,
        "scopes": sorted(set(body.scopes)),
        "created_at": now,
        "expires_at": now + timedelta(seconds=body.expires_in_seconds),
    }
    await connection.execute(
        insert(tokens).values(**fields, name=caller.name, hash=token_hash, issued_by=caller.id)
    )
    await events.record(
        connection,
        "token.issued",
        caller.actor,
        now,
        customer_id=row.id,
        subject_id=fields["id"],
        data={"scopes": fields["scopes"], "expires_at": fields["expires_at"].isoformat()},
    )
    request.state.secret = True
    issued = TokenWithSecret(**fields, revoked_at=None, token=token)
    location = f"/v1/customers/{row.id}/tokens/{issued.id}"
    return json_response(request, issued, 201, {"Location": location}, etag=False)


@router.get(
    "/customers/{customer}/tokens/{token_id}",
    operation_id="get_token",
    openapi_extra=needs("tokens:issue"),
    response_model=IssuedToken,
    responses={**reads(NotFound), **CACHED},
)
async def get_token(
    request: Request, customer: Key, token_id: Id, connection: Connection, caller: CurrentCaller
) -> Response:
    """What a token may do and until when; never the token."""
    row = await find(connection, caller, customers, customer)
    query = select(*_SHOWN).where(tokens.c.id == token_id, tokens.c.customer_id == row.id)
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        raise NotFound
    return json_response(request, IssuedToken(**found._mapping))
