"""Questions about entitlements, and their answers, on the wire."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from app.errors import invalid
from app.http.decisions import (
    CustomerName,
    EntitlementsBody,
    HelpDeskState,
    ReasonBody,
    SalesContactBody,
    ServiceBody,
)
from app.http.errors.bodies import Candidate, ProblemBody
from app.http.fields import (
    CivilDate,
    IncludedMinutes,
    Input,
    Instant,
    Listed,
    Minutes,
    Output,
    Query,
    QueryFlag,
    QueryInstant,
    Sound,
    TicketQuantity,
)
from app.http.lookups import LookupFields, LookupQuery
from app.http.speech import Route
from app.policy.document import Channel, Column, PaidBy, Service
from app.policy.facts import LicenceKind, Step
from app.policy.simulate import (
    AssumedContract,
    AssumedLicence,
    AssumedPack,
    AssumedTime,
    Assumption,
)
from app.services.calls import Outcome


class EntitlementsQuery(LookupQuery):
    at: QueryInstant | None = None
    explain: QueryFlag = False

    def instant(self, now: datetime) -> datetime:
        return self.at or now


class CheckQuery(LookupQuery):
    service: Service
    called: Annotated[str, Field(max_length=500), Sound] | None = Field(
        default=None,
        description="The number that was dialled. It gives the help desk, and its language, of a"
        " caller whom nobody knows.",
    )
    at: QueryInstant | None = None

    def instant(self, now: datetime) -> datetime:
        return self.at or now


class CallingContact(Output):
    """The contact of the customer who has the number or address that was looked up."""

    id: UUID
    name: str


class CheckBody(Output):
    """What becomes of a call, and what to say."""

    outcome: Outcome = Field(description="What the service knows of the caller.")
    allowed: bool
    route: Route = Field(
        description="Where a dial plan sends the call: `serve`, `serve_case` (for an open case"
        " alone), `sales`, `identify` (ask for a case number), or for the phone `closed`."
    )
    customer: CustomerName | None = Field(
        default=None, description="Absent where the caller is not known."
    )
    contact: CallingContact | None = Field(
        default=None, description="Absent where none has the number or address, or several have it."
    )
    candidates: list[Candidate] = Field(
        description="The customers of an `ambiguous_caller`: the first 20 by code."
    )
    continues: list[str] = Field(
        description="Numbers of the open cases for which it continues, at most 100, oldest first."
    )
    reasons: list[ReasonBody]
    unlocked_by: list[Step]
    sales_contact: SalesContactBody | None = None
    valid_until: datetime | None
    help_desk: HelpDeskState | None = Field(
        description="Null where the caller is not known, no desk's number was dialled, and"
        " `ASSISTENZA_DEFAULT_DESK` names none."
    )
    say: str = Field(
        description="A text for a phone system to speak: at most 220 characters, no ids and"
        " abbreviations, times and durations as a voice says them."
    )


class BatchLookup(LookupFields, Input):
    """A lookup in a body."""


class Batch(Input):
    """Lookups of many customers."""

    lookups: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)]
    at: Instant | None = None


class BatchResult(Output):
    """A lookup with its answer, or with what is wrong with it."""

    lookup: dict[str, Any]
    entitlements: EntitlementsBody | None = None
    problem: ProblemBody | None = None


class BatchBody(Output):
    """The answers to a batch."""

    results: list[BatchResult]


class ExportQuery(Query):
    at: QueryInstant | None = None


class ForecastQuery(LookupQuery):
    until: QueryInstant = Field(description="At most ten years from now.")


class ForecastStep(Output):
    """An answer that holds for some time."""

    at: datetime = Field(
        description="The answer holds from this instant until that of the next step."
    )
    on: date
    policy: str
    columns: list[Column]
    services: list[ServiceBody]


class ForecastBody(Output):
    """What time alone will change."""

    customer: CustomerName
    until: datetime = Field(
        description="Until when the steps tell: as asked, or where the 101st would begin."
    )
    steps: list[ForecastStep]


class LicenceAssumed(Listed):
    """A licence bought."""

    kind: Literal["licence"]
    licence_kind: LicenceKind = "editor"
    purchased_on: CivilDate | None = Field(
        default=None, description="By default the day asked about."
    )


class ContractAssumed(Listed):
    """A contract signed."""

    kind: Literal["contract"]
    starts_on: CivilDate | None = Field(default=None, description="By default the day asked about.")
    included_minutes: IncludedMinutes | None = Field(
        default=None, description="By default what the policy grants."
    )


class PackAssumed(Listed):
    """Tickets bought."""

    kind: Literal["ticket_pack"]
    quantity: TicketQuantity = 1
    purchased_on: CivilDate | None = Field(
        default=None, description="By default the day asked about."
    )


class TimeAssumed(Listed):
    """A case that is opened, worked on for some minutes, and closed."""

    kind: Literal["time"]
    minutes: Minutes
    channel: Channel = "email"
    pay_with: Literal["auto"] | PaidBy = "auto"


Assumed = Annotated[
    LicenceAssumed | ContractAssumed | PackAssumed | TimeAssumed, Field(discriminator="kind")
]


class Simulation(LookupFields, Input):
    """A lookup, and what to assume."""

    at: Instant | None = None
    assume: Annotated[list[Assumed], Field(min_length=1, max_length=50)]

    def instant(self, now: datetime) -> datetime:
        return self.at or now

    def assumptions(self, on: date) -> list[Assumption]:
        """What is assumed on the day asked about. Raises InvalidInput for a later purchase."""
        return [_assumption(index, assumed, on) for index, assumed in enumerate(self.assume)]


class ServiceChange(Output):
    """A service whose answer differs."""

    service: Service
    allowed_before: bool
    allowed_after: bool


class Changes(Output):
    """What differs between two answers."""

    columns_gained: list[Column]
    columns_lost: list[Column]
    services: list[ServiceChange] = Field(description="The services whose answer differs.")


class SimulationBody(Output):
    """The answers without and with the assumptions."""

    before: EntitlementsBody
    after: EntitlementsBody
    changes: Changes


def _assumption(index: int, body: Assumed, on: date) -> Assumption:
    match body:
        case LicenceAssumed():
            day = body.purchased_on or on
            assumed: Assumption = AssumedLicence(body.licence_kind, day)
        case PackAssumed():
            day = body.purchased_on or on
            assumed = AssumedPack(body.quantity, day)
        case ContractAssumed():
            # A contract may start after the day asked about.
            return AssumedContract(body.starts_on or on, body.included_minutes)
        case TimeAssumed():
            pay_with = None if body.pay_with == "auto" else body.pay_with
            return AssumedTime(body.minutes, body.channel, pay_with)
    if day > on:
        raise invalid(f"/assume/{index}/purchased_on", "in_future")
    return assumed
