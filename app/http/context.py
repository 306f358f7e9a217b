"""What a handler works with: one typed context, and the record that the middleware keeps."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import Depends
from starlette.requests import Request
from starlette.types import Scope

from app.errors import Shortage
from app.http.languages import Language, language_of
from app.policy.civil import civil_date
from app.services.unit_of_work import Caller, UnitOfWork
from app.store.database import Connection


@dataclass(slots=True)
class RequestRecord:
    """What the middleware tells of a request in logs and metrics; filled in on the way."""

    request_id: str | None = None
    traceparent: str | None = None
    caller_name: str | None = None
    problem: str | None = None
    """The code of the error that answered it."""
    shortage: Shortage | None = None
    """What the database had run out of."""
    statements: int | None = None
    """How many SQL statements it sent."""
    streams: bool = False
    """It is answered for as long as the client listens, so its duration says nothing."""


def record_of(scope: Scope) -> RequestRecord:
    """The record of a request, made by whoever asks first."""
    state = scope.setdefault("state", {})
    record: RequestRecord | None = state.get("record")
    if record is None:
        record = state["record"] = RequestRecord()
    return record


def note_caller(request: Request, caller: Caller, now: datetime) -> None:
    """Note an admitted caller in the request's record, and that its token was used."""
    record_of(request.scope).caller_name = caller.name
    request.app.state.housekeeping.used(caller.id, now)


@dataclass(slots=True)
class Context(UnitOfWork):
    """The unit of work of a request."""

    request: Request

    @property
    def language(self) -> Language:
        """The language in which the caller wants its answer."""
        return language_of(self.request)

    @classmethod
    def enter(cls, request: Request, connection: Any, caller: Caller, now: Any) -> "Context":
        """Make the context of an admitted request, which its handler receives."""
        note_caller(request, caller, now)
        policies = request.app.state.policies
        today = civil_date(now, policies.zone)
        context = request.state.context = cls(connection, caller, now, today, policies, request)
        return context


async def _context(request: Request) -> Context:
    context: Context = request.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]
"""How a handler asks for its context: `async def get_contract(context: Ctx, …)`."""


class Unadmitted(NamedTuple):
    """What a handler of a call that needs no token, and writes, works with."""

    connection: Connection
    """In a transaction."""
    now: datetime
    request: Request


async def _unadmitted(request: Request) -> Unadmitted:
    unadmitted: Unadmitted = request.state.unadmitted
    return unadmitted


Stranger = Annotated[Unadmitted, Depends(_unadmitted)]
"""How such a handler asks for it."""
