"""Opening a case: bound to what pays, or refused with every reason (R18, R23, R27, R33)."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import ColumnElement, Text, bindparam, insert, literal_column
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.errors import (
    CustomerNotFound,
    NotEntitled,
    NotFound,
    RecordedRefusal,
    SerialNumberNotOfCustomer,
    SerialNumberRequired,
    TrainingNotCovered,
    invalid,
)
from app.http.legacy import (
    Connection,
    CurrentCaller,
    Now,
    Route,
    Rules,
    Today,
    find,
    lock_named_customer,
    needs,
    posts,
)
from app.http.responses import json_response
from app.ids import new_id
from app.policy.allocate import bind, grants_bug, kind_of, refusal
from app.policy.decide import Decision, decide
from app.policy.document import PaidBy
from app.policy.facts import Facts, ServiceAnswer
from app.routers.cases.records import REPRESENTATION, bound_to, case_of
from app.routers.cases.shapes import Case, NewCase, RequesterFields
from app.services.phones import e164
from app.services.unit_of_work import Caller
from app.store import events
from app.store.facts import Known, load
from app.store.ledger import Ledger
from app.store.tables import cases, contacts

router = APIRouter(route_class=Route)


@router.post(
    "/cases",
    status_code=201,
    operation_id="open_case",
    openapi_extra=needs("cases:write"),
    response_model=Case,
    responses=posts(
        CustomerNotFound,
        NotFound,
        NotEntitled,
        TrainingNotCovered,
        SerialNumberRequired,
        SerialNumberNotOfCustomer,
    ),
)
async def open_case(
    request: Request,
    body: NewCase,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
) -> Response:
    """Open a case for a customer; 409 with all reasons where nothing pays for it."""
    if body.category == "training":
        raise TrainingNotCovered
    customer_id = body.customer_id or caller.customer_id
    if customer_id is None:
        raise invalid("/customer_id", "missing")
    await lock_named_customer(connection, caller, customer_id)
    customer = await load(connection, customer_id)
    facts = customer.facts()
    _check_serial_number(facts, body.serial_number, today)
    requester = await _requester(connection, caller, customer, body.requester)

    decision = decide(policies, facts, today)
    # Whether it is a bug is for staff to find; others report a problem (R23).
    is_bug = body.category == "bug" and caller.may("cases:work")
    pay_with: PaidBy | None = None if body.pay_with == "auto" else body.pay_with
    source = None if is_bug else bind(decision, body.channel, pay_with)
    if source is None and not (is_bug and grants_bug(decision.standing, body.channel)):
        answer = refusal(policies, facts, decision, body.channel, pay_with)
        raise _refused(request, caller, now, customer, decision, answer, body)

    ledger = Ledger(connection, policies, customer_id, now)
    allowance_id = await ledger.allowance_id(facts, source)
    position = None
    if source is not None and source.kind == "ticket" and allowance_id is not None:
        position = await ledger.free_position(allowance_id)
    bound = bound_to(source, allowance_id, position)
    case_id = new_id()
    priority_support = any(
        s.service == "priority_support" and s.allowed for s in decision.answer.services
    )
    opened = await _insert(
        connection,
        {
            **body.model_dump(exclude={"customer_id", "requester", "pay_with", "category"}),
            **requester,
            **bound,
            **{f"first_{name}": value for name, value in bound.items()},
            "id": case_id,
            "customer_id": customer_id,
            "category": "problem" if body.category == "bug" and not is_bug else body.category,
            # The customer's wish holds until the technician says otherwise (R31).
            "priority": body.priority_requested,
            "priority_support": priority_support,
            "state": "open",
            "opened_on": today,
            "opened_at": now,
            "updated_at": now,
        },
    )
    if position is not None and allowance_id is not None:
        await ledger.hold(case_id, allowance_id, position, today)
    await events.record(
        connection,
        "case.opened",
        caller.actor,
        now,
        customer_id=customer_id,
        subject_id=case_id,
        case_id=case_id,
        data={
            "number": opened.number,
            "state": "open",
            "paid_by": kind_of(source),
            "channel": body.channel,
            "subject": body.subject,
            "decision": _decision(decision, allowance_id),
        },
    )
    return json_response(request, opened, 201, {"Location": f"/v1/cases/{case_id}"})


def _check_serial_number(facts: Facts, serial_number: str | None, today: date) -> None:
    """R27: a holder of an Editor names a licence of its own, not withdrawn."""
    held = {lic.serial_number.lower(): lic for lic in facts.licences if lic.held(today)}
    if serial_number is not None:
        if serial_number.lower() not in held:
            raise SerialNumberNotOfCustomer
    elif any(licence.kind == "editor" for licence in held.values()):
        raise SerialNumberRequired


async def _requester(
    connection: AsyncConnection, caller: Caller, customer: Known, given: RequesterFields
) -> dict[str, Any]:
    if given.contact_id is not None:
        await _contact(connection, caller, customer.id, given.contact_id)
    phone = given.phone and e164(given.phone, customer.country)
    if given.phone and phone is None:
        raise invalid("/requester/phone", "not_a_phone_number")
    return {
        "requester_contact_id": given.contact_id,
        "requester_name": given.name,
        "requester_email": given.email,
        "requester_phone": phone,
    }


async def _contact(
    connection: AsyncConnection, caller: Caller, customer_id: UUID, contact_id: UUID
) -> None:
    row = await find(connection, caller, contacts, contact_id)
    if row.customer_id != customer_id:
        raise NotFound


# Taken once, as a table; padded to six digits and never cut to them.
_RUNNING_NUMBER: ColumnElement[str] = literal_column(
    "(SELECT lpad(n::text, greatest(6, length(n::text)), '0') FROM nextval('case_numbers') n)",
    Text,
)
_INSERT = (
    insert(cases)
    .values(number=bindparam("opening_year", type_=Text).concat(_RUNNING_NUMBER))
    .returning(*REPRESENTATION)
)


async def _insert(connection: AsyncConnection, fields: dict[str, Any]) -> Case:
    """The new case. Its number: year of opening, then one sequence that never restarts (R26)."""
    fields = {**fields, "opening_year": f"{fields['opened_on'].year}-"}
    return case_of((await connection.execute(_INSERT, fields)).one())


def _decision(decision: Decision, allowance_id: UUID | None) -> dict[str, Any]:
    """What is kept of a decision (R33)."""
    return {
        "policy": decision.answer.policy,
        "columns": decision.answer.columns,
        "allowance_id": allowance_id and str(allowance_id),
    }


def _refused(
    request: Request,
    caller: Caller,
    now: datetime,
    customer: Known,
    decision: Decision,
    answer: ServiceAnswer,
    body: NewCase,
) -> RecordedRefusal:
    policy = decision.standing.policy
    problem = NotEntitled(answer, policy)

    async def record(connection: AsyncConnection) -> None:
        await events.record(
            connection,
            "case.refused",
            caller.actor,
            now,
            customer_id=customer.id,
            data={
                "channel": body.channel,
                "pay_with": body.pay_with,
                "decision": _decision(decision, None)
                | {
                    "reasons": [f"{r.column}:{r.code}" for r in answer.reasons],
                    "unlocked_by": answer.unlocked_by,
                },
            },
        )

    return RecordedRefusal(problem, record)
