"""Redaction: a comment, or the note of a time entry, that should not have been written (R43).

Its text is taken out for good, wherever it is kept. Who did it and why is an event of its own.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, or_, select, text, update

from app.errors import NotFound, NothingToRedact
from app.services import time_entries as entries
from app.services.cases import TimelineEntry, is_comment
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find_locked, records
from app.store.event_types import CaseRedacted, EventType
from app.store.tables import cases, events, time_entries
from app.store.words import take_out_of_answers, take_out_of_events

_MOVES = text("""
    WITH RECURSIVE same AS (
        SELECT id, number, customer_id, moved_from, moved_to FROM cases WHERE id = :case
        UNION
        SELECT k.id, k.number, k.customer_id, k.moved_from, k.moved_to
        FROM same JOIN cases k ON k.id = ANY (ARRAY[same.moved_from, same.moved_to]))
    SELECT id, number, customer_id FROM same""")


async def redact_comment(
    work: UnitOfWork, case_key: str, comment_id: UUID, *, reason: str
) -> TimelineEntry:
    """Take the text out of a comment; the entry that tells of it.

    Raises NotFound, and NothingToRedact if it was taken out before.
    """
    case = await find_locked(work, cases, case_key)
    found = await work.connection.execute(
        select(events.c.id, events.c.data, events.c.occurred_at).where(
            events.c.case_id == case.id, is_comment(comment_id)
        )
    )
    comment = found.one_or_none()
    if comment is None:
        raise NotFound
    body = comment.data["body"]
    if body is None:
        raise NothingToRedact

    def without_body(data: Any) -> Any:
        return {**data, "body": None}

    same_cases = await _with_its_moves(work, case)
    ids = [one.id for one in same_cases]
    where = and_(events.c.case_id.in_(ids), is_comment(comment_id))
    await take_out_of_events(work.connection, where, without_body)

    def without_answer(answer: Any) -> Any:
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict) or data.get("body") != body:
            return answer
        # Answers of 0.1 do not name the comment.
        same = data.get("comment_id", str(comment_id)) == str(comment_id)
        return answer | {"data": without_body(data)} if same else answer

    for one in same_cases:
        about = [str(one.id), one.number]
        told_under = await records(work, one.customer_id)
        await take_out_of_answers(work.connection, told_under, about, without_answer)
    told: dict[UUID, TimelineEntry] = {}
    for one in same_cases:
        told[one.id] = await _record(
            work,
            one,
            {
                "number": one.number,
                "comment_id": str(comment_id),
                "reason": reason,
                "internal": comment.data["internal"],
            },
        )
    return told[case.id]


async def redact_note(work: UnitOfWork, case_key: str, entry_id: UUID, *, reason: str) -> Row[Any]:
    """Take the note out of a time entry; the entry as `time_entries.read` gives it.

    Raises NotFound, and NothingToRedact where there is none.
    """
    case = await find_locked(work, cases, case_key)
    mine = (time_entries.c.id == entry_id, time_entries.c.case_id == case.id)
    found = await work.connection.execute(select(time_entries).where(*mine))
    entry = found.one_or_none()
    if entry is None:
        raise NotFound
    if entry.note is None:
        raise NothingToRedact
    same_cases = {one.id: one for one in await _with_its_moves(work, case)}
    # A move copies a time entry; what it copies is never changed.
    copies = and_(
        time_entries.c.case_id.in_(same_cases.keys() - {case.id}),
        *(
            time_entries.c[name] == entry._mapping[name]
            for name in ("recorded_at", "worked_at", "technician", "note")
        ),
    )
    taken = await work.connection.execute(
        update(time_entries)
        .where(or_(time_entries.c.id == entry_id, copies))
        .values(note=None)
        .returning(time_entries.c.id, time_entries.c.case_id)
    )
    for copy_id, copy_of in taken.all():
        await _record_note(work, same_cases[copy_of], str(copy_id), reason, entry.internal)
    return await entries.read(work, case_key, entry_id)


async def _record_note(
    work: UnitOfWork, case: Row[Any], entry_id: str, reason: str, internal: bool
) -> None:
    """Take the note of a time entry out of stored answers too, and record that it was taken out."""

    def without_note(answer: Any) -> Any:
        if isinstance(answer, dict) and answer.get("id") == entry_id:
            return answer | {"note": None}
        return answer

    told_under = await records(work, case.customer_id)
    await take_out_of_answers(work.connection, told_under, [entry_id], without_note)
    data: CaseRedacted = {
        "number": case.number,
        "time_entry_id": entry_id,
        "reason": reason,
        "internal": internal,
    }
    await _record(work, case, data)


async def _with_its_moves(work: UnitOfWork, case: Row[Any]) -> Sequence[Row[Any]]:
    """The id, number and customer of the case, and of all that it was or became by moves (R47):
    they have the same words."""
    if case.moved_from is None and case.moved_to is None:
        return [case]
    return (await work.connection.execute(_MOVES, {"case": case.id})).all()


async def _record(work: UnitOfWork, case: Row[Any], data: CaseRedacted) -> TimelineEntry:
    type_ = EventType.CASE_REDACTED
    await work.record(
        type_, data, customer_id=case.customer_id, subject_id=case.id, case_id=case.id
    )
    return TimelineEntry(case.id, work.now, type_, work.caller.name, data)
