"""Contracts: signing and reading them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from app.http.documented import CACHED, posts, reads
from app.http.etags import json_response
from app.http.fields import CivilDate, Code, Id, Input, Key
from app.http.pages import Page, PageQuery, beyond, decode_cursor, encode_cursor, page_of
from app.http.problems import AlreadyExists, CustomerNotFound, EditorLicenceRequired, NotFound
from app.http.reach import lock_named_customer
from app.http.routes import Connection, CurrentCaller, Now, Route, needs
from app.http.today import Rules, Today
from app.routers.contracts.records import (
    Contract,
    read,
    record,
    representations,
    require_editor,
    sign,
    terms_of,
)
from app.store.states import ContractState, contract_state
from app.store.tables import contracts

router = APIRouter(route_class=Route, tags=["Contracts"])


class NewContract(Input):
    customer_id: Id
    number: Code | None = Field(default=None, description="Without it one is made.")
    starts_on: CivilDate
    included_minutes: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Without it what the policy grants."
    )


class ContractsQuery(PageQuery):
    customer_id: Id | None = None
    state: ContractState | None = None
    ends_before: CivilDate | None = None


@router.post(
    "/contracts",
    status_code=201,
    operation_id="create_contract",
    openapi_extra=needs("contracts:write"),
    response_model=Contract,
    responses=posts(CustomerNotFound, AlreadyExists, EditorLicenceRequired),
)
async def create_contract(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    policies: Rules,
    body: NewContract,
) -> Response:
    """Sign a contract for a customer who holds an Editor licence on its first day."""
    await lock_named_customer(connection, caller, body.customer_id)
    await require_editor(connection, body.customer_id, body.starts_on)
    id_ = await sign(connection, policies, now, today, **body.model_dump())
    contract = await read(connection, caller, today, id_)
    await record(connection, caller, now, "signed", contract, terms_of(contract))
    return json_response(request, contract, 201, {"Location": f"/v1/contracts/{id_}"})


@router.get(
    "/contracts",
    operation_id="list_contracts",
    openapi_extra=needs("contracts:read"),
    response_model=Page[Contract],
    responses=reads(),
)
async def list_contracts(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    today: Today,
    query: Annotated[ContractsQuery, FromQuery()],
) -> Response:
    """Contracts in the order in which they were signed."""
    rows = representations(caller, today)
    if query.customer_id is not None:
        rows = rows.where(contracts.c.customer_id == query.customer_id)
    if query.state is not None:
        rows = rows.where(contract_state(today) == query.state)
    if query.ends_before is not None:
        rows = rows.where(contracts.c.ends_on < query.ends_before)
    if query.cursor is not None:
        rows = rows.where(beyond([contracts.c.id], decode_cursor("contracts", query.cursor, UUID)))
    rows = rows.order_by(contracts.c.id).limit(query.limit + 1)
    shown, cursor = page_of(
        (await connection.execute(rows)).all(),
        query.limit,
        lambda row: encode_cursor("contracts", row.id),
    )
    items = [Contract.model_validate(row._asdict()) for row in shown]
    return json_response(request, Page[Contract](items=items, next_cursor=cursor), etag=False)


@router.get(
    "/contracts/{contract}",
    operation_id="get_contract",
    openapi_extra=needs("contracts:read"),
    response_model=Contract,
    responses={**reads(NotFound), **CACHED},
)
async def get_contract(
    request: Request, connection: Connection, caller: CurrentCaller, today: Today, contract: Key
) -> Response:
    """One contract, by id or number."""
    return json_response(request, await read(connection, caller, today, contract))
