"""The clients of the demo, each with a token and a first call to try."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from app.http.public_address import SIGN_IN_PATH
from app.services.tokens import Scope

Greeting = Callable[[str, int], str]
"""Takes the host and port on which the service listens; returns the text to print at its start."""

VALID_FOR = timedelta(days=30)
# For a service that listens on every address. Every IPv6 address does not include the IPv4 ones.
_LOOPBACK = {str(IPv4Address(0)): "127.0.0.1", str(IPv6Address(0)): "::1"}


class Client(NamedTuple):
    name: str
    title: str
    scopes: tuple[Scope, ...]
    call: str
    """The path that its example calls; `{code}` and `{phone}` are the first customer's."""
    bound: bool = False
    """Its token is bound to that customer, as in the reserved area."""


CLIENTS = (
    Client(
        "demo-crm",
        "CRM",
        (
            "customers:read",
            "customers:write",
            "licences:read",
            "licences:write",
            "contracts:read",
            "contracts:write",
            "tickets:read",
            "tickets:write",
            "entitlements:read",
            "events:read",
            "webhooks:manage",
        ),
        "/v1/customers?limit=3",
    ),
    Client(
        "demo-website",
        "Website, the reserved area of {code}",
        (
            "entitlements:read",
            "customers:read",
            "licences:read",
            "contracts:read",
            "tickets:read",
            "cases:read",
            "cases:write",
            "usage:read",
        ),
        "/v1/customers/{code}/usage",
        bound=True,
    ),
    Client(
        "demo-phone-system",
        "Phone system",
        ("entitlements:read",),
        "/v1/entitlements/check?service=phone_support&phone={phone}",
    ),
    Client(
        "demo-dashboard",
        "Dashboard",
        ("usage:read", "entitlements:read", "cases:read"),
        "/v1/customers/{code}/usage",
    ),
    Client(
        "demo-technician",
        "Technician",
        (
            "cases:read",
            "cases:write",
            "cases:work",
            "customers:read",
            "licences:read",
            "entitlements:read",
            "usage:read",
            "events:read",
        ),
        "/v1/cases?queue=true",
    ),
)


def greeting(
    tokens: Mapping[str, str],
    code: str,
    phone: str,
    customers: int,
    loaded_on: date,
    *,
    link: str | None = None,
    public_url: str | None = None,
) -> Greeting:
    """What to print about a demo: for each client a command with its token, ready to run.

    `tokens` are by client's name; `code` and `phone` are the first customer's; `customers` is
    their number; `link` is the code of a sign-in link, None if the service has no pages.
    """

    def say(host: str, port: int) -> str:
        address = public_url or f"http://{_reached_at(host)}:{port}"
        area = (
            f"Reserved area of {code} (this link opens it once):\n"
            f"  {address}{SIGN_IN_PATH}{link}\n"
            "The pages of staff (sign in with the technician's token):\n"
            f"  {address}/login\n\n"
            if link
            else ""
        )
        # Every shell understands double quotes, and nothing inside them is special in any.
        calls = "".join(
            f"  {client.title.format(code=code)}:\n"
            f'    curl -s -H "Authorization: Bearer {tokens[client.name]}"'
            f' "{address}{client.call.format(code=code, phone=phone)}"\n'
            for client in CLIENTS
        )
        return (
            f"\n{customers} made-up customers, as of {loaded_on}."
            f" What each one shows is in its external_refs, under demo.\n\n{calls}\n{area}"
            f"All calls: {address}/docs\n"
            f"These tokens are valid for {VALID_FOR.days} days;"
            " starting with --demo again makes new ones and revokes these.\n"
        )

    return say


def _reached_at(host: str) -> str:
    """Where a client on this machine reaches a service that listens on `host`, for a URL."""
    address = _LOOPBACK.get(host, host)
    return f"[{address}]" if ":" in address else address
