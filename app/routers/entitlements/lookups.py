"""How a question names its customer, and the one statement that answers it."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field
from starlette.requests import Request

from app.errors import AmbiguousLookup, AnonymousCaller, CustomerNotFound, invalid
from app.http.context import record_of
from app.http.fields import Code, Country, Email, Id, Query, Sound
from app.http.references import SystemReference
from app.services.phones import caller_number
from app.services.tokens import IS_VALID, admitted, hash_of, is_bound
from app.store.database import Database, count_statement
from app.store.facts import Known, bound_facts_statement, facts_statement, known
from app.store.raw_reads import Question, question

# SQL conditions on the customer `c`, each answered by an index.
CONDITIONS = {
    "customer_id": "c.id = :key",
    "customer_code": 'lower(c.code COLLATE "C") = lower(:key)',
    "serial_number": """c.id IN (SELECT l.customer_id FROM licences l
        WHERE lower(l.serial_number COLLATE "C") = lower(:key))""",
    "phone": "c.id IN (SELECT t.customer_id FROM contacts t WHERE t.phones @> ARRAY[:key])",
    "email": "c.id IN (SELECT t.customer_id FROM contacts t WHERE lower(t.email) = lower(:key))",
    "external_ref": """c.id IN (SELECT r.customer_id FROM external_refs r
        WHERE r.system = split_part(:key, ':', 1)
            AND r.ref = substr(:key, strpos(:key, ':') + 1))""",
}
LOOKUPS = tuple(CONDITIONS)
# What a telephone exchange sends in the place of a number that is withheld.
_WITHHELD = {
    "",
    "anonymous",
    "private",
    "restricted",
    "unavailable",
    "unknown",
    "withheld",
    "blocked",
}
_When = Literal["now", "past"]
_WHEN: tuple[_When, ...] = ("now", "past")
_QUESTIONS: dict[tuple[bool, str, _When], Question] = {
    (bound, name, when): question(
        bound_facts_statement(when, condition)
        if bound
        else facts_statement(when, IS_VALID, condition)
    )
    for name, condition in CONDITIONS.items()
    for when in _WHEN
    for bound in (False, True)
}

PhoneText = Annotated[str, Field(max_length=100), Sound]


class Lookup(NamedTuple):
    """By what a customer is looked for, as the statement takes it."""

    name: str
    key: Any


class LookupFields(BaseModel):
    """Exactly one of the lookups."""

    customer_id: Id | None = None
    customer_code: Code | None = None
    serial_number: Code | None = None
    phone: PhoneText | None = Field(
        default=None, description="As the exchange writes it; a leading space reads as `+`."
    )
    region: Country | None = Field(
        default=None, description="The country in which a national `phone` number is read."
    )
    email: Email | None = None
    external_ref: SystemReference | None = Field(default=None, description="`system:reference`.")

    def lookup(self, place: str = "query") -> Lookup:
        """Raises InvalidInput at `place`, and AnonymousCaller for a number that is withheld."""
        values = ((name, getattr(self, name)) for name in LOOKUPS)
        given = [(name, value) for name, value in values if value is not None]
        if len(given) != 1:
            raise invalid(place, "exactly_one", names=", ".join(LOOKUPS))
        name, value = given[0]
        if self.region is not None and name != "phone":
            raise invalid(f"{place}/region", "unknown_parameter")
        if name == "phone":
            if value.strip().lower() in _WITHHELD:
                raise AnonymousCaller
            value = caller_number(value, self.region)
            if value is None:
                raise invalid(f"{place}/phone", "not_a_phone_number")
        return Lookup(name, value)


class LookupQuery(LookupFields, Query):
    """A lookup in a query string."""


async def find_customers(
    request: Request, lookup: Lookup, at: datetime, on: date, scope: str = "entitlements:read"
) -> list[Known]:
    """Whom a lookup finds, with facts: one statement, the token's check included.

    `at` and `on`, its civil date, decide whether past or present facts are read (R13).
    Raises Unauthorized, InsufficientScope.
    """
    token = request.state.token
    now = request.state.now
    bound = is_bound(token)
    asked = _QUESTIONS[bound, lookup.name, "past" if at < now else "now"]
    parameters = {"token_hash": hash_of(token), "now": now, "key": lookup.key, "at": at, "on": on}
    database: Database = request.app.state.database
    count_statement()
    rows = await (database.bound_asking if bound else database.asking).ask(asked, parameters)
    caller = admitted(rows[0] if rows else None, scope)
    record_of(request.scope).caller_name = caller.name
    request.app.state.housekeeping.used(caller.id, now)
    return [known(row) for row in rows if row.customer is not None]


def the_one(found: list[Known]) -> Known:
    """Raises CustomerNotFound, and AmbiguousLookup for several."""
    if not found:
        raise CustomerNotFound
    if len(found) > 1:
        raise AmbiguousLookup(
            [{"id": str(one.id), "code": one.code, "name": one.name} for one in found]
        )
    return found[0]
