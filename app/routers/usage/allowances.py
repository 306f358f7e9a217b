"""GET /v1/customers/{id}/usage: every allowance, and the totals."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from app.http.decisions import CustomerName
from app.http.etags import weak_etag
from app.http.fields import Key, Output, Query, QueryInstant
from app.http.legacy import CACHED, Connection, CurrentCaller, Now, Route, Rules, find, needs, reads
from app.http.responses import json_bytes, json_response
from app.policy.civil import civil_date
from app.policy.usage import Allowance, AllowanceState, every_allowance
from app.store import usage
from app.store.tables import customers

router = APIRouter(route_class=Route, tags=["Usage"])


class HoursUsage(Output):
    """Free hours, or a contract's: granted = used + remaining + lapsed."""

    kind: Literal["free_hours", "contract"]
    id: UUID | None = None
    number: str | None = None
    starts_on: date
    ends_on: date = Field(description="A cancelled contract's is the day of its cancellation.")
    state: AllowanceState
    granted_minutes: int
    used_minutes: int
    remaining_minutes: int = Field(description="What can still be used.")
    lapsed_minutes: int = Field(description="What was left when the allowance ended.")
    overrun_minutes: int


class TicketsUsage(Output):
    """A ticket pack: quantity = available + held + consumed + expired."""

    kind: Literal["ticket_pack"]
    id: UUID
    number: str
    starts_on: date
    ends_on: date
    state: AllowanceState
    quantity: int
    available: int
    held: int
    consumed: int
    expired: int


class CaseTotals(Output):
    opened: int = Field(description="All: open, closed and cancelled.")
    open: int
    closed: int
    cancelled: int


class TotalsBody(Output):
    cases: CaseTotals
    worked_minutes: int
    charged_minutes: int = Field(description="The part that allowances paid for.")
    overrun_minutes: int = Field(description="The part that nothing covers.")


class UsageBody(Output):
    """A customer's allowances and totals at an instant."""

    customer: CustomerName
    at: datetime
    on: date
    allowances: list[HoursUsage | TicketsUsage]
    totals: TotalsBody


class UsageQuery(Query):
    at: QueryInstant | None = None


@router.get(
    "/customers/{customer}/usage",
    operation_id="get_customer_usage",
    openapi_extra=needs("usage:read"),
    response_model=UsageBody,
    response_model_exclude_unset=True,
    responses={**reads(NotFound), **CACHED},
)
async def get_customer_usage(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
    customer: Key,
    query: Annotated[UsageQuery, FromQuery()],
) -> Response:
    """Every allowance that the customer ever had, ended ones included, and the totals.

    At a past instant: charges worked up to that day as known now, tickets and cases as they were.
    """
    row = await find(connection, caller, customers, customer)
    at = query.at or now
    on = civil_date(at, policies.zone)
    known, totals = await usage.usage(connection, row.id, (at, on) if at < now else None)
    body: dict[str, Any] = {
        "customer": {"id": known.id, "code": known.code, "name": known.name},
        "on": on,
        "allowances": [
            _allowance_body(one)
            for one in every_allowance(policies, known.facts(), on)
            # Contracts are signed ahead of their first day; nothing else is known before it.
            if one.state != "upcoming" or one.kind == "contract"
        ],
        "totals": {
            "cases": {
                name: getattr(totals, name) for name in ("opened", "open", "closed", "cancelled")
            },
            "worked_minutes": totals.worked_minutes,
            "charged_minutes": totals.charged_minutes,
            "overrun_minutes": totals.overrun_minutes,
        },
    }
    # Asked about now, only the instant differs from one answer to the next.
    etag = weak_etag(json_bytes(body)) if query.at is None else True
    return json_response(request, {**body, "at": at}, etag=etag)


def _allowance_body(one: Allowance) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": one.kind,
        "starts_on": one.starts_on,
        "ends_on": one.ends_on,
        "state": one.state,
    }
    if one.kind != "free_hours":
        body |= {"id": one.key, "number": one.number}
    if one.kind == "ticket_pack":
        return body | {
            "quantity": one.granted,
            "available": one.left,
            "held": one.held,
            "consumed": one.used,
            "expired": one.lapsed,
        }
    return body | {
        "granted_minutes": one.granted,
        "used_minutes": one.used,
        "remaining_minutes": one.left,
        "lapsed_minutes": one.lapsed,
        "overrun_minutes": one.overrun,
    }
