"""Opening a case, today or as of the past (R18, R23, R27, R33, R47).

It is bound to what pays for it, or refused with every reason.
"""

from datetime import date, datetime
from typing import Any, Literal, TypedDict
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import (
    InsufficientScope,
    NotEntitled,
    NotFound,
    RecordedRefusal,
    SerialNumberNotOfCustomer,
    SerialNumberRequired,
    TooManyOpenCases,
    TrainingNotCovered,
    invalid,
)
from app.ids import new_id
from app.policy.allocate import ALL, bind, refusal
from app.policy.civil import civil_date
from app.policy.decide import Decision, decide
from app.policy.document import Channel, PaidBy
from app.policy.facts import Facts
from app.services.bound_limits import keep_refusal
from app.services.cases import WHOLE, Category, PayWith, Priority, as_first, binding
from app.services.phones import e164
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, lock_customer
from app.store import events, lock
from app.store.direct import DirectStatement
from app.store.event_types import (
    CaseOpened,
    CaseRefused,
    DecisionRecord,
    EventType,
    on_the_wire,
)
from app.store.facts import Known, load
from app.store.ledger import Ledger
from app.store.tables import cases, contacts, customers, merged_customers


class Requester(TypedDict):
    """Who asks: a contact of the customer, or somebody named for this case alone."""

    contact_id: UUID | None
    name: str
    email: str | None
    phone: str | None


async def open_case(
    work: UnitOfWork,
    *,
    customer_id: str | None,
    requester: Requester,
    channel: Channel,
    category: Category | Literal["training"],
    priority_requested: Priority,
    pay_with: PayWith,
    serial_number: str | None,
    bound_open_cases: int,
    opened_at: datetime | None = None,
    **described: str | None,
) -> Row[Any]:
    """Open a case, bound to the allowance that pays for it; the case as `cases.read` gives it.

    `customer_id` is an id or code, and may be None for a caller bound to a customer. `described`
    are the columns that tell the problem: `subject`, `description`, `product`, `product_version`,
    `steps_to_reproduce`, `example_url`. With `bound_open_cases` open cases, a caller bound to the
    customer opens no more. `opened_at` is an instant in the past, for staff alone: the case is
    judged as of its day, and paid by what is left now (R47).

    Raises TrainingNotCovered, InsufficientScope, InvalidInput, CustomerNotFound, TooManyOpenCases,
    SerialNumberNotOfCustomer, SerialNumberRequired, NotFound for the requester, and NotEntitled as
    a RecordedRefusal.
    """
    if category == "training":
        raise TrainingNotCovered
    if opened_at is not None and not work.caller.may("cases:work"):
        raise InsufficientScope("cases:work")
    named = customer_id or work.caller.customer_id
    if named is None:
        raise invalid("/customer_id", "missing")
    owner = await lock_customer(work, named)
    customer = await load(work.connection, owner)
    facts = customer.facts()
    if work.caller.customer_id is not None and len(facts.open_cases) >= bound_open_cases:
        raise TooManyOpenCases(bound_open_cases)
    if opened_at is None:
        opened_at, day = work.now, work.today
    else:
        day = await _day_in_the_past(work, owner, facts, opened_at)
    serial_verified = verify_serial(facts, serial_number, day)
    requested_by = await requester_columns(work, customer, requester)

    decision = decide(work.policies, facts, day)
    # Only staff record a bug, for any customer; nothing pays for it (R23).
    is_bug = category == "bug" and work.caller.may("cases:work")
    wanted: PaidBy | None = None if pay_with == "auto" else pay_with
    kinds = ALL if wanted is None else (wanted,)
    source = None if is_bug else bind(decision.standing, channel, kinds)
    if source is None and not is_bug:
        raise refused(work, owner, facts, decision, channel, pay_with, wanted)

    ledger = Ledger(work.connection, work.policies, owner, work.now)
    bound = await binding(ledger, facts, source)
    case_id = new_id()
    opened = await insert_case(
        work,
        day,
        {
            **described,
            **requested_by,
            **bound._asdict(),
            **as_first(bound),
            "id": case_id,
            "customer_id": owner,
            "serial_number": serial_number,
            "serial_verified": serial_verified,
            "channel": channel,
            "category": "problem" if category == "bug" and not is_bug else category,
            "priority_requested": priority_requested,
            # The customer's wish holds until the technician sets another priority (R31).
            "priority": priority_requested,
            "priority_support": has_priority_support(decision),
            "state": "open",
            "opened_on": day,
            "opened_at": opened_at,
            "updated_at": work.now,
        },
    )
    if bound.ticket is not None:
        await ledger.relive(case_id, *bound.ticket, [(opened_at, day, "open")])
    event: CaseOpened = {
        "number": opened.number,
        "state": "open",
        "paid_by": bound.paid_by,
        "channel": channel,
        "subject": opened.subject,
        "decision": kept(decision, bound.allowance_id),
    }
    if opened_at < work.now:
        event["as_of"] = on_the_wire(opened_at)
    await work.record(
        EventType.CASE_OPENED,
        event,
        customer_id=owner,
        subject_id=case_id,
        case_id=case_id,
    )
    return opened


async def _day_in_the_past(
    work: UnitOfWork, customer_id: UUID, facts: Facts, opened_at: datetime
) -> date:
    """The civil date of an instant in the past. Raises InvalidInput.

    Nothing is known of a customer before its own record, or one that was merged into it, or its
    first licence, contract or pack if that is earlier.
    """
    if opened_at > work.now:
        raise invalid("/opened_at", "in_future")
    day = civil_date(opened_at, work.policies.zone)
    found = await work.connection.execute(_RECORDED_AT, {"customer": customer_id})
    known = [
        civil_date(found.scalar_one(), work.policies.zone),
        *(licence.held_from or licence.purchased_on for licence in facts.licences),
        *(start for licence in facts.licences for start, _ in licence.earlier),
        *(contract.starts_on for contract in facts.contracts),
        *(pack.purchased_on for pack in facts.packs),
    ]
    if day < min(known):
        raise invalid("/opened_at", "before_first_fact")
    return day


def verify_serial(facts: Facts, serial_number: str | None, today: date) -> bool:
    """Whether a serial number is that of a licence which the customer holds (R27).

    A holder of an Editor must name one. Raises SerialNumberRequired, SerialNumberNotOfCustomer.
    """
    held = {lic.serial_number.lower(): lic for lic in facts.licences if lic.held(today)}
    verified = serial_number is not None and serial_number.lower() in held
    if not verified and any(licence.kind == "editor" for licence in held.values()):
        raise SerialNumberRequired if serial_number is None else SerialNumberNotOfCustomer
    return verified


def has_priority_support(decision: Decision) -> bool:
    """The customer could open a case paid by a contract (R31)."""
    return any(s.service == "priority_support" and s.allowed for s in decision.answer.services)


async def requester_columns(
    work: UnitOfWork, customer: Known, requester: Requester
) -> dict[str, Any]:
    """Who asks, as columns of a case. Raises NotFound for the contact, InvalidInput."""
    contact_id, phone = requester["contact_id"], requester["phone"]
    if contact_id is not None:
        contact = await find(work, contacts, contact_id)
        if contact.customer_id != customer.id:
            raise NotFound
    number = phone and e164(phone, customer.country)
    if phone and number is None:
        raise invalid("/requester/phone", "not_a_phone_number")
    return {
        "requester_contact_id": contact_id,
        "requester_name": requester["name"],
        "requester_email": requester["email"],
        "requester_phone": number,
    }


_MERGED = select(merged_customers.c.customer_id).where(
    merged_customers.c.survivor_id == bindparam("customer")
)
_RECORDED_AT = select(func.min(customers.c.created_at)).where(
    or_(customers.c.id == bindparam("customer"), customers.c.id.in_(_MERGED))
)
# Selected FROM nextval so that the sequence advances once. At least six digits, never cut.
_RUNNING_NUMBER: ColumnElement[str] = literal_column(
    "(SELECT lpad(n::text, greatest(6, length(n::text)), '0') FROM nextval('case_numbers') n)",
    Text,
)
_INSERT = DirectStatement(
    insert(cases)
    .values(number=bindparam("opening_year", type_=Text).concat(_RUNNING_NUMBER))
    .returning(*WHOLE)
)


async def insert_case(work: UnitOfWork, day: date, values: dict[str, Any]) -> Row[Any]:
    """The new case. Its number: year of opening, then one sequence that never restarts (R26)."""
    values["opening_year"] = f"{day.year}-"
    return await _INSERT.one(work.connection, values)


def kept(decision: Decision, allowance_id: UUID | None) -> DecisionRecord:
    """What an event keeps of a decision (R33)."""
    return {
        "policy": decision.answer.policy,
        "columns": decision.answer.columns,
        "allowance_id": None if allowance_id is None else str(allowance_id),
    }


def refused(
    work: UnitOfWork,
    customer_id: UUID,
    facts: Facts,
    decision: Decision,
    channel: Channel,
    pay_with: PayWith,
    wanted: PaidBy | None,
) -> RecordedRefusal:
    """NotEntitled with every reason, and its record (R33)."""
    answer = refusal(work.policies, facts, decision, channel, wanted)
    event: CaseRefused = {
        "channel": channel,
        "pay_with": pay_with,
        "decision": {
            **kept(decision, None),
            "reasons": [f"{reason.column}:{reason.code}" for reason in answer.reasons],
            "unlocked_by": answer.unlocked_by,
        },
    }

    async def record(connection: AsyncConnection) -> None:
        # Lock again: the rollback has released the lock. Without it another event of this customer
        # could be committed after this one and have a lower number.
        await lock.customer(connection, customer_id)
        if work.caller.customer_id is not None:
            await keep_refusal(connection, work, customer_id, event)
            return
        await events.record(
            connection,
            EventType.CASE_REFUSED,
            work.caller.actor,
            work.now,
            customer_id=customer_id,
            data=event,
        )

    return RecordedRefusal(NotEntitled(answer, decision.standing.policy), record)
