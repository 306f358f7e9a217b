"""The bearer token of a request (RFC 6750)."""

from starlette.requests import Request

from app.errors import Unauthorized
from app.services.tokens import BOUND_PREFIX, PREFIX, SECRET_LENGTH


def sent_token(request: Request) -> str:
    """The token in `Authorization` (RFC 6750, 2.1).

    Raises Unauthorized if the header is missing or cannot hold one of our tokens.
    """
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthorized
    scheme, _, token = header.partition(" ")
    token = token.strip(" ")
    prefix, separator, secret = token.partition("_")
    if (
        scheme.lower() != "bearer"
        or prefix + separator not in (PREFIX, BOUND_PREFIX)
        or len(secret) != SECRET_LENGTH
        or not token.isascii()
    ):
        raise Unauthorized(token_sent=bool(token))
    return token
