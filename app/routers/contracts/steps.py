"""What happens to a contract after it is signed: renewal and cancellation (R4, R24)."""

from typing import Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import exists, func, select, update
from starlette.requests import Request
from starlette.responses import Response

from app.http.documented import acts, posts
from app.http.etags import json_response
from app.http.fields import CivilDate, Code, Input, Key, ShortText
from app.http.problems import (
    AlreadyExists,
    AlreadyRenewed,
    ContractHasLaterCharges,
    EditorLicenceRequired,
    NotFound,
    WrongState,
)
from app.http.reach import lock_customer_of
from app.http.routes import Connection, CurrentCaller, Now, Route, needs
from app.http.today import Rules, Today
from app.routers.contracts.records import Contract, read, record, require_editor, sign, terms_of
from app.store.ledger import Ledger
from app.store.tables import contracts
from app.store.tables import ledger as entries

router = APIRouter(route_class=Route, tags=["Contracts"])


class Renewal(Input):
    starts: Literal["today", "at_end"] = Field(
        description="`today`: both are in force for a while; `at_end`: where the old one ends."
    )
    number: Code | None = None
    take_over_overrun: bool = Field(
        default=False, description="Cover the overrun that stands now, up to the new minutes."
    )


class Cancellation(Input):
    cancelled_on: CivilDate
    reason: ShortText


@router.post(
    "/contracts/{contract}/renewal",
    status_code=201,
    operation_id="renew_contract",
    openapi_extra=needs("contracts:write"),
    response_model=Contract,
    responses=posts(NotFound, AlreadyExists, AlreadyRenewed, EditorLicenceRequired, WrongState),
)
async def renew_contract(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
    contract: Key,
    body: Renewal,
) -> Response:
    """Sign a contract's successor, once, from its first day on. Answers with the successor."""
    row = await lock_customer_of(connection, caller, contracts, contract)
    if row.cancelled_on is not None:
        raise WrongState("cancelled", "renewed")
    if today < row.starts_on:
        raise WrongState("upcoming", "renewed")
    successors = exists().where(contracts.c.renews == row.id, contracts.c.cancelled_on.is_(None))
    if await connection.scalar(select(successors)):
        raise AlreadyRenewed
    starts_on = today if body.starts == "today" else row.ends_on
    # R24 asks for a holder of an Editor, R15 for one on the successor's first day.
    await require_editor(connection, row.customer_id, today, starts_on)
    id_ = await sign(
        connection,
        policies,
        now,
        today,
        customer_id=row.customer_id,
        number=body.number,
        starts_on=starts_on,
        renews=row.id,
    )
    if body.take_over_overrun:
        included = (await read(connection, caller, today, id_)).included_minutes
        ledger = Ledger(connection, policies, row.customer_id, now)
        await ledger.take_over(row.id, id_, starts_on, included)
    successor = await read(connection, caller, today, id_)
    data = {
        **terms_of(successor),
        "renews": row.number,
        "taken_over_minutes": successor.used_minutes,
    }
    await record(connection, caller, now, "renewed", successor, data)
    return json_response(request, successor, 201, {"Location": f"/v1/contracts/{id_}"})


@router.post(
    "/contracts/{contract}/cancellation",
    operation_id="cancel_contract",
    openapi_extra=needs("contracts:write"),
    response_model=Contract,
    responses=acts(NotFound, ContractHasLaterCharges, WrongState),
)
async def cancel_contract(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
    contract: Key,
    body: Cancellation,
) -> Response:
    """End a contract early, on a day within it on or after which nothing was charged to it."""
    row = await lock_customer_of(connection, caller, contracts, contract)
    if row.cancelled_on is not None:
        raise WrongState("cancelled", "cancelled")
    # Ended first: minutes given back cover no work that now lies outside its period (R20, R22).
    await connection.execute(
        update(contracts)
        .where(contracts.c.id == row.id)
        .values(cancelled_on=body.cancelled_on, cancellation_reason=body.reason)
    )
    if row.renews is not None:
        ledger = Ledger(connection, policies, row.customer_id, now)
        await ledger.give_back(row.id, row.renews)
    # A reversal counts on the day of what it reverses: the sum is what stands unreversed.
    later = select(func.coalesce(func.sum(entries.c.used_minutes), 0)).where(
        entries.c.allowance_id == row.id, entries.c.counts_on >= body.cancelled_on
    )
    if await connection.scalar(later):
        raise ContractHasLaterCharges
    cancelled = await read(connection, caller, today, row.id)
    data = body.model_dump(mode="json")
    await record(connection, caller, now, "cancelled", cancelled, data)
    return json_response(request, cancelled)
