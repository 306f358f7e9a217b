"""Sessions: the cookie that keeps a visitor's token, and the refusal of forged requests.

The cookie's value is the token itself. So every process knows every session, also after a restart,
nothing about sessions is stored, and revoking the token ends the session. A script cannot read it
(`HttpOnly`), and no other site can cause it to be sent (`SameSite=Strict`). Only pages take it: the
API knows the header `Authorization` alone.
"""

import hmac
import re
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from app import clock
from app.http.public_address import is_encrypted, public_address
from app.settings import Settings

_token = re.compile(r"[A-Za-z0-9_-]{1,200}")
_sane_position = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}", re.ASCII)
_return = re.compile(r"/[A-Za-z0-9/._~%?&=+-]{0,500}")


class Session(NamedTuple):
    """A kind of session; both may exist beside each other in one browser."""

    cookie: str


AREA = Session("assistenza-area")
"""Of a customer, opened by a sign-in link; its token is bound to the customer."""
DESK = Session("assistenza-desk")
"""Of staff, opened at /login with an API key."""
_LANGUAGE = "assistenza-language"
_POSITION = "assistenza-position"


class ForgedRequest(Exception):
    """A form that may not come from a page of this service."""


def _framed(settings: Settings) -> bool:
    return bool(settings.frame_ancestors)


def _name(request: Request, name: str) -> str:
    # The prefix keeps other hosts of the domain, and plain http, from setting the cookie.
    secure = is_encrypted(request) or _framed(request.app.state.settings)
    return f"__Host-{name}" if secure else name


def _set(response: Response, request: Request, name: str, value: str, seconds: int | None) -> None:
    parts = [f"{_name(request, name)}={value}", "Path=/", "HttpOnly"]
    if seconds is not None:
        parts.append(f"Max-Age={max(seconds, 0)}")
    if _framed(request.app.state.settings):
        # A frame on a page of another site gets no other cookie; it is kept apart for that site.
        parts += ["SameSite=None", "Secure", "Partitioned"]
    else:
        parts += ["SameSite=Strict", *(["Secure"] if is_encrypted(request) else [])]
    response.headers.append("set-cookie", "; ".join(parts))


def token_of(request: Request, session: Session) -> str | None:
    """The token that the browser has sent for this kind of session; the API judges it."""
    token = request.cookies.get(_name(request, session.cookie), "")
    return token if _token.fullmatch(token) else None


def begin(
    response: Response,
    request: Request,
    session: Session,
    token: str,
    expires_at: datetime | None = None,
) -> None:
    """Let the browser keep a token: until it expires, or else until the browser is closed."""
    seconds = None if expires_at is None else int((expires_at - clock.now()).total_seconds())
    _set(response, request, session.cookie, token, seconds)


def end(response: Response, request: Request, session: Session) -> None:
    """Let the browser forget the token."""
    _set(response, request, session.cookie, "", 0)


def remember(response: Response, request: Request, session: Session, name: str, text: str) -> None:
    """Let the browser keep a text beside a session, until it is closed."""
    _set(response, request, f"{session.cookie}-{name}", quote(text, safe=""), None)


def remembered(request: Request, session: Session, name: str) -> str:
    """What `remember` has kept under this name, or an empty text."""
    return unquote(request.cookies.get(_name(request, f"{session.cookie}-{name}"), ""))


def chosen_language(request: Request) -> str:
    """The language that the visitor has chosen, or an empty text."""
    return request.cookies.get(_name(request, _LANGUAGE), "")


def keep_language(response: Response, request: Request, language: str) -> None:
    """Remember the visitor's choice for a year."""
    _set(response, request, _LANGUAGE, language, 365 * 86_400)


def position(request: Request) -> str | None:
    """The position of the visitor's last write, as the API gave it."""
    sent = request.cookies.get(_name(request, _POSITION), "")
    return sent if _sane_position.fullmatch(sent) else None


def keep_position(response: Response, request: Request, value: str) -> None:
    """Remember the visitor's write for as long as a replica may lack it, and then some."""
    _set(response, request, _POSITION, value, 60)


def form_token(token: str) -> str:
    """What every form of a session carries: only who knows its token can make it."""
    return hmac.new(token.encode(), b"form", sha256).hexdigest()


def refuse_forgery(request: Request, token: str | None, sent: str) -> None:
    """Raise ForgedRequest unless a form comes from a page of this service.

    Browsers state where a request comes from in `Sec-Fetch-Site`; over plain http to another
    machine they do not, and `Origin` is `null` there because pages send no referrer. A form of a
    session also carries `form_token`, which decides in any case. Without a session there is
    nothing to abuse but signing somebody in, so that a browser's silence is enough there.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        own = site == "same-origin"
    else:
        own = origin == own_origin(request) or origin == "null" or token is not None
    if not own or (
        token is not None and not hmac.compare_digest(form_token(token).encode(), sent.encode())
    ):
        raise ForgedRequest


def own_origin(request: Request) -> str:
    """The origin of this service as browsers name it (RFC 6454)."""
    address = urlsplit(public_address(request))
    return f"{address.scheme}://{address.netloc}".lower()


def return_path(given: str, default: str) -> str:
    """Where to go after signing in: a path of this service, else `default`.

    Anything that could lead to another host, or end the header, is not taken.
    """
    if _return.fullmatch(given) and not given.startswith("//"):
        return given
    return default
