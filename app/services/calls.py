"""Telephone calls, as an exchange notes them by its own ids."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, Select, func, literal_column, select
from sqlalchemy import case as sql_case
from sqlalchemy.dialects.postgresql import insert

from app.errors import NotFound, invalid
from app.ids import new_id
from app.services import lookups
from app.services.lookups import Lookup
from app.services.phones import Exchange, caller_number
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, lock_customer, of_customer, within
from app.store.keyset import Listing
from app.store.tables import calls, cases

Outcome = Literal[
    "allowed",
    "open_case_only",
    "denied",
    "unknown_caller",
    "ambiguous_caller",
    "withheld_number",
    "unusable_number",
]
"""What the service knows of a caller."""


def search(work: UnitOfWork, customer: str | None) -> Listing:
    """Calls as `read` gives them, those noted last first. `customer`: the id or code of one."""
    where = [within(work.caller, calls)]
    if customer is not None:
        where.append(of_customer(calls, customer))
    return Listing("calls", _whole(work), (calls.c.id,), descending=True, where=tuple(where))


async def read(work: UnitOfWork, call: UUID) -> Row[Any]:
    """One call, with the number of its case as `case`. Raises NotFound."""
    return await find(work, calls, call, _whole(work))


async def note(
    work: UnitOfWork,
    exchange: Exchange,
    *,
    call_id: str,
    number: str,
    called: str | None,
    started_at: datetime,
    ended_at: datetime | None,
    case: str | None,
    outcome: Outcome | None,
) -> tuple[Row[Any], bool]:
    """Note a call, or complete the one with this `call_id`: what is given now takes the place of
    what was, and what is not given stays. Returns the call, and whether it is a new one.

    `number` and `called` are in any notation of the exchange; text that is not a number
    is not kept. `case` may have been moved: the call belongs to what it became (R47). Raises
    InvalidInput for an unknown case, and for an end before the beginning.
    """
    if ended_at is not None and ended_at < started_at:
        raise invalid("/ended_at", "wrong_order")
    customer_id = case_id = None
    if case is not None:
        try:
            found = await _case_today(work, case)
        except NotFound:
            raise invalid("/case", "unknown_reference") from None
        case_id, customer_id = found.id, found.customer_id
    e164 = caller_number(number, exchange)
    dialled = None if called is None else caller_number(called, exchange)
    if isinstance(e164, str) and customer_id is None:
        customer_id = await _only_customer(work, e164)
    if customer_id is not None:
        # Otherwise it could be merged at this moment, and keep what its survivor lacks (R49).
        customer_id = await lock_customer(work, customer_id)
    # The case may have been moved during the wait.
    while case_id is not None and (found := await _case_today(work, case_id)).id != case_id:
        case_id, customer_id = found.id, await lock_customer(work, found.customer_id)
    statement = insert(calls).values(
        id=new_id(),
        customer_id=customer_id,
        call_id=call_id,
        number=e164 if isinstance(e164, str) else None,
        called=dialled if isinstance(dialled, str) else None,
        started_at=started_at,
        ended_at=ended_at,
        case_id=case_id,
        outcome=outcome,
        created_at=work.now,
        updated_at=work.now,
    )
    new = statement.excluded
    kept = {
        name: func.coalesce(new[name], calls.c[name])
        for name in ("number", "called", "ended_at", "case_id", "outcome")
    }
    made = await work.connection.execute(
        statement.on_conflict_do_update(
            index_elements=[calls.c.call_id],
            set_={
                **kept,
                "customer_id": _owner(new),
                "started_at": new.started_at,
                "updated_at": new.updated_at,
            },
        ).returning(calls.c.id, literal_column("xmax = 0").label("is_new"))
    )
    id_, is_new = made.one()
    return await read(work, id_), is_new


def _owner(new: Any) -> Any:
    # A case says for certain whose call it is.
    return sql_case(
        (new.case_id.is_not(None), new.customer_id),
        else_=func.coalesce(calls.c.customer_id, new.customer_id),
    )


async def _case_today(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """A case, or what it became by moves (R47). Raises NotFound."""
    found = await find(work, cases, key)
    while found.moved_to is not None:
        found = await find(work, cases, found.moved_to)
    return found


async def _only_customer(work: UnitOfWork, number: str) -> UUID | None:
    lookup = [(0, Lookup("phone", number))]
    found = (await lookups.find_many(work, lookup, work.now, work.today)).get(0, [])
    return found[0].id if len(found) == 1 else None


def _whole(work: UnitOfWork) -> Select[Any]:
    number = select(cases.c.number).where(cases.c.id == calls.c.case_id).scalar_subquery()
    return select(calls, number.label("case")).where(within(work.caller, calls))
