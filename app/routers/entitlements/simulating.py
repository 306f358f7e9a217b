"""POST /v1/entitlements/simulation: what a licence, a contract or tickets would change."""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import (
    AmbiguousLookup,
    AnonymousCaller,
    CustomerNotFound,
    EditorLicenceRequired,
    NotEntitled,
    invalid,
)
from app.http.decisions import EntitlementsBody, entitlements_body
from app.http.fields import CivilDate, Input, Instant, Output
from app.http.languages import language_of
from app.http.legacy import Route, acts, needs
from app.http.responses import json_response
from app.policy.allocate import refusal
from app.policy.civil import civil_date
from app.policy.decide import decide
from app.policy.document import Channel, Column, PaidBy, Policies, Service
from app.policy.facts import LicenceKind
from app.policy.simulate import (
    AssumedContract,
    AssumedLicence,
    AssumedPack,
    AssumedTime,
    Assumption,
    EditorRequired,
    NothingPays,
    assume,
)
from app.routers.entitlements.lookups import LookupFields, find_customers, the_one

router = APIRouter(prefix="/v1", route_class=Route, tags=["Entitlements"])


class LicenceAssumed(Input):
    kind: Literal["licence"]
    licence_kind: LicenceKind = "editor"
    purchased_on: CivilDate | None = Field(default=None, description="The day asked about if not.")


class ContractAssumed(Input):
    kind: Literal["contract"]
    starts_on: CivilDate | None = Field(default=None, description="The day asked about if not.")
    included_minutes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class PackAssumed(Input):
    kind: Literal["ticket_pack"]
    quantity: Annotated[int, Field(ge=1, le=1000)] = 1
    purchased_on: CivilDate | None = Field(default=None, description="The day asked about if not.")


class TimeAssumed(Input):
    """A case opened, worked on for so long, and closed."""

    kind: Literal["time"]
    minutes: Annotated[int, Field(ge=1, le=1440)]
    channel: Channel = "email"
    pay_with: Literal["auto"] | PaidBy = "auto"


Assumed = Annotated[
    LicenceAssumed | ContractAssumed | PackAssumed | TimeAssumed, Field(discriminator="kind")
]


class Simulation(LookupFields, Input):
    at: Instant | None = None
    assume: Annotated[list[Assumed], Field(min_length=1, max_length=50)]


class ServiceChange(Output):
    service: Service
    allowed_before: bool
    allowed_after: bool


class Changes(Output):
    columns_gained: list[Column]
    columns_lost: list[Column]
    services: list[ServiceChange] = Field(description="Those whose answer differs at all.")


class SimulationBody(Output):
    before: EntitlementsBody
    after: EntitlementsBody
    changes: Changes


def _assumption(index: int, body: Assumed, on: date) -> Assumption:
    """Raises InvalidInput for a purchase after the day asked about."""
    match body:
        case LicenceAssumed():
            day = body.purchased_on or on
            assumed: Assumption = AssumedLicence(body.licence_kind, day)
        case PackAssumed():
            day = body.purchased_on or on
            assumed = AssumedPack(body.quantity, day)
        case ContractAssumed():
            # A contract may be signed for a day to come.
            return AssumedContract(body.starts_on or on, body.included_minutes)
        case TimeAssumed():
            pay_with = None if body.pay_with == "auto" else body.pay_with
            return AssumedTime(body.minutes, body.channel, pay_with)
    if day > on:
        raise invalid(f"/assume/{index}/purchased_on", "in_future")
    return assumed


@router.post(
    "/entitlements/simulation",
    operation_id="simulate_entitlements",
    openapi_extra=needs("entitlements:read", remembered=False, reads_token_itself=True),
    response_model=SimulationBody,
    responses=acts(
        CustomerNotFound, AmbiguousLookup, AnonymousCaller, EditorLicenceRequired, NotEntitled
    ),
)
async def simulate(request: Request, body: Simulation) -> Response:
    """The answer before and after, if these were bought or worked. Nothing is written."""
    policies: Policies = request.app.state.policies
    at = body.at or request.state.now
    on = civil_date(at, policies.zone)
    language = language_of(request)
    customer = the_one(await find_customers(request, body.lookup(""), at, on))
    assumptions = [_assumption(index, each, on) for index, each in enumerate(body.assume)]
    known = customer.facts()
    try:
        facts = assume(policies, known, on, assumptions)
    except EditorRequired:
        raise EditorLicenceRequired from None
    except NothingPays as nothing:
        raise _not_entitled(policies, nothing) from None
    before = decide(policies, known, on)
    after = decide(policies, facts, on)
    answer = {
        "before": entitlements_body(customer, known, before, policies, at, language),
        "after": _without_made_up_ids(
            entitlements_body(customer, facts, after, policies, at, language)
        ),
        "changes": {
            "columns_gained": [c for c in after.answer.columns if c not in before.answer.columns],
            "columns_lost": [c for c in before.answer.columns if c not in after.answer.columns],
            "services": [
                {
                    "service": was.service,
                    "allowed_before": was.allowed,
                    "allowed_after": will.allowed,
                }
                for was, will in zip(before.answer.services, after.answer.services, strict=True)
                if was != will
            ],
        },
    }
    return json_response(request, answer, etag=False, headers={"Content-Language": language})


def _not_entitled(policies: Policies, nothing: NothingPays) -> NotEntitled:
    assumed, decision = nothing.assumed, nothing.decision
    answer = refusal(policies, nothing.facts, decision, assumed.channel, assumed.pay_with)
    return NotEntitled(answer, decision.standing.policy)


def _without_made_up_ids(body: dict[str, Any]) -> dict[str, Any]:
    """What is only assumed has neither id nor number."""
    for allowance in body["allowances"]:
        if str(allowance.get("id", "")).startswith("~"):
            allowance["id"] = allowance["number"] = None
    return body
