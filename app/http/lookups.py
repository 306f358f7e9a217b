"""The fast read: a route for questions about one customer that a lookup names.

One statement checks the token and reads the facts (`services.lookups`), which saves a round trip
to the database for the request that arrives most often. The route therefore admits the caller
itself, and its handlers receive an `AdmittedLookup`, which exists only for an admitted caller. A
handler that takes anything else is refused at import, because it could answer without a check.
"""

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query as FromQuery
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app import clock
from app.errors import AnonymousCaller, InvalidInput, NotAcceptable, ServiceError, invalid
from app.http.auth.bearer import sent_token
from app.http.context import note_caller
from app.http.fields import CUSTOMER, Code, Country, Email, Input, Key, Query, Sound
from app.http.languages import Language, language_of
from app.http.references import SystemReference
from app.http.replicas import database_of
from app.http.routes import (
    Handler,
    ScopedRoute,
    reader,
    receive_body,
    refuse_too_many_values,
)
from app.ids import as_id
from app.policy.civil import Closures, civil_date
from app.policy.document import Policies
from app.services import lookups
from app.services.emails import spellings
from app.services.lookups import LOOKUPS, Found, Lookup
from app.services.phones import Exchange, NoNumber, caller_number
from app.services.tokens import authenticate
from app.services.unit_of_work import Caller
from app.store import closures
from app.store.facts import Known

# A case number without its hyphen, as it is dialled: the year, then at least six digits.
_dialled_case = re.compile(r"([0-9]{4})([0-9]{6,20})", re.ASCII)
_case_number = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class LookupFields(BaseModel):
    """Exactly one of the lookups."""

    customer_id: Key | None = Field(default=None, description=CUSTOMER)
    customer_code: Code | None = None
    serial_number: Code | None = None
    case_number: Annotated[str, Field(max_length=100), Sound] | None = Field(
        default=None,
        description="The number of a case of the customer; as dialled too: digits alone, and a `#`"
        " at the end.",
    )
    phone: Annotated[str, Field(max_length=500), Sound] | None = Field(
        default=None,
        description="In any notation of a telephone exchange, SIP and tel addresses included; a"
        " leading space is read as `+`.",
    )
    region: Country | None = Field(
        default=None,
        description="The country in which a national `phone` number is read; by default that of"
        " the setting `ASSISTENZA_PHONE_REGION`.",
    )
    email: Email | None = None
    external_ref: SystemReference | None = Field(default=None, description="`system:reference`.")

    def lookup(self, exchange: Exchange, place: str = "query") -> Lookup:
        """What is looked for, numbers read as the exchange writes them.

        Raises InvalidInput at `place`, and AnonymousCaller for a number that is withheld.
        """
        given = [name for name in LOOKUPS if getattr(self, name) is not None]
        if len(given) != 1:
            raise invalid(place, "exactly_one", names=", ".join(LOOKUPS))
        name, value = given[0], getattr(self, given[0])
        if self.region is not None and name != "phone":
            raise invalid(f"{place}/region", "unknown_parameter")
        if name == "phone":
            value = caller_number(value, exchange._replace(region=self.region or exchange.region))
            if value is NoNumber.WITHHELD:
                raise AnonymousCaller
            if value is NoNumber.UNUSABLE:
                raise invalid(f"{place}/phone", "not_a_phone_number")
        if name == "case_number":
            value = value.strip().removesuffix("#")
            if not _case_number.fullmatch(value):
                raise invalid(f"{place}/case_number", "bad_format", expected="form_code")
            value = _dialled_case.sub(r"\1-\2", value)
        if name == "email":
            value = " ".join(spellings(value))
        elif name == "customer_id":
            id_ = as_id(value)
            name, value = ("customer_code", value) if id_ is None else (name, id_)
        return Lookup(name, value)

    def instant(self, now: datetime) -> datetime:
        """The instant asked about; `now` unless a subclass lets the caller choose another."""
        return now


class LookupQuery(LookupFields, Query):
    """A lookup in a query string."""


Question = TypeVar("Question", bound=LookupFields)


@dataclass(slots=True)
class AdmittedLookup(Generic[Question]):
    """A question about one customer, whose caller holds a valid token with the route's scope."""

    request: Request
    query: Question
    """The query string, or the body."""
    caller: Caller
    found: Found
    """What the lookup finds; most handlers call `customer()`."""
    fault: ServiceError | None
    """What is wrong with the lookup itself; then nobody was looked for."""
    now: datetime
    at: datetime
    """The instant asked about, and its civil date."""
    on: date
    policies: Policies

    @property
    def closures(self) -> Closures:
        return self.found.closures

    @property
    def language(self) -> Language:
        """The language in which the caller wants its answer."""
        return language_of(self.request)

    def customer(self) -> Known:
        """The one customer asked about.

        Raises InvalidInput and AnonymousCaller for a wrong lookup, CustomerNotFound,
        AmbiguousLookup.
        """
        if self.fault is not None:
            raise self.fault
        return lookups.only(self.found.customers)


def exchange_of(request: Request) -> Exchange:
    """How the telephone exchange of this installation writes numbers."""
    settings = request.app.state.settings
    return Exchange(settings.phone_region, settings.phone_trunk_prefix or "")


LookupHandler = Callable[[AdmittedLookup[Question]], Awaitable[Response]]


def check_handler(handler: Callable[..., Any], question: type[LookupFields]) -> None:
    """Raises TypeError unless the handler takes the admitted lookup, and nothing else."""
    parameters = inspect.signature(handler, eval_str=True).parameters.values()
    if [one.annotation for one in parameters] != [AdmittedLookup[question]]:  # type: ignore[valid-type]
        raise TypeError(
            f"{handler.__qualname__} must take one parameter, an"
            f" AdmittedLookup[{question.__name__}]: without it nobody checks the caller's token"
        )


class LookupRoute(ScopedRoute):
    """A route whose one statement reads token and facts.

    `question` is what the caller sends: a query string (a `Query`) or a body (an `Input`).
    """

    only_reads = True

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        scope: str,
        question: type[LookupFields],
        **options: Any,
    ) -> None:
        check_handler(endpoint, question)
        self._respond = endpoint
        self._question = question
        self._in_body = issubclass(question, Input)
        sent_in = question if self._in_body else Annotated[question, FromQuery()]

        # FastAPI documents this endpoint. It calls it only where it reads the body for us.
        async def keep(request: Request, sent: sent_in) -> Response:  # type: ignore[valid-type]
            request.state.sent = sent
            return Response()

        options["name"] = options.get("name") or endpoint.__name__
        options["description"] = options.get("description") or inspect.getdoc(endpoint)
        super().__init__(path, keep, scope=scope, **options)
        if any(self.declared_query.values()):
            raise TypeError(
                f"{question.__name__} must not have lists: `_read_query` keeps one value"
            )

    async def answer(self, request: Request, handler: Handler) -> Response:
        """Admit the caller and run the handler. What is wrong with the request comes after that."""
        now = clock.now()
        token = sent_token(request)
        if self._in_body:
            # Before the body is received and parsed: a made-up token must not cost that.
            await self._admit(request, token, now)
            await receive_body(request)
            await refuse_too_many_values(request)
        try:
            self.refuse_unanswerable(request)
            if self._in_body:
                await handler(request)
                query = request.state.sent
            else:
                query = self._read_query(request)
        except (RequestValidationError, InvalidInput, NotAcceptable, HTTPException):
            if not self._in_body:
                await self._admit(request, token, now)
            raise
        policies: Policies = request.app.state.policies
        at = query.instant(now)
        on = civil_date(at, policies.zone)
        fault: ServiceError | None = None
        found: Found
        try:
            lookup = query.lookup(exchange_of(request), "" if self._in_body else "query")
        except ServiceError as error:
            fault = error
            async with reader(request) as connection:
                caller = await authenticate(connection, token, self.scope, now)
                found = lookups.NOBODY._replace(closures=await closures.read(connection, at))
        else:
            caller, found = await lookups.find(
                database_of(request), token, self.scope, lookup, now=now, at=at, on=on
            )
        note_caller(request, caller, now)
        admitted = AdmittedLookup(request, query, caller, found, fault, now, at, on, policies)
        response: Response = await self._respond(admitted)
        return response

    def _read_query(self, request: Request) -> Any:
        try:
            return self._question.model_validate(dict(request.query_params.multi_items()))
        except ValidationError as error:
            raise RequestValidationError(
                [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors()]
            ) from None

    async def _admit(self, request: Request, token: str, now: datetime) -> Caller:
        """Check the token alone, where there is nobody to look for."""
        async with reader(request) as connection:
            caller = await authenticate(connection, token, self.scope, now)
        note_caller(request, caller, now)
        return caller
