"""Contracts: signed, renewed, cancelled and corrected (R4, R15, R17, R24, R40, R46)."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, or_, select, update

from app.errors import (
    AlreadyRenewed,
    ContractHasLaterCharges,
    ContractHasLaterUpgrades,
    CorrectionConflicts,
    EditorLicenceRequired,
    TermOver,
    WrongState,
    out_of_range,
)
from app.ids import new_id
from app.policy.civil import add_months
from app.policy.document import Policies
from app.policy.standing import holds_editor
from app.services.corrections import correction
from app.services.dry_runs import lock_owner
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import (
    find,
    find_locked,
    lock_customer,
    of_customer,
    records,
    visible,
    within,
)
from app.store import entries as standing
from app.store import facts
from app.store.event_types import (
    ContractCancelled,
    ContractRenewed,
    ContractSigned,
    EventData,
    EventType,
)
from app.store.events import latest_data
from app.store.keyset import Listing
from app.store.ledger import Ledger
from app.store.numbers import insert_numbered
from app.store.states import ContractState, contract_state
from app.store.tables import balances, contracts, licence_upgrades
from app.store.tables import ledger as entries

_TERMS = ("starts_on", "ends_on", "included_minutes")
_BY: dict[ContractState | None, str] = {"upcoming": "starts_on", "cancelled": "cancelled_on"}
_TIMES: dict[ContractState, Callable[[date], ColumnElement[bool]]] = {
    "upcoming": lambda today: contracts.c.starts_on > today,
    "in_force": lambda today: contracts.c.ends_on > today,
    "suspended": lambda today: contracts.c.ends_on > today,
    "expired": lambda today: contracts.c.ends_on <= today,
    "cancelled": lambda today: contracts.c.cancelled_on <= today,
}
_LEFT = (contracts.c.included_minutes - balances.c.used_minutes).label("remaining_minutes")


def _whole(work: UnitOfWork) -> Select[Any]:
    """Every contract in sight, with its balance and its state today."""
    return (
        visible(work.caller, contracts)
        .join(balances, balances.c.allowance_id == contracts.c.id)
        .with_only_columns(
            *(column for column in contracts.c if column.name != "created_at"),
            balances.c.used_minutes,
            balances.c.overrun_minutes,
            _LEFT,
            contract_state(work.today),
        )
    )


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """One contract with its balance and state. Raises NotFound."""
    return await find(work, contracts, key, _whole(work))


def search(
    work: UnitOfWork,
    customer: str | None,
    state: ContractState | None,
    ends_before: date | None,
) -> Listing:
    """Contracts as `read` gives them, in the order in which they were signed.

    `customer`: the id or code of one. Contracts of all customers with `state` or `ends_before` come
    in the order in which they end, which an index has: upcoming ones in the order in which they
    start, cancelled ones in that of cancellation.
    """
    where = [within(work.caller, contracts)]
    if customer is not None:
        where.append(of_customer(contracts, customer))
    if ends_before is not None:
        where.append(contracts.c.ends_on < ends_before)
    if state is not None:
        # The second condition follows from the first; it lets an index skip the other rows.
        where += [contract_state(work.today) == state, _TIMES[state](work.today)]
    key = contracts.c.id
    own = work.caller.customer_id or customer
    if own is None and (state is not None or ends_before is not None):
        by = contracts.c[_BY.get(state, "ends_on")]
        return Listing(f"contracts by {by.name}", _whole(work), (by, key), where=tuple(where))
    return Listing("contracts", _whole(work), (key,), where=tuple(where))


def terms(policies: Policies, starts_on: date, included_minutes: int | None) -> tuple[date, int]:
    """The day on which a contract ends, and its minutes: those named, else the policy's.

    Fixed by the policy in force on its first day (R17).
    """
    agreed = policies.in_force(starts_on).allowances.contract
    return add_months(starts_on, agreed.months), included_minutes or agreed.minutes


async def sign(
    work: UnitOfWork,
    *,
    customer_id: str,
    starts_on: date,
    number: str | None,
    included_minutes: int | None,
    take_over_overrun: bool,
) -> Row[Any]:
    """Sign a contract with the customer with an id or code (R15).

    Raises CustomerNotFound, EditorLicenceRequired.
    """
    owner = await lock_customer(work, customer_id)
    await _require_editor(work, owner, starts_on)
    contract = await _insert(
        work,
        customer_id=owner,
        starts_on=starts_on,
        number=number,
        included_minutes=included_minutes,
    )
    data: ContractSigned = _terms_of(contract)
    if take_over_overrun:
        contract = await _take_over(work, contract)
        data["taken_over_minutes"] = contract.used_minutes
    await _record(work, EventType.CONTRACT_SIGNED, contract, data)
    return contract


async def renew(
    work: UnitOfWork,
    key: str,
    *,
    starts: Literal["today", "at_end"],
    number: str | None,
    take_over_overrun: bool,
) -> Row[Any]:
    """Sign a contract's successor (R24).

    Raises NotFound, WrongState, AlreadyRenewed, TermOver, EditorLicenceRequired.
    """
    old = await find_locked(work, contracts, key)
    if old.cancelled_on is not None:
        raise WrongState("cancelled", "renewed")
    if work.today < old.starts_on:
        raise WrongState("upcoming", "renewed")
    if await work.connection.scalar(select(exists().where(_renewing(old.id)))):
        raise AlreadyRenewed
    starts_on = work.today if starts == "today" else old.ends_on
    if terms(work.policies, starts_on, None)[0] <= work.today:
        raise TermOver
    # R24 asks for an Editor held today, R15 for one held on the successor's first day.
    await _require_editor(work, old.customer_id, work.today, starts_on)
    successor = await _insert(
        work,
        customer_id=old.customer_id,
        number=number,
        starts_on=starts_on,
        renews=old.id,
    )
    if take_over_overrun:
        successor = await _take_over(work, successor)
    data: ContractRenewed = {
        **_terms_of(successor),
        "renews": old.number,
        "taken_over_minutes": successor.used_minutes,
    }
    await _record(work, EventType.CONTRACT_RENEWED, successor, data)
    return successor


async def cancel(work: UnitOfWork, key: str, *, cancelled_on: date, reason: str) -> Row[Any]:
    """End a contract early, on a day within it (R4, R25).

    Raises NotFound, WrongState, ContractHasLaterUpgrades, ContractHasLaterCharges.
    """
    old = await find_locked(work, contracts, key)
    if old.cancelled_on is not None:
        raise WrongState("cancelled", "cancelled")
    if not old.starts_on <= cancelled_on <= old.ends_on:
        raise out_of_range("/cancelled_on", old.starts_on, old.ends_on)
    paid = select(
        exists().where(
            licence_upgrades.c.contract_id == old.id,
            licence_upgrades.c.reversed_at.is_(None),
            licence_upgrades.c.upgraded_on >= cancelled_on,
        )
    )
    if await work.connection.scalar(paid):
        raise ContractHasLaterUpgrades
    # End it before giving minutes back, so that they cover no work outside its period (R20, R22).
    await _update(work, old, {"cancelled_on": cancelled_on, "cancellation_reason": reason})
    given = Counter[UUID]()
    if cancelled_on == old.starts_on:
        # R24: one cancelled later keeps what it paid.
        given = await _ledger(work, old).give_back(old.id)
    # A reversal counts on the day of what it reverses, so the sum is what stands unreversed.
    later = select(func.coalesce(func.sum(entries.c.used_minutes), 0)).where(
        entries.c.allowance_id == old.id, entries.c.counts_on >= cancelled_on
    )
    if await work.connection.scalar(later):
        raise ContractHasLaterCharges
    cancelled = await read(work, old.id)
    data: ContractCancelled = {
        "number": cancelled.number,
        "cancelled_on": cancelled_on.isoformat(),
        "reason": reason,
    }
    if given:
        data["given_back"] = [
            {"time_entry_id": str(entry), "minutes": minutes} for entry, minutes in given.items()
        ]
    await _record(work, EventType.CONTRACT_CANCELLED, cancelled, data)
    return cancelled


async def lock(work: UnitOfWork, key: str) -> list[UUID]:
    """Lock the customer of a contract, for a correction that is tried out. Raises NotFound."""
    return await lock_owner(work, contracts, key)


async def correct(
    work: UnitOfWork,
    key: str,
    *,
    reason: str,
    starts_on: date | None = None,
    included_minutes: int | None = None,
    number: str | None = None,
) -> Row[Any]:
    """Correct a contract's first day, minutes or number, as if right from the start (R40).

    The term follows the first day, and so do its minutes unless they were agreed. Charges stay
    where they are; minutes that it took over count on the new first day. Values that are stored
    already change nothing.

    Raises NotFound, WrongState, EditorLicenceRequired, and CorrectionConflicts for charges and
    upgrades outside the corrected term, and for charges beyond its minutes; the database refuses a
    number that is taken.
    """
    old = await find_locked(work, contracts, key, _whole(work))
    if old.cancelled_on is not None:
        raise WrongState("cancelled", "corrected")
    values = {
        **_terms_again(work.policies, old, starts_on or old.starts_on, included_minutes),
        "number": number or old.number,
    }
    changed = {name: value for name, value in values.items() if getattr(old, name) != value}
    if not changed:
        return old
    if "starts_on" in changed:
        await _require_editor(work, old.customer_id, values["starts_on"])
    await _require_room(work, old, **{name: values[name] for name in _TERMS})
    await _update(work, old, changed)
    ledger = _ledger(work, old)
    if "starts_on" in changed:
        await ledger.redate(old.id, values["starts_on"])
    # More minutes, or another term, may cover overrun of its own (R22).
    await ledger.settle()
    await _record(work, EventType.CONTRACT_CORRECTED, old, correction(old, changed, reason))
    return await read(work, old.id)


async def reinstate(work: UnitOfWork, key: str, *, reason: str) -> Row[Any]:
    """Take back a cancellation, before or after its day (R46).

    Raises NotFound, WrongState, and CorrectionConflicts if it has been renewed, or its predecessor
    by another.
    """
    old = await find_locked(work, contracts, key, _whole(work))
    if old.cancelled_on is None:
        raise WrongState(old.state, "reinstated")
    await _require_place(work, old)
    changes = {"cancelled_on": None, "cancellation_reason": None}
    await _update(work, old, changes)
    ledger = _ledger(work, old)
    if old.cancelled_on == old.starts_on:
        given = await _given_back(work, old)
        await ledger.take_again(old.id, old.starts_on, old.included_minutes, given)
    # What was worked meanwhile is overrun of its own (R20, R22).
    await ledger.settle()
    data = correction(old, {"cancelled_on": None}, reason)
    await _record(work, EventType.CONTRACT_REINSTATED, old, data)
    return await read(work, old.id)


def _terms_again(
    policies: Policies, old: Row[Any], starts_on: date, included_minutes: int | None
) -> dict[str, Any]:
    """First day, end and minutes of a corrected contract. Minutes that were agreed stay (R17)."""
    if starts_on == old.starts_on:
        ends_on, minutes = old.ends_on, included_minutes or old.included_minutes
    else:
        _, usual = terms(policies, old.starts_on, None)
        agreed = old.included_minutes if old.included_minutes != usual else None
        ends_on, minutes = terms(policies, starts_on, included_minutes or agreed)
    return {"starts_on": starts_on, "ends_on": ends_on, "included_minutes": minutes}


async def _require_room(
    work: UnitOfWork, old: Row[Any], *, starts_on: date, ends_on: date, included_minutes: int
) -> None:
    """Raises CorrectionConflicts for what would lie outside a corrected contract (R40)."""
    ledger = _ledger(work, old)
    charges = [
        row
        for row in await ledger.standing(standing.OF_ALLOWANCES, allowances=[old.id])
        if row.used_minutes
    ]
    # These follow the first day.
    taken = {row.id for row in await ledger.standing(standing.TAKEN_OVER_BY, allowance=old.id)}
    conflicts, left = [], included_minutes
    for row in charges:
        left -= row.used_minutes
        inside = row.id in taken or starts_on <= row.worked_on < ends_on
        if left < 0 or not inside:
            conflicts.append(_charge(row))
    upgrades = select(licence_upgrades.c.version, licence_upgrades.c.upgraded_on).where(
        licence_upgrades.c.contract_id == old.id,
        licence_upgrades.c.reversed_at.is_(None),
        ~licence_upgrades.c.upgraded_on.between(starts_on, ends_on - timedelta(days=1)),
    )
    conflicts += [
        {"kind": "upgrade", "name": row.version, "on": row.upgraded_on}
        for row in await work.connection.execute(upgrades)
    ]
    if conflicts:
        raise CorrectionConflicts(conflicts)


def _charge(row: Row[Any]) -> dict[str, Any]:
    return {
        "kind": "charge",
        "name": row.case_number,
        "on": row.counts_on,
        "minutes": row.used_minutes,
    }


def _renewing(contract_id: UUID) -> ColumnElement[bool]:
    """The contracts that renew another: one cancelled as of its first day does not (R24)."""
    return and_(
        contracts.c.renews == contract_id,
        or_(contracts.c.cancelled_on.is_(None), contracts.c.cancelled_on > contracts.c.starts_on),
    )


async def _require_place(work: UnitOfWork, old: Row[Any]) -> None:
    """Raises CorrectionConflicts for contracts that took a cancelled one's place (R46)."""
    took = _renewing(old.id)
    if old.renews is not None:
        took = or_(took, and_(_renewing(old.renews), contracts.c.id != old.id))
    query = select(contracts.c.number, contracts.c.starts_on).where(took).order_by(contracts.c.id)
    found = (await work.connection.execute(query)).all()
    if found:
        raise CorrectionConflicts(
            [{"kind": "contract", "name": one.number, "on": one.starts_on} for one in found]
        )


async def _given_back(work: UnitOfWork, old: Row[Any]) -> Counter[UUID]:
    """What a contract gave back when it was cancelled, as the event of that says."""
    told_under = await records(work, old.customer_id)
    data = await latest_data(work.connection, told_under, old.id, EventType.CONTRACT_CANCELLED)
    given = data.get("given_back", ())
    return Counter({UUID(one["time_entry_id"]): one["minutes"] for one in given})


async def _update(work: UnitOfWork, contract: Row[Any], values: Mapping[str, Any]) -> None:
    query = update(contracts).where(contracts.c.id == contract.id)
    await work.connection.execute(query.values(values))


def _ledger(work: UnitOfWork, contract: Row[Any]) -> Ledger:
    return Ledger(work.connection, work.policies, contract.customer_id, work.now)


async def _take_over(work: UnitOfWork, contract: Row[Any]) -> Row[Any]:
    """Let a new contract cover the overrun that stands now (R24). The contract afterwards."""
    await _ledger(work, contract).take_over(
        contract.id, contract.starts_on, contract.included_minutes, contract.renews
    )
    return await read(work, contract.id)


async def _require_editor(work: UnitOfWork, customer_id: UUID, *days: date) -> None:
    """Raises EditorLicenceRequired unless an Editor is held on each day, as known now (R15)."""
    licences = (await facts.load(work.connection, customer_id)).facts().licences
    if not all(holds_editor(licences, day) for day in days):
        raise EditorLicenceRequired


async def _insert(
    work: UnitOfWork, *, starts_on: date, included_minutes: int | None = None, **given: Any
) -> Row[Any]:
    ends_on, minutes = terms(work.policies, starts_on, included_minutes)
    values = {
        **given,
        "id": new_id(),
        "starts_on": starts_on,
        "ends_on": ends_on,
        "included_minutes": minutes,
        "created_at": work.now,
    }
    return await read(work, await insert_numbered(work.connection, contracts, values, work.today))


async def _record(
    work: UnitOfWork, event_type: EventType, contract: Row[Any], data: EventData
) -> None:
    await work.record(event_type, data, customer_id=contract.customer_id, subject_id=contract.id)


def _terms_of(contract: Row[Any]) -> ContractSigned:
    return {
        "number": contract.number,
        "starts_on": contract.starts_on.isoformat(),
        "ends_on": contract.ends_on.isoformat(),
        "included_minutes": contract.included_minutes,
    }
