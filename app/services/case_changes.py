"""Changes of a case's fields: technician, priority, category and the like (R22, R31)."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Row

from app.errors import WrongState
from app.policy.allocate import bind
from app.policy.decide import decide
from app.services.case_steps import LockedCase
from app.services.cases import Binding, binding, whole
from app.services.unit_of_work import UnitOfWork
from app.store.event_types import Covered, EventType
from app.store.facts import load


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
            changed |= await _bind_again(locked)
    return await locked.change(event_type, changed, details) if changed else locked.row


async def _give_back(locked: LockedCase) -> Covered:
    """A case found to be a bug gives back minutes and ticket; the work stays on record (R22).

    Returns what the event tells of it.
    """
    locked.next("to_bug")
    entries = [entry.id for entry in await locked.worked()]
    covered = await locked.ledger.reverse(locked.id, entries)
    if locked.bound.ticket is not None:
        await locked.ledger.release(locked.id, *locked.bound.ticket, locked.work.today)
    return {"covered": covered} if covered else {}


async def _bind_again(locked: LockedCase) -> dict[str, Any]:
    """A case that proves to be no bug is bound and charged again (R22).

    To its first allowance, or, where it had none or its ticket serves another case, to what is
    left now. Returns the fields to change.
    """
    locked.next("from_bug")
    work, ledger, row = locked.work, locked.ledger, locked.row
    facts = (await load(work.connection, row.customer_id)).facts()
    bound = Binding(row.first_paid_by, row.first_allowance_id, row.first_ticket_position)
    source = await locked.source(bound)
    first: dict[str, Any] = {}
    gone = bound.ticket is not None and not await ledger.ticket_is_free(*bound.ticket)
    if source is None or gone:
        source = bind(decide(work.policies, facts, work.today), row.channel)
        bound = await binding(ledger, facts, source)
        first = {f"first_{name}": value for name, value in bound._asdict().items()}
    if bound.ticket is not None:
        await ledger.hold(locked.id, *bound.ticket, work.today)
        if locked.state == "closed":
            await ledger.consume(locked.id, *bound.ticket, work.today)
    await ledger.charge(facts, locked.id, source, row.channel, await locked.worked())
    return {**bound._asdict(), **first}
