"""The token of a request: as a bearer (RFC 6750), or as the password of HTTP Basic (RFC 7617)."""

import base64

from starlette.requests import Request

from app.errors import Unauthorized
from app.services.tokens import BOUND_PREFIX, PREFIX, SECRET_LENGTH


def sent_token(request: Request) -> str:
    """The token in `Authorization` (RFC 6750, 2.1).

    Telephone systems that know HTTP Basic alone send it as the password, with any user name.
    Raises Unauthorized if the header is missing or cannot hold one of our tokens.
    """
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthorized
    scheme, _, token = header.partition(" ")
    scheme, token = scheme.lower(), token.strip(" ")
    sent = bool(token)
    if scheme == "basic":
        scheme, token = "bearer", _password(token)
    prefix, separator, secret = token.partition("_")
    if (
        scheme != "bearer"
        or prefix + separator not in (PREFIX, BOUND_PREFIX)
        or len(secret) != SECRET_LENGTH
        or not token.isascii()
    ):
        raise Unauthorized(token_sent=sent)
    return token


def _password(credentials: str) -> str:
    """The password in the credentials of HTTP Basic; nothing where they are not well-formed."""
    try:
        _, _, password = base64.b64decode(credentials, validate=True).partition(b":")
        return password.decode()
    except ValueError:
        return ""
