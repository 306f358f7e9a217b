"""Contracts on the wire and in the database."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.http.fields import Output
from app.http.problems import EditorLicenceRequired
from app.http.reach import find, reachable
from app.http.tokens import Caller
from app.ids import new_id
from app.policy.civil import add_months
from app.policy.document import Policies
from app.policy.standing import holds_editor
from app.store import events, facts
from app.store.numbers import insert_numbered
from app.store.states import ContractState, contract_state
from app.store.tables import balances, contracts


class Contract(Output):
    id: UUID
    number: str
    customer_id: UUID
    starts_on: date
    ends_on: date
    included_minutes: int
    used_minutes: int
    overrun_minutes: int
    remaining_minutes: int
    renews: UUID | None
    cancelled_on: date | None
    cancellation_reason: str | None
    state: ContractState


_OWN = [contracts.c[name] for name in Contract.model_fields if name in contracts.c]
_LEFT = (contracts.c.included_minutes - balances.c.used_minutes).label("remaining_minutes")


def representations(caller: Caller, today: date) -> Select[Any]:
    """Whole contracts within reach, one row each, as they stand today."""
    return (
        reachable(caller, contracts)
        .join(balances, balances.c.allowance_id == contracts.c.id)
        .with_only_columns(
            *_OWN,
            balances.c.used_minutes,
            balances.c.overrun_minutes,
            _LEFT,
            contract_state(today),
        )
    )


async def read(
    connection: AsyncConnection, caller: Caller, today: date, key: str | UUID
) -> Contract:
    """The contract that an id or number names. Raises NotFound."""
    row = await find(connection, caller, contracts, key, representations(caller, today))
    return Contract.model_validate(row._asdict())


async def require_editor(connection: AsyncConnection, customer_id: UUID, *days: date) -> None:
    """Raises EditorLicenceRequired unless an Editor is held on each day, as known now (R15)."""
    licences = (await facts.load(connection, customer_id)).facts().licences
    if not all(holds_editor(licences, day) for day in days):
        raise EditorLicenceRequired


def agreed(policies: Policies, starts_on: date, included_minutes: int | None) -> tuple[date, int]:
    """When a contract ends, and the minutes it includes: those given, else the policy's.

    Fixed by the policy in force on its first day (R17).
    """
    terms = policies.in_force(starts_on).allowances.contract
    return add_months(starts_on, terms.months), included_minutes or terms.minutes


async def sign(
    connection: AsyncConnection, policies: Policies, now: datetime, today: date, **given: Any
) -> UUID:
    """Insert a contract, under its customer's lock."""
    ends_on, minutes = agreed(policies, given["starts_on"], given.get("included_minutes"))
    values = {
        **given,
        "id": new_id(),
        "ends_on": ends_on,
        "included_minutes": minutes,
        "created_at": now,
    }
    return await insert_numbered(connection, contracts, values, today)


async def record(
    connection: AsyncConnection,
    caller: Caller,
    now: datetime,
    happened: str,
    contract: Contract,
    data: Mapping[str, Any],
) -> None:
    """Append `contract.<happened>`."""
    await events.record(
        connection,
        f"contract.{happened}",
        caller.actor,
        now,
        customer_id=contract.customer_id,
        subject_id=contract.id,
        data={"number": contract.number, **data},
    )


def terms_of(contract: Contract) -> dict[str, Any]:
    """What was agreed, for an event."""
    return contract.model_dump(mode="json", include={"starts_on", "ends_on", "included_minutes"})
