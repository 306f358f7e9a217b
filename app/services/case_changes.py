"""Changes of a case's fields: technician, priority, category and the like (R22, R31)."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy import Row

from app.errors import WrongState
from app.services.case_binding import bind_again
from app.services.case_opening import Requester, requester_columns, verify_serial
from app.services.case_steps import LockedCase
from app.services.cases import Binding, whole
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

    `requester` has those of a `Requester` that are to change. A serial number is judged as of the
    day of opening (R27). Nothing is written where nothing differs. `precondition` sees the case
    before the change.

    Raises NotFound, WrongState, InvalidInput, SerialNumberNotOfCustomer, SerialNumberRequired, and
    what `precondition` raises.
    """
    locked = await LockedCase.lock(work, key, whole(work))
    precondition(locked.row)
    if locked.state == "cancelled":
        raise WrongState("cancelled", "in_progress")
    fields = await _checked(work, locked.row, dict(fields))
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


async def _checked(work: UnitOfWork, row: Row[Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the columns of requester and serial number in their place."""
    requester = fields.pop("requester", {})
    if not requester and "serial_number" not in fields:
        return fields
    customer = await load(work.connection, row.customer_id)
    if requester:
        others: Requester = {
            "contact_id": None,
            "name": row.requester_name,
            "email": None,
            "phone": None,
        }
        asked = await requester_columns(work, customer, cast("Requester", {**others, **requester}))
        fields |= {f"requester_{name}": asked[f"requester_{name}"] for name in requester}
    if fields.get("serial_number", row.serial_number) != row.serial_number:
        fields["serial_verified"] = verify_serial(
            customer.facts(), fields["serial_number"], row.opened_on
        )
    return fields


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
