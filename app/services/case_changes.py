"""Changes of a case's fields: technician, priority, category and the like (R22, R31)."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Row

from app.errors import WrongState
from app.services.case_binding import bind_again
from app.services.case_steps import LockedCase
from app.services.cases import Binding, whole
from app.services.unit_of_work import UnitOfWork
from app.store.event_types import Covered, EventType


async def change(
    work: UnitOfWork,
    key: str,
    fields: Mapping[str, Any],
    precondition: Callable[[Row[Any]], None],
) -> Row[Any]:
    """Change fields of a case, by their columns' names; the case as `cases.read` gives it.

    Nothing is written where nothing differs. `precondition` sees the case before the change.
    Raises NotFound, WrongState, and what `precondition` raises.
    """
    locked = await LockedCase.lock(work, key, whole(work))
    precondition(locked.row)
    if locked.state == "cancelled":
        raise WrongState("cancelled", "in_progress")
    changed = {name: value for name, value in fields.items() if value != locked.row._mapping[name]}
    event_type = EventType.CASE_CHANGED
    details: Covered = {}
    if "technician" in changed:
        event_type = EventType.CASE_ASSIGNED
    if "category" in changed:
        event_type = EventType.CASE_RECLASSIFIED
        if changed["category"] == "bug":
            details = await _give_back(locked)
            changed |= Binding()._asdict()
        elif locked.row.category == "bug":
            changed |= await bind_again(locked)
    return await locked.change(event_type, changed, details) if changed else locked.row


async def _give_back(locked: LockedCase) -> Covered:
    """A case found to be a bug gives back minutes and ticket; the work stays on record (R22).

    The ticket gets back the days for which the case had taken it (R19).

    Returns what the event tells of it.
    """
    locked.next("to_bug")
    entries = [entry.id for entry in await locked.worked()]
    covered = await locked.ledger.reverse(locked.id, entries)
    if locked.bound.ticket is not None:
        today = locked.work.today
        await locked.ledger.release(locked.id, *locked.bound.ticket, today, lengthen=True)
    return {"covered": covered} if covered else {}
