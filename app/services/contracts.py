"""Contracts: signed, renewed and cancelled (R4, R15, R17, R24)."""

from datetime import date
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, Select, exists, func, or_, select, update

from app.errors import (
    AlreadyRenewed,
    ContractHasLaterCharges,
    ContractHasLaterUpgrades,
    EditorLicenceRequired,
    TermOver,
    WrongState,
)
from app.ids import new_id
from app.policy.civil import add_months
from app.policy.document import Policies
from app.policy.standing import holds_editor
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, find_locked, lock_customer, of_customer, visible
from app.store import facts
from app.store.event_types import (
    ContractCancelled,
    ContractRenewed,
    ContractSigned,
    EventData,
    EventType,
)
from app.store.keyset import Listing
from app.store.ledger import Ledger
from app.store.numbers import insert_numbered
from app.store.states import ContractState, contract_state
from app.store.tables import balances, contracts, licence_upgrades
from app.store.tables import ledger as entries

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

    `customer`: the id or code of one.
    """
    rows = _whole(work)
    if customer is not None:
        rows = rows.where(of_customer(contracts, customer))
    if state is not None:
        rows = rows.where(contract_state(work.today) == state)
    if ends_before is not None:
        rows = rows.where(contracts.c.ends_on < ends_before)
    return Listing("contracts", rows, (contracts.c.id,))


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
    # A successor that is cancelled as of its first day frees its predecessor, no later one.
    successors = exists().where(
        contracts.c.renews == old.id,
        or_(contracts.c.cancelled_on.is_(None), contracts.c.cancelled_on > contracts.c.starts_on),
    )
    if await work.connection.scalar(select(successors)):
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
    paid = select(
        exists().where(
            licence_upgrades.c.contract_id == old.id, licence_upgrades.c.upgraded_on >= cancelled_on
        )
    )
    if await work.connection.scalar(paid):
        raise ContractHasLaterUpgrades
    # End it before giving minutes back, so that they cover no work outside its period (R20, R22).
    await work.connection.execute(
        update(contracts)
        .where(contracts.c.id == old.id)
        .values(cancelled_on=cancelled_on, cancellation_reason=reason)
    )
    if cancelled_on == old.starts_on:
        # R24: one cancelled later keeps what it paid.
        await Ledger(work.connection, work.policies, old.customer_id, work.now).give_back(old.id)
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
    await _record(work, EventType.CONTRACT_CANCELLED, cancelled, data)
    return cancelled


async def _take_over(work: UnitOfWork, contract: Row[Any]) -> Row[Any]:
    """Let a new contract cover the overrun that stands now (R24). The contract afterwards."""
    ledger = Ledger(work.connection, work.policies, contract.customer_id, work.now)
    await ledger.take_over(
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
