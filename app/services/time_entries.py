"""Time entries: work recorded, charged, and reversed where it was wrong (R20, R21, R30)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    ColumnElement,
    Row,
    and_,
    bindparam,
    case,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from app.errors import AlreadyReversed, NotFound, WorkedBeforeOpening, invalid
from app.ids import new_id
from app.policy.civil import civil_date
from app.services.case_binding import charge
from app.services.case_steps import LockedCase
from app.services.cases import PAYER
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, visible
from app.store.direct import DirectStatement
from app.store.entries import Work
from app.store.event_types import EventType, RecordedTime, ReversedTime, on_the_wire
from app.store.tables import cases, time_entries

# What remains of an entry after reversals: its charges, on whatever allowance, and its overrun.
_STANDING: tuple[ColumnElement[Any], ...] = (
    literal_column(
        f"""coalesce((SELECT json_agg(json_build_object(
                'allowance', {PAYER.format(allowance="s.allowance_id")}, 'minutes', s.minutes)
                ORDER BY s.first)
            FROM (SELECT allowance_id, sum(used_minutes) AS minutes, min(id) AS first FROM ledger
                WHERE time_entry_id = time_entries.id GROUP BY allowance_id) s
            WHERE s.minutes > 0), '[]')""",
        JSON,
    ).label("charges"),
    literal_column(
        """(SELECT coalesce(sum(overrun_minutes), 0) FROM ledger
            WHERE time_entry_id = time_entries.id)"""
    ).label("overrun_minutes"),
)
# What staff write for themselves looks to a bound token as if it had not been written.
_SHOWN = or_(~time_entries.c.internal, bindparam("to_staff", type_=Boolean))
_WHOLE = DirectStatement(
    select(
        *(column for column in time_entries.c if column.name not in ("note", "internal")),
        case((_SHOWN, time_entries.c.note)).label("note"),
        and_(_SHOWN, time_entries.c.internal).label("internal"),
        *_STANDING,
    ).where(time_entries.c.id == bindparam("entry"), time_entries.c.case_id == bindparam("of_case"))
)
_INSERT = DirectStatement(insert(time_entries))
_REVERSE = update(time_entries).where(time_entries.c.id == bindparam("entry"))


async def read(work: UnitOfWork, case_key: str, entry_id: UUID) -> Row[Any]:
    """One time entry of a case, with its `charges` and `overrun_minutes`. Raises NotFound.

    A bound token does not see an internal note.
    """
    of_case = await find(work, cases, case_key)
    return await _read(work, of_case.id, entry_id)


async def _read(work: UnitOfWork, case_id: UUID, entry_id: UUID) -> Row[Any]:
    # The case was found in the caller's sight, and its entries are its customer's.
    to_staff = work.caller.customer_id is None
    parameters = {"entry": entry_id, "of_case": case_id, "to_staff": to_staff}
    row = await _WHOLE.one_or_none(work.connection, parameters)
    if row is None:
        raise NotFound
    return row


async def record(
    work: UnitOfWork,
    case_key: str,
    *,
    technician: str,
    minutes: int,
    worked_at: datetime | None,
    note: str | None,
    internal: bool,
) -> Row[Any]:
    """Record and charge work that began at `worked_at` (now if None); the entry as `read`.

    `internal`: the note is for staff alone.

    Minutes that no allowance covers are overrun, never refused (R21). Raises NotFound, WrongState,
    InvalidInput, WorkedBeforeOpening.
    """
    locked = await LockedCase.lock(work, case_key)
    locked.next("work")
    worked_at = worked_at or work.now
    if worked_at > work.now:
        raise invalid("/worked_at", "in_future")
    worked_on = civil_date(worked_at, work.policies.zone)
    if worked_on < locked.row.opened_on:
        raise WorkedBeforeOpening
    entry_id = new_id()
    await _INSERT.rows(
        work.connection,
        {
            "id": entry_id,
            "customer_id": locked.row.customer_id,
            "case_id": locked.id,
            "technician": technician,
            "minutes": minutes,
            "worked_at": worked_at,
            "worked_on": worked_on,
            "note": note,
            "internal": internal,
            "recorded_at": work.now,
        },
    )
    fields: dict[str, Any] = {}
    if locked.row.category != "bug":
        facts = await locked.ledger.facts()
        fields = await charge(locked, facts, Work(entry_id, worked_on, worked_at, minutes))
    entry = await _read(work, locked.id, entry_id)
    details: RecordedTime = {
        "time_entry_id": str(entry_id),
        "technician": technician,
        "minutes": minutes,
        "worked_at": on_the_wire(worked_at),
        "charges": entry.charges,
        "overrun_minutes": entry.overrun_minutes,
    }
    if fields:
        await locked.change(EventType.TIME_RECORDED, fields, details)
    else:
        await locked.record(EventType.TIME_RECORDED, details)
    return entry


async def reverse(work: UnitOfWork, case_key: str, entry_id: UUID, *, reason: str) -> Row[Any]:
    """Take a wrong entry back, once (R30); the entry as `read`.

    The minutes given back cover standing overrun first (R22). Raises NotFound, WrongState,
    AlreadyReversed.
    """
    locked = await LockedCase.lock(work, case_key)
    of_case = visible(work.caller, time_entries).where(time_entries.c.case_id == locked.id)
    entry = await find(work, time_entries, entry_id, of_case)
    locked.next("reverse")
    if entry.reversed_at is not None:
        raise AlreadyReversed
    await work.connection.execute(
        _REVERSE, {"entry": entry_id, "reversed_at": work.now, "reversal_reason": reason}
    )
    covered = await locked.ledger.reverse(locked.id, [entry_id])
    details: ReversedTime = {
        "time_entry_id": str(entry_id),
        "minutes": entry.minutes,
        "reason": reason,
    }
    if covered:
        details["covered"] = covered
    await locked.record(EventType.TIME_REVERSED, details)
    return await _read(work, locked.id, entry_id)
