"""Under which address browsers reach the service."""

import re

from starlette.requests import HTTPConnection

from app.settings import Settings

SIGN_IN_PATH = "/area/enter/"
"""Before the code of a sign-in link."""

_host = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


def is_encrypted(connection: HTTPConnection) -> bool:
    """Whether the browser speaks TLS, which a proxy in front of the service ends.

    A caller can claim it in `X-Forwarded-Proto`; that changes only what it is answered itself.
    """
    settings: Settings = connection.app.state.settings
    if settings.public_url is not None:
        return settings.public_url.startswith("https:")
    forwarded = connection.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return (forwarded or connection.scope["scheme"]) == "https"


def public_address(connection: HTTPConnection) -> str:
    """The address without a slash at its end, from ASSISTENZA_PUBLIC_URL or the request's `Host`.

    A request without a usable `Host` gets one of this machine.
    """
    settings: Settings = connection.app.state.settings
    if settings.public_url is not None:
        return settings.public_url
    host = connection.headers.get("host", "")
    if not _host.fullmatch(host):
        host = f"localhost:{settings.port}"
    scheme = "https" if is_encrypted(connection) else "http"
    return f"{scheme}://{host}{connection.scope.get('root_path', '')}"
