"""What limits the tokens of one customer together, in every process: its writes in a minute, and
the decisions that are kept when it is refused the same again and again (R33)."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import TooManyWrites
from app.services.unit_of_work import UnitOfWork
from app.store import events
from app.store.event_types import CaseRefused, EventType
from app.store.tables import refusals

_ONE_DECISION = timedelta(hours=1)
_COUNT = text("SELECT admitted, retry_after FROM count_bound_write(:quota)")
_LOCK = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name"), 0)))
_REPEAT = (
    update(refusals)
    .where(
        refusals.c.customer_id == bindparam("of_customer"),
        refusals.c.channel == bindparam("of_channel"),
        refusals.c.reasons == bindparam("of_reasons", type_=refusals.c.reasons.type),
        refusals.c.first_at > bindparam("since"),
    )
    .values(count=refusals.c.count + 1, last_at=bindparam("at"))
    .returning(refusals.c.event_id)
)
_KEEP = insert(refusals)


async def count_write(connection: AsyncConnection, quota: int) -> None:
    """Count a write of the bound token that was admitted in this transaction.

    The transaction holds a row of this customer's counter until it ends: it must be a short one of
    its own, committed before the work, so that refused work counts too. Nothing that staff write
    waits for that row. Raises TooManyWrites; then nothing was counted.
    """
    counted = (await connection.execute(_COUNT, {"quota": quota})).one()
    if not counted.admitted:
        raise TooManyWrites(counted.retry_after, quota)


async def keep_refusal(
    connection: AsyncConnection, work: UnitOfWork, customer_id: UUID, event: CaseRefused
) -> None:
    """Keep the decision that refused a case to a bound token, or count its repetition (R33).

    Equal refusals within an hour of the first are one decision.
    """
    reasons: Sequence[str] = event["decision"]["reasons"]
    # Two equal refusals at the same time are one decision as well.
    await connection.execute(_LOCK, {"name": f"refusals {customer_id}"})
    equal = {
        "of_customer": customer_id,
        "of_channel": event["channel"],
        "of_reasons": reasons,
        "since": work.now - _ONE_DECISION,
        "at": work.now,
    }
    if (await connection.execute(_REPEAT, equal)).first() is not None:
        return
    event_id = await events.record(
        connection,
        EventType.CASE_REFUSED,
        work.caller.actor,
        work.now,
        customer_id=customer_id,
        data=event,
    )
    kept = {
        "event_id": event_id,
        "customer_id": customer_id,
        "channel": event["channel"],
        "reasons": reasons,
        "first_at": work.now,
        "last_at": work.now,
    }
    await connection.execute(_KEEP, kept)
