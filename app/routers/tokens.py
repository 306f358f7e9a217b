"""Tokens for the reserved area: bound to one customer, short-lived, no more than the issuer's."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field
from starlette.responses import Response

from app.errors import LinkExpired, SecretAlreadyIssued
from app.http.context import Ctx, Stranger
from app.http.fields import Id, Input, Key, Output, Sound, StoredOutput, Whole
from app.http.languages import Language
from app.http.public_address import SIGN_IN_PATH, public_address
from app.http.resource import Resource
from app.http.responses import created, json_response, ok
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


class NewlyIssued(TokenWithSecret):
    """A token with its secret, and a link that opens the reserved area with another like it."""

    url: str | None = Field(
        description="An address to lead the customer to: its page has a button that opens the"
        " reserved area, once, and a session there lasts until `expires_at`. Opening the address"
        " alone uses nothing up. Null where the service has no pages (`ASSISTENZA_PAGES=false`)."
    )


class Redemption(Input):
    """What a sign-in link has."""

    code: Annotated[str, Field(min_length=1, max_length=100), Sound] = Field(
        description="The last part of the link's path."
    )


class OwnCustomer(Output):
    """The customer to whom the token is bound."""

    id: UUID
    code: str
    name: str
    language: Language = Field(description="The customer's own language.")


class OwnToken(Output):
    """What the token of a request may do."""

    name: str = Field(description="The name of the client to whom it belongs.")
    scopes: list[Scope]
    customer: OwnCustomer | None = Field(description="Null for a token that is not bound.")


@tokens.reads("/token", OwnToken, None)
async def get_own_token(context: Ctx) -> Response:
    """Read what your own token may do.

    And to which customer it is bound, if it is.
    """
    caller = context.caller
    row = await service.own_customer(context)
    customer = row and OwnCustomer(id=row.id, code=row.code, name=row.name, language=row.language)
    return ok(
        context,
        OwnToken.model_validate(
            {"name": caller.name, "scopes": sorted(caller.scopes), "customer": customer}
        ),
    )


@tokens.creates(
    "/customers/{customer}/tokens",
    NewlyIssued,
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
    row, token, code = await service.issue(
        context,
        customer,
        body.scopes,
        expires_at,
        with_link=context.request.app.state.settings.pages,
    )
    url = code and f"{public_address(context.request)}{SIGN_IN_PATH}{code}"
    issued = NewlyIssued(**IssuedToken.of(row).model_dump(), token=token, url=url)
    location = f"/v1/customers/{row.customer_id}/tokens/{row.id}"
    return created(context, issued, location, secret=True)


@tokens.reads("/customers/{customer}/tokens/{token_id}", IssuedToken, "tokens:issue")
async def get_token(context: Ctx, customer: Key, token_id: Id) -> Response:
    """Read what a token may do.

    And until when. Its secret is never shown again.
    """
    return ok(context, IssuedToken.of(await service.read(context, customer, token_id)))


@tokens.exchanges("/sign-in-links/redemption", TokenWithSecret, LinkExpired)
async def redeem_sign_in_link(stranger: Stranger, body: Redemption) -> Response:
    """Exchange the code of a sign-in link for its token.

    Once: whoever comes second gets `link_expired`. This needs no token.
    """
    row, token = await service.redeem(stranger.connection, body.code, stranger.now)
    redeemed = TokenWithSecret(**IssuedToken.of(row).model_dump(), token=token)
    return json_response(stranger.request, redeemed, etag=False)
