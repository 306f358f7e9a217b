"""What happens to a licence after its purchase: upgrades and withdrawal."""

from datetime import date
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotEntitled, NotFound, WrongState, invalid
from app.http.fields import CivilDate, Input, Key, ShortText
from app.http.legacy import Connection, CurrentCaller, Now, Route, Rules, Today, acts, needs, posts
from app.ids import new_id
from app.policy.decide import decide
from app.policy.document import Policies
from app.routers.licences.records import Licence, Upgrade, answer, lock, record
from app.store import facts
from app.store.tables import licence_upgrades, licences

router = APIRouter(route_class=Route, tags=["Licences"])


class Withdrawal(Input):
    withdrawn_on: CivilDate
    reason: ShortText


class NewUpgrade(Input):
    version: ShortText
    upgraded_on: CivilDate | None = None
    paid_by: Literal["purchase", "contract"]


@router.post(
    "/licences/{licence}/withdrawal",
    operation_id="withdraw_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=acts(NotFound, WrongState),
)
async def withdraw_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    licence: Key,
    body: Withdrawal,
) -> Response:
    """Withdraw a licence from a day on, past or future. No time charged moves."""
    before = await lock(connection, caller, licence)
    if before.withdrawn_on is not None:
        raise WrongState("withdrawn", "withdrawn")
    if body.withdrawn_on < before.purchased_on:
        raise invalid("/withdrawn_on", "wrong_order")
    await connection.execute(
        update(licences)
        .where(licences.c.id == before.id)
        .values(withdrawn_on=body.withdrawn_on, withdrawal_reason=body.reason)
    )
    data = body.model_dump(mode="json")
    await record(connection, caller, now, "withdrawn", before, data)
    return await answer(request, connection, caller, before.id)


@router.post(
    "/licences/{licence}/upgrades",
    status_code=201,
    operation_id="upgrade_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=posts(NotFound, NotEntitled, WrongState),
)
async def upgrade_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
    licence: Key,
    body: NewUpgrade,
) -> Response:
    """Record an upgrade: a purchase, or one that a contract in force that day pays for."""
    before = await lock(connection, caller, licence)
    upgraded_on = body.upgraded_on or today
    if upgraded_on > today:
        raise invalid("/upgraded_on", "in_future")
    if upgraded_on < before.purchased_on:
        raise invalid("/upgraded_on", "wrong_order")
    if before.withdrawn(today):
        raise WrongState("withdrawn", "in_force")
    contract_id = None
    if body.paid_by == "contract":
        contract_id = await _paying_contract(request, connection, policies, before, upgraded_on)
    upgrade = Upgrade(
        version=body.version,
        upgraded_on=upgraded_on,
        paid_by=body.paid_by,
        contract_id=contract_id,
    )
    await connection.execute(
        insert(licence_upgrades).values(
            id=new_id(),
            customer_id=before.customer_id,
            licence_id=before.id,
            created_at=now,
            **upgrade.model_dump(),
        )
    )
    # One that is recorded late does not take back a later one's version.
    if all(earlier.upgraded_on <= upgraded_on for earlier in before.upgrades):
        await connection.execute(
            update(licences).where(licences.c.id == before.id).values(version=body.version)
        )
    data = upgrade.model_dump(mode="json")
    await record(connection, caller, now, "upgraded", before, data)
    return await answer(request, connection, caller, before.id, 201)


async def _paying_contract(
    request: Request,
    connection: AsyncConnection,
    policies: Policies,
    licence: Licence,
    on: date,
) -> UUID:
    """The contract that pays for an upgrade on a date (R25, in R18's order). Raises NotEntitled."""
    known = (await facts.load(connection, licence.customer_id)).facts()
    decision = decide(policies, known, on)
    standing = decision.standing
    (upgrades,) = (one for one in decision.answer.services if one.service == "editor_upgrades")
    granted = any(grant.column == "SA" for grant in upgrades.granted_by)
    if licence.kind != "editor" or not granted:
        raise NotEntitled(upgrades, standing.policy)
    return UUID(standing.contracts[0].id)
