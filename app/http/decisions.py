"""A decision on the wire: names, messages and contacts in the caller's language."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import Field

from app.http.encoding import json_bytes
from app.http.fields import Output
from app.http.languages import Language
from app.policy import civil
from app.policy.civil import Closures, DeskState
from app.policy.decide import Answer, Decision, continuing
from app.policy.document import Column, HelpDesk, Policies, Policy, Service
from app.policy.explain import explain
from app.policy.facts import Contract, Facts, Grant, ReasonCode, ServiceAnswer, ServiceYear, Step
from app.policy.messages import message
from app.store.facts import Known

MOST_CONTINUING = 100
"""The open cases that a service names."""
MOST_PACKS = 100
"""The packs among the allowances of an answer. The grants count the tickets of all of them."""


class CustomerName(Output):
    """The customer that an answer is about."""

    id: UUID
    code: str
    name: str


class GrantBody(Output):
    """One column that grants the service, and what pays for a case under it."""

    column: Column
    paid_by: Literal["free_hours", "contract", "ticket", "none"]
    remaining_minutes: int | None = Field(default=None, description="Where hours pay.")
    remaining_tickets: int | None = Field(default=None, description="Where tickets pay.")


class ReasonBody(Output):
    """Why a column does not grant a service."""

    column: Column
    code: ReasonCode = Field(description="What the reason is, for a program to branch on.")
    message: str
    facts: dict[str, Any]


class SalesContactBody(Output):
    """Whom to ask about a purchase."""

    email: str
    name: str


class ServiceBody(Output):
    """Whether the customer may use a service, and why."""

    service: Service
    name: str
    allowed: bool
    granted_by: list[GrantBody]
    reasons: list[ReasonBody]
    unlocked_by: list[Step]
    sales_contact: SalesContactBody | None = Field(
        default=None,
        description="Whom to ask if buying something would change the answer; otherwise absent.",
    )
    continues: list[str] = Field(
        description=(
            "Numbers of the open cases for which it continues, at most 100, oldest first; "
            "`GET /v1/cases` lists all."
        )
    )


class HoursBody(Output):
    """Free hours, or a contract's."""

    kind: Literal["free_hours", "contract"]
    id: UUID | None = None
    number: str | None = None
    starts_on: date
    ends_on: date
    granted_minutes: int
    used_minutes: int
    remaining_minutes: int
    overrun_minutes: int
    suspended: bool | None = Field(default=None, description="A contract without an Editor.")


class PackBody(Output):
    """A ticket pack with tickets that can still be used, or are in use."""

    kind: Literal["ticket_pack"]
    id: UUID | None = Field(description="Null for what a simulation only assumes.")
    number: str | None
    starts_on: date
    ends_on: date
    quantity: int
    available: int
    held: int
    consumed: int
    cancelled: int = Field(description="Tickets taken out of the pack unused.")


class DeskClosure(Output):
    """A closure of a help desk, in the answer's language."""

    starts_at: datetime
    ends_at: datetime
    reason: str


class HelpDeskState(Output):
    """The help desk of a customer, and whether it is open."""

    id: str = Field(description="The id of the desk, such as `it`.")
    phone: str = Field(description="E.164.")
    language: Language = Field(description="The language that is spoken there.")
    open: bool
    changes_at: datetime
    closure: DeskClosure | None = Field(
        default=None,
        description="The closure without which the desk would be in another state, or change at"
        " another instant; otherwise absent.",
    )


class RuleBody(Output):
    """A rule that was tested."""

    clause: str
    test: str
    passed: bool
    record: dict[str, Any] | None


class ColumnBody(Output):
    """A column with the rules that were tested for it."""

    column: Column
    stands: bool
    rules: list[RuleBody]


class EntitlementsBody(Output):
    """A customer's whole service matrix at an instant."""

    customer: CustomerName
    at: datetime
    on: date
    valid_until: datetime | None = Field(
        description="The next instant at which time alone changes anything but the desk's state."
    )
    policy: str
    columns: list[Column]
    # Before the other lists: OpenAPI Generator's Python client gives one variable for all lists of
    # a model the type of the first, and would not type-check otherwise.
    allowances: list[HoursBody | PackBody] = Field(
        description=(
            "What is in force. Of ticket packs at most 100, those that end first; "
            "`GET /v1/ticket-packs` lists all, and `granted_by` counts the tickets of all."
        )
    )
    services: list[ServiceBody]
    help_desk: HelpDeskState
    explanation: list[ColumnBody] | None = Field(default=None, description="With `explain=true`.")


def sales_contact(policy: Policy, language: Language) -> dict[str, str]:
    contact = policy.sales_contact
    return {"email": contact.email, "name": getattr(contact.names, language)}


# Most customers have one of few grants of a service, and are denied it for one of few reasons: what
# is sent for these is kept as bytes.
_cached = lru_cache(4096)


@_cached
def _reason(
    column: Column, code: ReasonCode, facts: tuple[tuple[str, Any], ...], language: Language
) -> orjson.Fragment:
    known = dict(facts)
    told = message(code, known, language)
    return _fragment({"column": column, "code": code, "message": told, "facts": known})


def _fragment(content: object) -> orjson.Fragment:
    return orjson.Fragment(json_bytes(content))


def refusal_body(answer: ServiceAnswer, policy: Policy, language: Language) -> dict[str, Any]:
    """Why a service is denied, and what would change that."""
    body: dict[str, Any] = {
        "reasons": [
            _reason(one.column, one.code, tuple(one.facts.items()), language)
            for one in answer.reasons
        ],
        "unlocked_by": answer.unlocked_by,
    }
    if answer.unlocked_by:
        body["sales_contact"] = sales_contact(policy, language)
    return body


def desk_of(
    policy: Policy, customer: Known, at: datetime, closures: Closures
) -> tuple[HelpDesk, DeskState]:
    """The desk that a customer calls (R35), and its state at an instant (R36)."""
    desk = policy.desk_for(customer.country, customer.help_desk)
    return desk, civil.state(desk.schedule, at, closures.get(desk.id, ()))


def help_desk_body(desk: HelpDesk, state: DeskState, language: Language) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": desk.id,
        "phone": desk.phone,
        "language": desk.language,
        "open": state.open,
        "changes_at": state.changes_at,
    }
    if state.closure is not None:
        body["closure"] = {
            "starts_at": state.closure.starts_at,
            "ends_at": state.closure.ends_at,
            "reason": state.closure.because(language),
        }
    return body


def _granted(
    service: Service, name: str, granted_by: tuple[Grant, ...], continues: Sequence[str] = ()
) -> orjson.Fragment:
    """A service that is allowed."""
    granted = []
    for grant in granted_by:
        entry: dict[str, Any] = {"column": grant.column, "paid_by": grant.paid_by or "none"}
        if grant.paid_by is not None:
            unit = "remaining_tickets" if grant.paid_by == "ticket" else "remaining_minutes"
            entry[unit] = grant.remaining
        granted.append(entry)
    body = {
        "service": service,
        "name": name,
        "allowed": True,
        "granted_by": granted,
        "reasons": (),
        "unlocked_by": (),
        "continues": continues,
    }
    return _fragment(body)


_granted_without_cases = _cached(_granted)


def services_body(
    policy: Policy, answer: Answer, facts: Facts, language: Language
) -> list[dict[str, Any] | orjson.Fragment]:
    """All services, in the order of the matrix."""
    continues = continuing(policy, facts) if facts.open_cases else {}
    bodies: list[dict[str, Any] | orjson.Fragment] = []
    for row, service in zip(policy.services, answer.services, strict=True):
        name = getattr(row.names, language)
        cases = continues[row.id][:MOST_CONTINUING] if row.id in continues else ()
        if not service.granted_by:
            body = {"service": row.id, "name": name, "allowed": False, "granted_by": ()}
            body |= refusal_body(service, policy, language)
            body["continues"] = cases
            bodies.append(body)
        elif cases:
            bodies.append(_granted(row.id, name, service.granted_by, cases))
        else:
            bodies.append(_granted_without_cases(row.id, name, service.granted_by))
    return bodies


def _minutes_body(hours: ServiceYear | Contract) -> dict[str, Any]:
    return {
        "granted_minutes": hours.granted_minutes,
        "used_minutes": hours.used_minutes,
        "remaining_minutes": hours.remaining_minutes,
        "overrun_minutes": hours.overrun_minutes,
    }


def allowances_body(decision: Decision) -> list[dict[str, Any]]:
    """Those in force, suspended contracts, and packs with a ticket available or held (R13)."""
    answer = decision.answer
    found: list[dict[str, Any]] = []
    year = answer.service_year
    if year is not None:
        period = {"kind": "free_hours", "starts_on": year.starts_on, "ends_on": year.ends_on}
        found.append(period | _minutes_body(year))
    for contract in answer.contracts:
        period = {
            "kind": "contract",
            "id": contract.id,
            "number": contract.number,
            "starts_on": contract.starts_on,
            "ends_on": contract.closes_on,
        }
        found.append(period | _minutes_body(contract) | {"suspended": answer.suspended})
    for pack, available in answer.packs[:MOST_PACKS]:
        found.append(
            {
                "kind": "ticket_pack",
                "id": pack.id,
                "number": pack.number,
                "starts_on": pack.purchased_on,
                "ends_on": pack.ends_on,
                "quantity": pack.quantity,
                "available": available,
                "held": pack.held,
                "consumed": pack.consumed,
                "cancelled": pack.cancelled,
            }
        )
    return found


def entitlements_body(
    customer: Known,
    facts: Facts,
    decision: Decision,
    policies: Policies,
    at: datetime,
    desk: tuple[HelpDesk, DeskState],
    language: Language,
    *,
    explained: bool = False,
) -> dict[str, Any]:
    """The entitlement answer, ready to be serialised; `desk` as from `desk_of`."""
    policy = decision.standing.policy
    until = decision.valid_until
    body: dict[str, Any] = {
        "customer": {"id": customer.id, "code": customer.code, "name": customer.name},
        "at": at,
        "on": decision.on,
        "valid_until": until and civil.start_of_day(until, policies.zone),
        "policy": decision.answer.policy,
        "columns": decision.answer.columns,
        "services": services_body(policy, decision.answer, facts, language),
        "allowances": allowances_body(decision),
        "help_desk": help_desk_body(*desk, language),
    }
    if explained:
        body["explanation"] = [
            {"column": column, "stands": stands, "rules": [rule._asdict() for rule in rules]}
            for column, stands, rules in explain(policies, facts, decision.standing)
        ]
    return body
