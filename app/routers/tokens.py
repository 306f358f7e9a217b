"""Tokens for the reserved area: bound to one customer, short-lived, no more than the issuer's."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field
from starlette.responses import Response

from app.errors import SecretAlreadyIssued
from app.http.context import Ctx
from app.http.fields import Id, Input, Key, StoredOutput, Whole
from app.http.resource import Resource
from app.http.responses import created, ok
from app.services import tokens as service
from app.services.tokens import BoundScope, Scope

tokens = Resource("Customers")

LONGEST_SECONDS = 3_600


class NewToken(Input):
    """A token to issue."""

    scopes: Annotated[list[BoundScope], Field(min_length=1, max_length=16)] = Field(
        description="What the token may do: some of the scopes of your own token."
    )
    expires_in_seconds: Annotated[int, Field(ge=1, le=LONGEST_SECONDS), Whole] = LONGEST_SECONDS


class IssuedToken(StoredOutput):
    """A token that is bound to a customer, without its secret."""

    id: UUID
    customer_id: UUID
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenWithSecret(IssuedToken):
    """A token with its secret."""

    token: str = Field(description="Shown this once; only its hash is stored.")


@tokens.creates(
    "/customers/{customer}/tokens",
    TokenWithSecret,
    "tokens:issue",
    SecretAlreadyIssued,
    etag=False,
)
async def issue_token(context: Ctx, customer: Key, body: NewToken) -> Response:
    """Issue a token for a customer's reserved area.

    With it a website shows the customer its own data, and nothing else. The secret is shown this
    once: repeated with the same `Idempotency-Key`, the request is refused.
    """
    expires_at = context.now + timedelta(seconds=body.expires_in_seconds)
    row, token = await service.issue(context, customer, body.scopes, expires_at)
    issued = TokenWithSecret(**IssuedToken.of(row).model_dump(), token=token)
    location = f"/v1/customers/{row.customer_id}/tokens/{row.id}"
    return created(context, issued, location, secret=True)


@tokens.reads("/customers/{customer}/tokens/{token_id}", IssuedToken, "tokens:issue")
async def get_token(context: Ctx, customer: Key, token_id: Id) -> Response:
    """Read what a token may do.

    And until when. Its secret is never shown again.
    """
    return ok(context, IssuedToken.of(await service.read(context, customer, token_id)))
