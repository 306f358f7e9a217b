"""The published rules: service matrix and help desks, open to any valid token (R34, R39)."""

from datetime import date, datetime, time
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field, PlainSerializer
from starlette.requests import Request
from starlette.responses import Response

from app.http.fields import LanguageCode, Output, Query, QueryInstant
from app.http.legacy import CACHED, Now, Route, Rules, needs, reads
from app.http.responses import json_response
from app.policy import document
from app.policy.civil import civil_date, state
from app.policy.document import COLUMNS, Channel, Column, PaidBy, Policies, Service, Weekday

router = APIRouter(route_class=Route, tags=["Published rules"])


class AtQuery(Query):
    at: QueryInstant | None = Field(default=None, description="Now, unless given.")


class Texts(Output):
    it: str
    en: str
    de: str


class Cell(Output):
    granted: bool
    pays: PaidBy | None = Field(description="What a case is counted against; null for nothing.")
    requires: PaidBy | None = Field(description="What must have something left.")
    provenance: Literal["stated", "inferred"]
    source: str | None = Field(description="The published words, where it is stated.")


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
    restart: Literal["any", "editor"] = Field(description="Whose purchase starts them anew.")


class ContractTerms(Output):
    minutes: int
    months: int


class TicketTerms(Output):
    months: int


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


class ServiceMatrix(Output):
    policy: str
    effective_from: date
    columns: list[Column]
    services: list[MatrixRow]
    development: Development
    allowances: Allowances
    advice: list[Advice]
    sales_contact: SalesContact


Clock = Annotated[time, PlainSerializer(lambda value: f"{value:%H:%M}", return_type=str)]


class OpeningHours(Output):
    opens: Clock
    closes: Clock


class Calendar(Output):
    """Whose public holidays the desk keeps (ISO 3166)."""

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
    language: LanguageCode
    time_zone: str
    weekdays: list[Weekday]
    hours: list[OpeningHours] = Field(description="In the desk's time zone.")
    calendar: Calendar
    tariff: Tariff | None
    open: bool
    changes_at: datetime = Field(description="When it next opens or closes.")


class HelpDesks(Output):
    items: list[HelpDesk]


def _matrix(policy: document.Policy) -> ServiceMatrix:
    services = [
        {"service": row.id, **row.model_dump(exclude={"id"}, mode="json")}
        for row in policy.services
    ]
    shared = ("development", "allowances", "advice", "sales_contact")
    return ServiceMatrix.model_validate(
        {
            "policy": policy.id,
            "effective_from": policy.effective_from,
            "columns": COLUMNS,
            "services": services,
            **{name: policy.model_dump(mode="json")[name] for name in shared},
        }
    )


def _desk(desk: document.HelpDesk, at: datetime) -> HelpDesk:
    now = state(desk.schedule, at)
    published = desk.model_dump(mode="json", exclude={"countries"})
    return HelpDesk.model_validate({**published, "open": now.open, "changes_at": now.changes_at})


def _in_force(policies: Policies, at: datetime) -> document.Policy:
    return policies.in_force(civil_date(at, policies.zone))


@router.get(
    "/service-matrix",
    operation_id="get_service_matrix",
    openapi_extra=needs(None),
    response_model=ServiceMatrix,
    responses={**reads(), **CACHED},
)
async def get_service_matrix(
    request: Request, now: Now, policies: Rules, query: Annotated[AtQuery, FromQuery()]
) -> Response:
    """The policy in force: who may use what, what pays for it, and where that is written."""
    return json_response(request, _matrix(_in_force(policies, query.at or now)))


@router.get(
    "/help-desks",
    operation_id="list_help_desks",
    openapi_extra=needs(None),
    response_model=HelpDesks,
    responses={**reads(), **CACHED},
)
async def list_help_desks(
    request: Request, now: Now, policies: Rules, query: Annotated[AtQuery, FromQuery()]
) -> Response:
    """Every help desk, whether it is open, and when that changes."""
    at = query.at or now
    items = [_desk(desk, at) for desk in _in_force(policies, at).help_desks]
    return json_response(request, HelpDesks(items=items))
