"""Licences: registered, corrected, upgraded and withdrawn (R1, R2, R25)."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import JSON, Row, Select, insert, literal_column, select, update

from app.errors import AlreadyExists, CorrectionConflicts, NotEntitled, WrongState, invalid
from app.ids import new_id
from app.policy.decide import decide
from app.policy.facts import LicenceKind
from app.services.service_years import follow_licences
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import (
    called,
    find,
    find_locked,
    lock_customer,
    of_customer,
    visible,
    within,
)
from app.store import facts
from app.store.event_types import (
    EventData,
    EventType,
    LicenceCorrected,
    LicenceRegistered,
    LicenceUpgraded,
    LicenceWithdrawn,
)
from app.store.keyset import Listing, exactly
from app.store.ledger import Ledger
from app.store.tables import licence_upgrades, licences

_UPGRADES = literal_column(
    """coalesce((SELECT json_agg(json_build_object('version', version, 'upgraded_on', upgraded_on,
            'paid_by', paid_by, 'contract_id', contract_id) ORDER BY upgraded_on, created_at, id)
        FROM licence_upgrades WHERE licence_id = licences.id), '[]')""",
    JSON,
).label("upgrades")
_COLUMNS = [column for column in licences.c if column.name not in {"sent", "created_at"}]


def _whole(work: UnitOfWork) -> Select[Any]:
    """Every licence in sight, with its upgrades, oldest first."""
    return visible(work.caller, licences).with_only_columns(*_COLUMNS, _UPGRADES)


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """One licence with its upgrades. Raises NotFound."""
    return await find(work, licences, key, _whole(work))


def search(
    work: UnitOfWork,
    customer: str | None,
    kind: LicenceKind | None,
    serial_number: str | None,
) -> Listing:
    """Licences as `read` gives them, in the order in which they were registered.

    `customer`: the id or code of one.
    """
    where = [within(work.caller, licences)]
    if customer is not None:
        where.append(of_customer(licences, customer))
    if kind is not None:
        where.append(exactly(licences.c.kind, kind))
    if serial_number is not None:
        where.append(called(licences, serial_number))
    return Listing(
        "licences",
        _whole(work),
        (licences.c.id,),
        where=tuple(where),
        fixed=() if kind is None else (licences.c.kind,),
        long_columns=("upgrades",),
    )


async def register(
    work: UnitOfWork,
    *,
    customer_id: str,
    serial_number: str,
    purchased_on: date,
    **fields: Any,
) -> Row[Any]:
    """Register a licence of the customer with an id or code; `fields` are its kind, product and
    version.

    Raises CustomerNotFound, InvalidInput; the database refuses a serial number that is taken.
    """
    owner = await _lock_buyer(work, customer_id, purchased_on)
    return await _insert(work, owner, serial_number, {**fields, "purchased_on": purchased_on})


async def put(
    work: UnitOfWork,
    serial_number: str,
    precondition: Callable[[Row[Any] | None], None],
    *,
    customer_id: str,
    purchased_on: date,
    reason: str | None,
    **fields: Any,
) -> tuple[Row[Any], bool]:
    """Register a licence, or correct what is known of it: the licence, and whether it is new.

    What was sent last, sent again, changes nothing, whatever staff have corrected since. Another
    day of purchase or kind is a correction, for `reason` or "sent again" (R40).
    `precondition` takes the stored licence, or None. Raises as `register` and `precondition` do,
    AlreadyExists for another customer's serial number, WrongState for a withdrawn licence,
    CorrectionConflicts if a contract paid for an upgrade of a licence whose kind changes.
    """
    owner = await _lock_buyer(work, customer_id, purchased_on)
    wanted = {**fields, "purchased_on": purchased_on}
    query = select(licences.c.id, licences.c.customer_id, licences.c.sent).where(
        called(licences, serial_number)
    )
    known = (await work.connection.execute(query)).one_or_none()
    if known is None:
        precondition(None)
        return await _insert(work, owner, serial_number, wanted), True
    if known.customer_id != owner:
        raise AlreadyExists("serial_number")
    before = await read(work, known.id)
    precondition(before)
    changed = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    if _texts(wanted) == known.sent:
        return before, False
    if not changed:
        await _update(work, before, {"sent": _texts(wanted)})
        return before, False
    if _withdrawn(before, work.today):
        raise WrongState("withdrawn", "in_force")
    if any(upgraded_on < purchased_on for upgraded_on in _upgrade_dates(before)):
        raise invalid("/purchased_on", "wrong_order")
    await _update(work, before, {"sent": _texts(wanted)})
    if changed.keys() & {"kind", "purchased_on"}:
        return await _correct(work, before, changed, reason or "sent again"), False
    return await _change(work, before, wanted), False


async def correct(
    work: UnitOfWork,
    key: str,
    precondition: Callable[[Row[Any]], None],
    changes: Mapping[str, Any],
) -> Row[Any]:
    """Correct a licence's product or version. Raises NotFound, and as `precondition` does."""
    before = await find_locked(work, licences, key, _whole(work))
    precondition(before)
    return await _change(work, before, changes)


async def withdraw(work: UnitOfWork, key: str, *, withdrawn_on: date, reason: str) -> Row[Any]:
    """Withdraw a licence from a day on. Raises NotFound, WrongState, InvalidInput.

    As of the day of its purchase it never was, and neither were its service years (R14).
    """
    licence = await find_locked(work, licences, key, _whole(work))
    if licence.withdrawn_on is not None:
        raise WrongState("withdrawn", "withdrawn")
    if withdrawn_on < licence.purchased_on:
        raise invalid("/withdrawn_on", "wrong_order")
    withdrawal = {"withdrawn_on": withdrawn_on, "withdrawal_reason": reason}
    await _update_and_follow(work, licence, withdrawal)
    data: LicenceWithdrawn = {
        "serial_number": licence.serial_number,
        "withdrawn_on": withdrawn_on.isoformat(),
        "reason": reason,
    }
    await _record(work, EventType.LICENCE_WITHDRAWN, licence, data)
    return await read(work, licence.id)


async def upgrade(
    work: UnitOfWork,
    key: str,
    *,
    version: str,
    upgraded_on: date | None,
    paid_by: Literal["purchase", "contract"],
) -> Row[Any]:
    """Record an upgrade, by default today's (R25).

    Raises NotFound, InvalidInput, WrongState; AlreadyExists if the version is recorded on that day,
    NotEntitled if no contract pays for it.
    """
    licence = await find_locked(work, licences, key, _whole(work))
    on = upgraded_on or work.today
    if on > work.today:
        raise invalid("/upgraded_on", "in_future")
    if on < licence.purchased_on:
        raise invalid("/upgraded_on", "wrong_order")
    if _withdrawn(licence, work.today):
        raise WrongState("withdrawn", "in_force")
    # The customer's lock makes this sure. There is no unique index: rows of 0.2 and before may
    # repeat each other, and are history.
    if any(
        (one["version"], one["upgraded_on"]) == (version, on.isoformat())
        for one in licence.upgrades
    ):
        raise AlreadyExists("version")
    contract_id = await _paying_contract(work, licence, on) if paid_by == "contract" else None
    await work.connection.execute(
        insert(licence_upgrades),
        {
            "id": new_id(),
            "customer_id": licence.customer_id,
            "licence_id": licence.id,
            "version": version,
            "upgraded_on": on,
            "paid_by": paid_by,
            "contract_id": contract_id,
            "created_at": work.now,
        },
    )
    # An upgrade that is recorded late must not bring back an older version.
    if all(earlier <= on for earlier in _upgrade_dates(licence)):
        await _update(work, licence, {"version": version})
    data: LicenceUpgraded = {
        "serial_number": licence.serial_number,
        "version": version,
        "upgraded_on": on.isoformat(),
        "paid_by": paid_by,
        "contract_id": None if contract_id is None else str(contract_id),
    }
    await _record(work, EventType.LICENCE_UPGRADED, licence, data)
    return await read(work, licence.id)


async def _lock_buyer(work: UnitOfWork, customer_id: str, purchased_on: date) -> UUID:
    owner = await lock_customer(work, customer_id)
    if purchased_on > work.today:
        raise invalid("/purchased_on", "in_future")
    return owner


async def _insert(
    work: UnitOfWork, customer_id: UUID, serial_number: str, fields: Mapping[str, Any]
) -> Row[Any]:
    id_ = new_id()
    own = {"id": id_, "customer_id": customer_id, "serial_number": serial_number}
    values = {**own, **fields, "sent": _texts(fields), "created_at": work.now}
    await work.connection.execute(insert(licences), values)
    licence = await read(work, id_)
    data: LicenceRegistered = {"serial_number": serial_number, "after": _texts(fields)}
    await _record(work, EventType.LICENCE_REGISTERED, licence, data)
    return licence


async def _change(work: UnitOfWork, before: Row[Any], wanted: Mapping[str, Any]) -> Row[Any]:
    """Write the fields that differ, with an event; write nothing if none does."""
    changed = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    if not changed:
        return before
    await _update(work, before, changed)
    data: LicenceRegistered = {
        "serial_number": before.serial_number,
        "before": _texts({name: getattr(before, name) for name in changed}),
        "after": _texts(changed),
    }
    await _record(work, EventType.LICENCE_REGISTERED, before, data)
    return await read(work, before.id)


async def _correct(
    work: UnitOfWork, before: Row[Any], changed: Mapping[str, Any], reason: str
) -> Row[Any]:
    """Correct a licence as if it had been right from the start (R40)."""
    free = [one for one in before.upgrades if one["paid_by"] == "contract"]
    if free and "kind" in changed:
        # R25: a contract pays for upgrades of an Editor alone.
        raise CorrectionConflicts(
            [{"kind": "upgrade", "name": one["version"], "on": one["upgraded_on"]} for one in free]
        )
    await _update_and_follow(work, before, changed)
    data: LicenceCorrected = {
        "serial_number": before.serial_number,
        "reason": reason,
        "before": _texts({name: getattr(before, name) for name in changed}),
        "after": _texts(changed),
    }
    await _record(work, EventType.LICENCE_CORRECTED, before, data)
    return await read(work, before.id)


async def _update_and_follow(
    work: UnitOfWork, licence: Row[Any], values: Mapping[str, Any]
) -> None:
    """Change a licence, and let its service years and their cases follow."""
    was = (await facts.load(work.connection, licence.customer_id)).facts().licences
    await _update(work, licence, values)
    ledger = Ledger(work.connection, work.policies, licence.customer_id, work.now)
    await follow_licences(ledger, work.caller.actor, was, [licence.id])


async def _update(work: UnitOfWork, licence: Row[Any], values: Mapping[str, Any]) -> None:
    await work.connection.execute(
        update(licences).where(licences.c.id == licence.id).values(values)
    )


async def _record(
    work: UnitOfWork, event_type: EventType, licence: Row[Any], data: EventData
) -> None:
    await work.record(event_type, data, customer_id=licence.customer_id, subject_id=licence.id)


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    # The only field that is not text is the date of purchase.
    return {name: str(value) for name, value in fields.items()}


def _withdrawn(licence: Row[Any], on: date) -> bool:
    return licence.withdrawn_on is not None and licence.withdrawn_on <= on


def _upgrade_dates(licence: Row[Any]) -> list[date]:
    return [date.fromisoformat(upgrade["upgraded_on"]) for upgrade in licence.upgrades]


async def _paying_contract(work: UnitOfWork, licence: Row[Any], on: date) -> UUID:
    """The contract that pays for an upgrade on a date (R25, in R18's order). Raises NotEntitled."""
    known = (await facts.load(work.connection, licence.customer_id)).facts()
    decision = decide(work.policies, known, on)
    standing = decision.standing
    (upgrades,) = (one for one in decision.answer.services if one.service == "editor_upgrades")
    granted = any(grant.column == "SA" for grant in upgrades.granted_by)
    if licence.kind != "editor" or not granted:
        raise NotEntitled(upgrades, standing.policy)
    return UUID(standing.contracts[0].id)
