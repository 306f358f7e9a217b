"""What pays for a case that was opened before: bound late, or again after a bug (R22, R29)."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.errors import NotEntitled, WrongState
from app.policy.allocate import ALL, TICKETS, Source, bind, bind_late, refusal
from app.policy.decide import decide
from app.policy.document import PaidBy
from app.policy.facts import Facts
from app.policy.standing import stand
from app.services.case_steps import LockedCase
from app.services.cases import Binding, PayWith, as_first, binding
from app.services.unit_of_work import UnitOfWork
from app.store.entries import Work
from app.store.event_types import EventType


async def bind_case(work: UnitOfWork, key: str, pay_with: PayWith) -> Row[Any]:
    """Bind a case that nothing pays for to what can pay today (R29); the case as `cases.read`.

    Raises NotFound, WrongState if it is bound, a bug or cancelled, NotEntitled if nothing pays.
    """
    locked = await LockedCase.lock(work, key)
    row = locked.row
    if locked.state == "cancelled":
        raise WrongState("cancelled", "bound")
    if row.category == "bug" or row.paid_by != "none":
        raise WrongState("bug" if row.category == "bug" else "bound", "bound")
    facts = await locked.ledger.facts()
    wanted: PaidBy | None = None if pay_with == "auto" else pay_with
    kinds = ALL if wanted is None else (wanted,)
    source = bind(stand(work.policies, facts, work.today), row.channel, kinds)
    if source is None:
        decision = decide(work.policies, facts, work.today)
        answer = refusal(work.policies, facts, decision, row.channel, wanted)
        raise NotEntitled(answer, decision.standing.policy)
    fields = await _bind_unpaid(locked, facts, source, ())
    return await locked.change(EventType.CASE_CHANGED, fields)


async def charge(locked: LockedCase, facts: Facts, entry: Work) -> dict[str, Any]:
    """Charge a new time entry, and bind the case if nothing paid for it so far (R20, R21, R29).

    Returns the fields of the case to change.
    """
    work, channel = locked.work, locked.row.channel
    source = await locked.source(locked.bound)
    if source is None:
        late = bind_late(work.policies, facts, channel, entry.worked_on, work.today)
        if late is not None:
            return await _bind_unpaid(locked, facts, late, (entry,))
    await locked.ledger.charge(facts, locked.id, source, channel, [entry])
    return {}


async def _bind_unpaid(
    locked: LockedCase, facts: Facts, source: Source, new: Iterable[Work]
) -> dict[str, Any]:
    """Bind a case that nothing paid for (R29). Returns the fields of the case to change.

    A ticket ends its overrun and gives back what a contract took over of it. Hours are charged with
    that overrun and with the `new` work, in the order worked; what a contract took over is paid and
    stays.
    """
    bound = await binding(locked.ledger, facts, source)
    if bound.ticket is not None:
        await _take(locked, *bound.ticket)
        await locked.ledger.reverse(locked.id, [entry.id for entry in await locked.worked()])
    else:
        overrun = await locked.ledger.take_overrun(locked.id)
        entries = sorted([*overrun, *new], key=lambda entry: entry.worked_at)
        await locked.ledger.charge(facts, locked.id, source, locked.row.channel, entries)
    return {**bound._asdict(), **as_first(bound)}


async def bind_again(locked: LockedCase) -> dict[str, Any]:
    """Bind and charge a case that proves to be no bug (R22). Returns the fields to change.

    It is bound to its first allowance. If its ticket is gone, to another one; if there is none, or
    it had no allowance, to what is left now.
    """
    locked.next("from_bug")
    work, ledger, row = locked.work, locked.ledger, locked.row
    facts = await ledger.facts()
    bound = Binding(row.first_paid_by, row.first_allowance_id, row.first_ticket_position)
    source = await locked.source(bound)
    gone = bound.ticket is not None and not await ledger.ticket_is_free(*bound.ticket)
    if source is None or gone:
        standing = stand(work.policies, facts, work.today)
        source = bind(standing, row.channel, TICKETS) if gone else None
        source = source or bind(standing, row.channel)
        bound = await binding(ledger, facts, source)
    if bound.ticket is not None:
        await _take(locked, *bound.ticket)
    await ledger.charge(facts, locked.id, source, row.channel, await locked.worked())
    return {**bound._asdict(), **as_first(bound)}


async def _take(locked: LockedCase, pack_id: UUID, position: int) -> None:
    """Hold a ticket; a closed case consumes it at once."""
    today = locked.work.today
    await locked.ledger.hold(locked.id, pack_id, position, today)
    if locked.state == "closed":
        await locked.ledger.consume(locked.id, pack_id, position, today)
