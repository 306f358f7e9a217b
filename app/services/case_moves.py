"""A case of the wrong customer becomes one of the right customer (R47).

Nothing of it is edited away: here everything that it counted is taken back and it ends, there a new
case begins at the same instant.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Uuid, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB

from app.errors import AlreadyExists
from app.ids import new_id
from app.policy.allocate import bind
from app.policy.civil import civil_date
from app.policy.decide import decide
from app.services.case_opening import (
    has_priority_support,
    insert_case,
    kept,
    refused,
    verify_serial,
)
from app.services.case_steps import LockedCase
from app.services.cases import COMMENT_ID, as_first, binding, read
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, lock_customers, named_customer
from app.store.entries import Work
from app.store.event_types import CaseOpened, EventType, Moving, on_the_wire
from app.store.facts import load
from app.store.ledger import Ledger
from app.store.tables import calls, cases, events, time_entries

# What the new case has of the old one. The contact is one of the wrong customer's.
_KEPT = (
    "requester_name",
    "requester_email",
    "requester_phone",
    "product",
    "product_version",
    "channel",
    "category",
    "priority_requested",
    "priority",
    "subject",
    "description",
    "steps_to_reproduce",
    "example_url",
    "technician",
    "state",
    "resolution",
    "opened_on",
    "opened_at",
    "closed_at",
    "texts_cleared_at",
)
_STATES = (
    select(events.c.occurred_at, events.c.data)
    .where(
        events.c.case_id == bindparam("of_case"),
        events.c.data.has_key("paid_by"),
        events.c.data.has_key("state"),
    )
    .order_by(events.c.id)
)
_ENTRIES = (
    select(time_entries)
    .where(time_entries.c.case_id == bindparam("of_case"), time_entries.c.reversed_at.is_(None))
    .order_by(time_entries.c.worked_at, time_entries.c.recorded_at, time_entries.c.id)
)
_COMMENTS = (
    select(
        events.c.type,
        events.c.actor,
        events.c.actor_id,
        events.c.occurred_at,
        bindparam("there", type_=Uuid).label("customer_id"),
        bindparam("new_case", type_=Uuid).label("subject_id"),
        bindparam("new_case", type_=Uuid).label("case_id"),
        events.c.data.concat(func.jsonb_build_object("comment_id", COMMENT_ID))
        .concat(bindparam("changed", type_=JSONB))
        .label("data"),
    )
    .where(
        events.c.case_id == bindparam("of_case"), events.c.type == EventType.CASE_COMMENTED.value
    )
    .order_by(events.c.id)
)
_COPY_COMMENTS = insert(events).from_select(_COMMENTS.selected_columns.keys(), _COMMENTS)
# By the customer, because no index has the cases of calls.
_MOVE_CALLS = (
    update(calls)
    .where(calls.c.customer_id == bindparam("here"), calls.c.case_id == bindparam("of_case"))
    .values(customer_id=bindparam("there"), case_id=bindparam("new_case"))
)
_REVERSE = update(time_entries).where(
    time_entries.c.case_id == bindparam("of_case"), time_entries.c.reversed_at.is_(None)
)

States = Sequence[tuple[datetime, date, str]]
"""The states of a case: each with its instant and the civil date of that, oldest first."""


async def lock(work: UnitOfWork, key: str, customer_id: str) -> list[UUID]:
    """Lock the customer of a case and the one named by id or code: their ids.

    Raises NotFound, CustomerNotFound, and AlreadyExists if they are one.
    """
    here: UUID = (await find(work, cases, key)).customer_id
    there = await named_customer(work, customer_id)
    if here == there:
        raise AlreadyExists("customer_id")
    await lock_customers(work, here, there)
    return [here, there]


async def move(
    work: UnitOfWork,
    key: str,
    *,
    customer_id: str,
    reason: str,
    serial_number: str | None = None,
    as_overrun: bool = False,
) -> Row[Any]:
    """Move a case to the customer with an id or code; the new case as `cases.read` gives it.

    `serial_number`: by default the case's own. The new case is bound by R18 as of the day of
    opening, has the comments, and its time is charged as of the days worked. Where nothing pays,
    the move is refused, or its minutes are overrun with `as_overrun`.

    Raises NotFound, CustomerNotFound, AlreadyExists for the case's own customer, WrongState,
    SerialNumberNotOfCustomer, SerialNumberRequired, and NotEntitled as a RecordedRefusal.
    """
    _, there = await lock(work, key, customer_id)
    old = LockedCase(work, await find(work, cases, key))
    state = old.next("move")
    entries = (await work.connection.execute(_ENTRIES, {"of_case": old.id})).all()
    new = await _begin(work, old, there, serial_number, as_overrun, entries)
    details: Moving = {"moved_to": new.number, "reason": reason}
    if covered := await _take_back(old, entries, reason):
        details["covered"] = covered
    fields = {"state": state, "closed_at": None, "moved_to": new.id}
    await old.change(EventType.CASE_MOVED, fields, details)
    return await read(work, new.id)


async def _begin(
    work: UnitOfWork,
    old: LockedCase,
    customer_id: UUID,
    serial_number: str | None,
    as_overrun: bool,
    entries: Sequence[Row[Any]],
) -> Row[Any]:
    """The new case, in the state of the old one and with its time, charged."""
    row = old.row
    day, channel, is_bug = row.opened_on, row.channel, row.category == "bug"
    serial_number = serial_number or row.serial_number
    facts = (await load(work.connection, customer_id)).facts()
    serial_verified = verify_serial(facts, serial_number, day)
    decision = decide(work.policies, facts, day)
    source = None if is_bug else bind(decision.standing, channel)
    if source is None and not (is_bug or as_overrun):
        raise refused(work, customer_id, facts, decision, channel, "auto", None)

    ledger = Ledger(work.connection, work.policies, customer_id, work.now)
    bound = await binding(ledger, facts, source)
    case_id = new_id()
    new = await insert_case(
        work,
        day,
        {
            **{name: row._mapping[name] for name in _KEPT},
            **bound._asdict(),
            **as_first(bound),
            "id": case_id,
            "customer_id": customer_id,
            "requester_contact_id": None,
            "serial_number": serial_number,
            "serial_verified": serial_verified,
            "priority_support": has_priority_support(decision),
            "updated_at": work.now,
            "moved_from": row.id,
        },
    )
    states = await _states(work, old)
    if bound.ticket is not None:
        await ledger.relive(case_id, *bound.ticket, states)
    worked = await _copy_time(work, entries, customer_id, case_id)
    if not is_bug:
        await ledger.charge(facts, case_id, source, channel, worked)
    event: CaseOpened = {
        "number": new.number,
        "state": new.state,
        "paid_by": bound.paid_by,
        "channel": channel,
        "subject": new.subject,
        "decision": kept(decision, bound.allowance_id),
        "as_of": on_the_wire(new.opened_at),
        "moved_from": row.number,
        "history": [{"at": on_the_wire(at), "state": state} for at, _, state in states],
    }
    await work.record(
        EventType.CASE_OPENED, event, customer_id=customer_id, subject_id=case_id, case_id=case_id
    )
    # What was said belongs to the right customer: each comment by whom and when it was made.
    await work.connection.execute(
        _COPY_COMMENTS,
        {
            "of_case": row.id,
            "there": customer_id,
            "new_case": case_id,
            "changed": {"number": new.number},
        },
    )
    await work.connection.execute(
        _MOVE_CALLS,
        {"here": row.customer_id, "of_case": row.id, "there": customer_id, "new_case": case_id},
    )
    return new


async def _copy_time(
    work: UnitOfWork, entries: Sequence[Row[Any]], customer_id: UUID, case_id: UUID
) -> list[Work]:
    """The time entries of a case as those of another, in the order worked."""
    if not entries:
        return []
    copies: list[dict[str, Any]] = [
        {**row._mapping, "id": new_id(), "customer_id": customer_id, "case_id": case_id}
        for row in entries
    ]
    await work.connection.execute(insert(time_entries), copies)
    return [
        Work(copy["id"], copy["worked_on"], copy["worked_at"], copy["minutes"]) for copy in copies
    ]


async def _take_back(
    old: LockedCase, entries: Sequence[Row[Any]], reason: str
) -> list[dict[str, Any]]:
    """Reverse all that a case counted. Returns what the minutes given back cover (R22)."""
    work = old.work
    covered = await old.ledger.reverse(old.id, [entry.id for entry in entries])
    await work.connection.execute(
        _REVERSE, {"of_case": old.id, "reversed_at": work.now, "reversal_reason": reason}
    )
    await old.ledger.undo_tickets(old.id, work.today)
    return covered


async def _states(work: UnitOfWork, old: LockedCase) -> States:
    """The states through which a case has gone; of one moved before, from its opening on."""
    found: list[tuple[datetime, str]] = []
    for event in await work.connection.execute(_STATES, {"of_case": old.id}):
        steps = event.data.get("history") or [
            {"at": event.data.get("as_of"), "state": event.data["state"]}
        ]
        for step in steps:
            at = datetime.fromisoformat(step["at"]) if step["at"] else event.occurred_at
            if not found or found[-1][1] != step["state"]:
                found.append((at, step["state"]))
    return [(at, civil_date(at, work.policies.zone), state) for at, state in found]
