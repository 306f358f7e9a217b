"""What the pages of staff share: who is signed in, and which pages the scopes of the key open."""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from starlette.responses import Response

from app.pages import sessions
from app.pages.api import Problem
from app.pages.forms import Form
from app.pages.routing import Pages
from app.pages.sessions import DESK
from app.pages.visit import Visit

staff = Pages(DESK)

TECHNICIAN = "technician"
"""The name under which the browser keeps how this person is named in cases."""
_MOST_NAMES = 1000


class Place(NamedTuple):
    """An entry of the navigation."""

    path: str
    text: str
    key: str
    """The key that opens it."""
    scope: str


PLACES = (
    Place("/desk", "staff.queue", "q", "cases:read"),
    Place("/desk/call", "staff.call", "a", "entitlements:read"),
    Place("/dashboard", "staff.dashboard", "d", "usage:read"),
    Place("/office", "staff.office", "o", "customers:read"),
)


class Person(NamedTuple):
    """Who is signed in."""

    name: str
    """The name of the key."""
    technician: str
    """How this person is named in cases."""
    scopes: frozenset[str]

    @property
    def places(self) -> list[Place]:
        return [one for one in PLACES if one.scope in self.scopes]


async def whoami(visit: Visit) -> Person:
    """Who is signed in. Raises Problem (401) for a token that is bound to a customer."""
    own = await visit.api.get("/v1/token")
    return person(own, sessions.remembered(visit.request, DESK, TECHNICIAN))


def person(own: Mapping[str, Any], technician: str) -> Person:
    """The holder of a token, of the answer about it. Raises Problem (401) for a bound one."""
    if own["customer"] is not None:
        raise Problem(401, {"code": "unauthorized"})
    return Person(own["name"], technician or own["name"], frozenset(own["scopes"]))


async def names_of(visit: Visit, customers: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """Code and name of customers by their ids; none of them without `entitlements:read`."""
    ids = sorted(set(customers))[:_MOST_NAMES]
    if not ids:
        return {}
    lookups = {"lookups": [{"customer_id": one} for one in ids]}
    try:
        answer = await visit.api.send("POST", "/v1/entitlements/batch", lookups)
    except Problem as problem:
        if problem.status == 403:
            return {}
        raise
    found = [
        one["entitlements"]["customer"] for one in answer.body["results"] if "problem" not in one
    ]
    return {one["id"]: one for one in found}


async def zone(visit: Visit) -> str:
    """The time zone of the vendor's first desk, by whose clock staff read instants."""
    desks = await visit.api.get("/v1/help-desks")
    return str(desks["items"][0]["time_zone"])


# Python refuses to convert thousands of digits.
_whole_number = re.compile(r"[0-9]{1,18}")


def typed(
    form: Form, *names: str, whole: Sequence[str] = (), yes: Sequence[str] = ()
) -> dict[str, Any]:
    """The JSON body of fields, of which some are whole numbers and some are ticked or not.

    Anything else than a whole number is sent as it was entered, so that the API refuses it at its
    field.
    """
    body = form.body(*names)
    for name in whole:
        if _whole_number.fullmatch(str(body.get(name, ""))):
            body[name] = int(body[name])
    for name in yes:
        if name in names:
            body[name] = bool(form[name])
    return body


def unless_known(visit: Visit, response: Response) -> Response:
    """Add an `ETag` to a page that asks for itself again, or answer 304 if the browser has it."""
    etag = f'"{blake2b(bytes(response.body), digest_size=12).hexdigest()}"'
    if visit.request.headers.get("if-none-match") == etag:
        response = visit.finish(Response(status_code=304))
    response.headers["ETag"] = etag
    return response
