"""GET /v1/entitlements/forecast: what time alone will change, step by step."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AmbiguousLookup, AnonymousCaller, CustomerNotFound, invalid
from app.http.decisions import CustomerName, ServiceBody, services_body
from app.http.fields import Output, QueryInstant
from app.http.languages import language_of
from app.http.legacy import Route, needs, reads
from app.http.responses import json_response
from app.policy.civil import add_months, civil_date, start_of_day
from app.policy.decide import answer_on, changing_days
from app.policy.document import Column, Policies
from app.routers.entitlements.lookups import LookupQuery, find_customers, the_one

router = APIRouter(prefix="/v1", route_class=Route, tags=["Entitlements"])

LONGEST_MONTHS = 120


class ForecastQuery(LookupQuery):
    until: QueryInstant = Field(description="At most ten years from now.")


class ForecastStep(Output):
    at: datetime = Field(description="From this instant on, until the next step's.")
    on: date
    policy: str
    columns: list[Column]
    services: list[ServiceBody]


class ForecastBody(Output):
    customer: CustomerName
    until: datetime
    steps: list[ForecastStep]


@router.get(
    "/entitlements/forecast",
    operation_id="forecast_entitlements",
    openapi_extra=needs("entitlements:read", reads_token_itself=True),
    response_model=ForecastBody,
    responses=reads(CustomerNotFound, AmbiguousLookup, AnonymousCaller),
)
async def forecast(request: Request, query: Annotated[ForecastQuery, FromQuery()]) -> Response:
    """Columns and services from now on, if nobody does anything: each step begins where time
    alone changes them."""
    policies: Policies = request.app.state.policies
    now = request.state.now
    today = civil_date(now, policies.zone)
    last = civil_date(query.until, policies.zone)
    if query.until < now:
        raise invalid("query/until", "out_of_range")
    if last > add_months(today, LONGEST_MONTHS):
        raise invalid("query/until", "out_of_range")
    customer = the_one(await find_customers(request, query.lookup(), now, today))
    language = language_of(request)
    facts = customer.facts()
    steps: list[dict[str, Any]] = []
    shown: object = None
    for day in (today, *changing_days(policies, facts, today)):
        begins = now if day == today else start_of_day(day, policies.zone)
        if begins > query.until:
            break
        answer = answer_on(policies, facts, day)
        essence = (answer.policy, answer.columns, answer.services)
        if essence == shown:
            continue
        shown = essence
        steps.append(
            {
                "at": begins,
                "on": day,
                "policy": answer.policy,
                "columns": answer.columns,
                "services": services_body(policies.in_force(day), answer, facts, language),
            }
        )
    body = {
        "customer": {"id": customer.id, "code": customer.code, "name": customer.name},
        "until": query.until,
        "steps": steps,
    }
    return json_response(request, body, etag=False, headers={"Content-Language": language})
