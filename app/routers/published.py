"""The published rules: service matrix and help desks, open to any valid token (R34, R39)."""

from datetime import date, datetime, time
from typing import Annotated, Literal

from fastapi import Query as FromQuery
from pydantic import Field, PlainSerializer
from starlette.responses import Response

from app.http.context import Ctx
from app.http.fields import Output, Query, QueryInstant
from app.http.languages import Language
from app.http.resource import Resource
from app.http.responses import ok
from app.policy import document
from app.policy.civil import Closures, civil_date, state
from app.policy.document import COLUMNS, Channel, Column, PaidBy, Policies, Service, Weekday
from app.services import help_desks

published = Resource("Published rules")


class AtQuery(Query):
    at: QueryInstant | None = Field(default=None, description="By default now.")


class Texts(Output):
    """A text in each language."""

    it: str
    en: str
    de: str


class Cell(Output):
    """Whether a column grants a service, and on what condition."""

    granted: bool
    pays: PaidBy | None = Field(
        description="The kind of allowance that pays for a case; null if none does."
    )
    requires: PaidBy | None = Field(
        description="The kind of allowance that must have something left."
    )
    provenance: Literal["stated", "inferred"]
    source: str | None = Field(description="The published words; null if inferred.")


class MatrixRow(Output):
    """A service, and which columns grant it."""

    service: Service
    names: Texts
    channel: Channel | None
    cells: dict[Column, Cell]


class Development(Output):
    """The development year, which an Editor licence gives."""

    months: int
    transfer_counts_as_purchase: bool = Field(
        description="Whether a licence that passes to another customer counts as bought by it."
    )


class FreeHours(Output):
    """The hours that an Editor licence gives in each year."""

    minutes: int
    months: int
    anchor: Literal["any", "editor"] = Field(
        description="Whose purchase starts service years anew."
    )


class ContractTerms(Output):
    """The terms of a contract."""

    minutes: int
    months: int


class TicketTerms(Output):
    """The terms of a ticket."""

    months: int


class CaseTerms(Output):
    """The terms of cases."""

    reopen_within_days: int = Field(
        description="For how many days after its closing a case may be reopened."
    )


class EndingLevels(Output):
    """How many days before its end each kind of allowance is announced."""

    free_hours: list[int] = Field(description="Of a service year.")
    contract: list[int] = Field(description="Of a contract.")
    ticket: list[int] = Field(description="Of a ticket pack.")


class Notices(Output):
    """When the event `allowance.notice` announces an allowance."""

    days_before_end: EndingLevels = Field(description="Days before the end, by kind.")
    used_percent: list[int] = Field(description="Shares used, in per cent.")


class Allowances(Output):
    """The terms of each kind of allowance."""

    free_hours: FreeHours
    contract: ContractTerms
    ticket: TicketTerms


class Advice(Output):
    """A text that the policy gives to callers."""

    id: str = Field(description="The name of the text.")
    texts: Texts


class SalesContact(Output):
    """Whom to ask about a purchase."""

    email: str
    names: Texts


_SHARED = {"development", "allowances", "cases", "notices", "advice", "sales_contact"}
"""What the matrix shows as the policy document has it."""


class ServiceMatrix(Output):
    """The policy: who may use what, and what pays for it."""

    policy: str
    effective_from: date
    columns: list[Column] = Field(description="The columns, in the order of the matrix.")
    services: list[MatrixRow]
    development: Development
    allowances: Allowances = Field(description="The terms of each kind of allowance.")
    cases: CaseTerms = Field(description="The terms of cases.")
    notices: Notices = Field(description="When an allowance is announced.")
    advice: list[Advice]
    sales_contact: SalesContact

    @classmethod
    def of(cls, policy: document.Policy) -> "ServiceMatrix":
        services = [
            {"service": row.id, **row.model_dump(exclude={"id"}, mode="json")}
            for row in policy.services
        ]
        return cls.model_validate(
            {
                "policy": policy.id,
                "effective_from": policy.effective_from,
                "columns": COLUMNS,
                "services": services,
                **policy.model_dump(include=_SHARED, mode="json"),
            }
        )


Clock = Annotated[time, PlainSerializer(lambda value: f"{value:%H:%M}", return_type=str)]


class OpeningHours(Output):
    """A time of the day in which a desk is open."""

    opens: Clock
    closes: Clock


class Calendar(Output):
    """The country and region whose public holidays the desk keeps (ISO 3166)."""

    country: str
    subdivision: str | None


class Tariff(Output):
    """What a help desk charges."""

    amount: str
    currency: str
    per_minutes: int
    note: Texts


class StandingClosure(Output):
    """A period in which a desk is closed, or keeps other hours."""

    starts_at: datetime
    ends_at: datetime
    reason: Texts


class HelpDesk(Output):
    """A help desk."""

    id: str = Field(description="The id of the desk, such as `it`.")
    names: Texts
    phone: str = Field(description="E.164.")
    language: Language = Field(description="The language that is spoken there.")
    time_zone: str
    weekdays: list[Weekday]
    hours: list[OpeningHours] = Field(description="In the desk's time zone.")
    calendar: Calendar
    tariff: Tariff | None
    open: bool
    changes_at: datetime = Field(description="When it next opens or closes.")
    closure: StandingClosure | None = Field(
        description="The closure without which it would be in another state, or change at another"
        " instant."
    )

    @classmethod
    def of(cls, desk: document.HelpDesk, at: datetime, closures: Closures) -> "HelpDesk":
        now = state(desk.schedule, at, closures.get(desk.id, ()))
        closure = now.closure and {
            "starts_at": now.closure.starts_at,
            "ends_at": now.closure.ends_at,
            "reason": dict(now.closure.reason),
        }
        shown = desk.model_dump(mode="json", exclude={"countries"})
        shown |= {"open": now.open, "changes_at": now.changes_at, "closure": closure}
        return cls.model_validate(shown)


class HelpDesks(Output):
    """Every help desk."""

    items: list[HelpDesk]


def _in_force(policies: Policies, at: datetime) -> document.Policy:
    return policies.in_force(civil_date(at, policies.zone))


@published.reads("/service-matrix", ServiceMatrix, None)
async def get_service_matrix(context: Ctx, query: Annotated[AtQuery, FromQuery()]) -> Response:
    """Read the service matrix.

    The policy in force at an instant: who may use what, what pays for it, and where it is written.
    """
    return ok(context, ServiceMatrix.of(_in_force(context.policies, query.at or context.now)))


@published.reads("/help-desks", HelpDesks, None)
async def list_help_desks(context: Ctx, query: Annotated[AtQuery, FromQuery()]) -> Response:
    """List the help desks.

    With their hours, whether each is open at the instant, and when that changes.
    """
    at = query.at or context.now
    desks = _in_force(context.policies, at).help_desks
    closures = await help_desks.standing(context, at)
    return ok(context, HelpDesks(items=[HelpDesk.of(desk, at, closures) for desk in desks]))
