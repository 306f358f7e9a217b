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
from app.policy.civil import civil_date, state
from app.policy.document import COLUMNS, Channel, Column, PaidBy, Policies, Service, Weekday

published = Resource("Published rules")


class AtQuery(Query):
    at: QueryInstant | None = Field(default=None, description="By default now.")


class Texts(Output):
    it: str
    en: str
    de: str


class Cell(Output):
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
    service: Service
    names: Texts
    channel: Channel | None
    cells: dict[Column, Cell]


class Development(Output):
    months: int


class FreeHours(Output):
    minutes: int
    months: int
    anchor: Literal["any", "editor"] = Field(
        description="Whose purchase starts service years anew."
    )


class ContractTerms(Output):
    minutes: int
    months: int


class TicketTerms(Output):
    months: int


class CaseTerms(Output):
    reopen_within_days: int


class Allowances(Output):
    free_hours: FreeHours
    contract: ContractTerms
    ticket: TicketTerms


class Advice(Output):
    id: str
    texts: Texts


class SalesContact(Output):
    email: str
    names: Texts


_SHARED = {"development", "allowances", "cases", "advice", "sales_contact"}
"""What the matrix shows as the policy document has it."""


class ServiceMatrix(Output):
    policy: str
    effective_from: date
    columns: list[Column]
    services: list[MatrixRow]
    development: Development
    allowances: Allowances
    cases: CaseTerms
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
    opens: Clock
    closes: Clock


class Calendar(Output):
    """The country and region whose public holidays the desk keeps (ISO 3166)."""

    country: str
    subdivision: str | None


class Tariff(Output):
    amount: str
    currency: str
    per_minutes: int
    note: Texts


class HelpDesk(Output):
    id: str
    names: Texts
    phone: str = Field(description="E.164.")
    language: Language
    time_zone: str
    weekdays: list[Weekday]
    hours: list[OpeningHours] = Field(description="In the desk's time zone.")
    calendar: Calendar
    tariff: Tariff | None
    open: bool
    changes_at: datetime = Field(description="When it next opens or closes.")

    @classmethod
    def of(cls, desk: document.HelpDesk, at: datetime) -> "HelpDesk":
        now = state(desk.schedule, at)
        shown = desk.model_dump(mode="json", exclude={"countries"})
        return cls.model_validate({**shown, "open": now.open, "changes_at": now.changes_at})


class HelpDesks(Output):
    items: list[HelpDesk]


def _in_force(policies: Policies, at: datetime) -> document.Policy:
    return policies.in_force(civil_date(at, policies.zone))


@published.reads("/service-matrix", ServiceMatrix, None)
async def get_service_matrix(context: Ctx, query: Annotated[AtQuery, FromQuery()]) -> Response:
    """The policy in force: who may use what, what pays for it, and where that is written."""
    return ok(context, ServiceMatrix.of(_in_force(context.policies, query.at or context.now)))


@published.reads("/help-desks", HelpDesks, None)
async def list_help_desks(context: Ctx, query: Annotated[AtQuery, FromQuery()]) -> Response:
    """Every help desk, whether it is open, and when that changes."""
    at = query.at or context.now
    desks = _in_force(context.policies, at).help_desks
    return ok(context, HelpDesks(items=[HelpDesk.of(desk, at) for desk in desks]))
