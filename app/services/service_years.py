"""Service years follow the licences that anchor them (R14, R22, R40)."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from app.policy.facts import Licence
from app.store import events
from app.store.corrections import Rebound, Undone, follow, give_cases_back
from app.store.event_types import CaseChanged, EventType
from app.store.events import Actor
from app.store.ledger import Ledger


async def follow_licences(
    ledger: Ledger, actor: Actor, was: Iterable[Licence], changed: Sequence[UUID]
) -> list[Undone]:
    """Move what rests on licences that were changed, and record it on the cases.

    `was` are the customer's licences before the change. The caller holds the customer's lock.
    Returns the cases whose service year was undone.
    """
    followed = await follow(ledger, was, changed)
    await _record(ledger, actor, followed.rebound)
    return followed.undone


async def restore_cases(ledger: Ledger, actor: Actor, undone: Sequence[Undone]) -> None:
    """Give service years that are there again their cases again, and record it on these (R46)."""
    await _record(ledger, actor, await give_cases_back(ledger, undone))


async def _record(ledger: Ledger, actor: Actor, cases: Iterable[Rebound]) -> None:
    for case in cases:
        await events.record(
            ledger.connection,
            EventType.CASE_CHANGED,
            actor,
            ledger.now,
            customer_id=ledger.customer_id,
            subject_id=case.id,
            case_id=case.id,
            data=_rebound(case),
        )


def _rebound(case: Rebound) -> CaseChanged:
    return {
        "number": case.number,
        "state": case.state,
        "paid_by": case.paid_by,
        "corrected": True,
        "before": {
            "paid_by": case.paid_by_before,
            "service_year_start": case.year_before and case.year_before.isoformat(),
        },
        "after": {
            "paid_by": case.paid_by,
            "service_year_start": case.year and case.year.isoformat(),
        },
    }
