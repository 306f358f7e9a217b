"""Personal data that is kept for so many days: texts of closed cases, callers' numbers (R43)."""

from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.services.personal_data import KEPT, WORDS
from app.store.tables import calls, cases, events, time_entries
from app.store.words import take_out_of_events

CLEARED = "[cleared]"
_CASES_AT_ONCE = 100
_CALLS_AT_ONCE = 5_000


async def clear_texts(connection: AsyncConnection, now: datetime, before: datetime) -> int:
    """Clear the texts of some closed and cancelled cases that have not changed since an instant.

    Returns how many cases. Numbers, dates, minutes, who asked and the product stay.
    """
    due = (
        select(cases.c.id)
        .where(
            cases.c.texts_cleared_at.is_(None),
            cases.c.state.in_(("closed", "cancelled")),
            cases.c.updated_at < before,
        )
        .order_by(cases.c.updated_at)
        .limit(_CASES_AT_ONCE)
        .with_for_update(skip_locked=True, key_share=True)
    )
    ids = list((await connection.execute(due)).scalars())
    if not ids:
        return 0
    chosen = cases.c.id.in_(ids)
    await connection.execute(
        update(cases)
        .where(chosen)
        .values(
            subject=CLEARED,
            description=CLEARED,
            steps_to_reproduce=None,
            example_url=None,
            texts_cleared_at=now,
        )
    )
    with_resolution = cases.c.resolution.is_not(None)
    await connection.execute(
        update(cases).where(chosen, with_resolution).values(resolution=CLEARED)
    )
    of_cases = time_entries.c.case_id.in_(ids)
    await connection.execute(
        update(time_entries).where(of_cases, time_entries.c.note.is_not(None)).values(note=None)
    )
    reversed_ = time_entries.c.reversal_reason.is_not(None)
    await connection.execute(
        update(time_entries).where(of_cases, reversed_).values(reversal_reason=CLEARED)
    )
    await take_out_of_events(connection, events.c.case_id.in_(ids), _without_words)
    return len(ids)


async def clear_numbers(connection: AsyncConnection, before: datetime) -> int:
    """Clear the callers' numbers of some calls that were last noted before an instant.

    Returns how many.
    """
    due = (
        select(calls.c.id)
        .where(calls.c.number.is_not(None), calls.c.updated_at < before)
        .order_by(calls.c.updated_at)
        .limit(_CALLS_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    cleared = await connection.execute(update(calls).where(calls.c.id.in_(due)).values(number=None))
    return cleared.rowcount


def _without_words(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: None if isinstance(inner, str) and key in WORDS - KEPT else _without_words(inner)
        for key, inner in value.items()
    }
