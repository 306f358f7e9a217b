"""Licences: registering, reading and correcting them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AlreadyExists, CustomerNotFound, NotFound, WrongState, invalid
from app.http.etags import check_if_match, check_if_none_match, strong_etag
from app.http.fields import Code, Id, Key, MergePatch, Name, ShortText, absent
from app.http.legacy import (
    CACHED,
    Connection,
    CurrentCaller,
    Now,
    Route,
    Today,
    beyond,
    called,
    changes,
    lock_named_customer,
    needs,
    page_of,
    posts,
    reads,
)
from app.http.paging import Page, PageQuery, decode_cursor, encode_cursor
from app.http.responses import json_bytes, json_response
from app.policy.facts import LicenceKind
from app.routers.licences.records import (
    Licence,
    LicenceFields,
    answer,
    change,
    lock,
    read,
    register,
    representations,
)
from app.store.tables import licences

router = APIRouter(route_class=Route, tags=["Licences"])


class NewLicence(LicenceFields):
    serial_number: Code


class LicencePatch(MergePatch):
    product: Name = absent()
    version: ShortText = absent()


class LicencesQuery(PageQuery):
    customer_id: Id | None = None
    kind: LicenceKind | None = None
    serial_number: Code | None = None


@router.post(
    "/licences",
    status_code=201,
    operation_id="create_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=posts(CustomerNotFound, AlreadyExists),
)
async def create_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    body: NewLicence,
) -> Response:
    """Register a licence. A purchase date in the future is refused."""
    await lock_named_customer(connection, caller, body.customer_id)
    if body.purchased_on > today:
        raise invalid("/purchased_on", "in_future")
    id_ = await register(connection, caller, now, body.serial_number, body)
    return await answer(request, connection, caller, id_, 201)


@router.put(
    "/licences/by-serial/{serial_number}",
    operation_id="put_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=changes("put", CustomerNotFound, AlreadyExists, WrongState),
)
async def put_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    today: Today,
    serial_number: Code,
    body: LicenceFields,
) -> Response:
    """Register a licence, or replace what is known of it; the same body again changes nothing.

    A serial number of another customer, or of a withdrawn licence, is refused.
    """
    await lock_named_customer(connection, caller, body.customer_id)
    if body.purchased_on > today:
        raise invalid("/purchased_on", "in_future")
    query = select(licences.c.id, licences.c.customer_id).where(called(licences, serial_number))
    known = (await connection.execute(query)).one_or_none()
    if known is None:
        check_if_match(request, None)
        id_ = await register(connection, caller, now, serial_number, body)
        return await answer(request, connection, caller, id_, 201)
    if known.customer_id != body.customer_id:
        raise AlreadyExists("serial_number")
    before = await read(connection, caller, known.id)
    etag = strong_etag(json_bytes(before))
    check_if_match(request, etag)
    check_if_none_match(request, etag)
    if before.withdrawn(today):
        raise WrongState("withdrawn", "in_force")
    if any(upgrade.upgraded_on < body.purchased_on for upgrade in before.upgrades):
        raise invalid("/purchased_on", "wrong_order")
    await change(connection, caller, now, before, before.model_copy(update=body.model_dump()))
    return await answer(request, connection, caller, before.id)


@router.get(
    "/licences",
    operation_id="list_licences",
    openapi_extra=needs("licences:read"),
    response_model=Page[Licence],
    responses=reads(),
)
async def list_licences(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    query: Annotated[LicencesQuery, FromQuery()],
) -> Response:
    """Licences in the order in which they were registered, withdrawn ones among them."""
    rows = representations(caller)
    if query.customer_id is not None:
        rows = rows.where(licences.c.customer_id == query.customer_id)
    if query.kind is not None:
        rows = rows.where(licences.c.kind == query.kind)
    if query.serial_number is not None:
        rows = rows.where(called(licences, query.serial_number))
    if query.cursor is not None:
        rows = rows.where(beyond([licences.c.id], decode_cursor("licences", query.cursor, UUID)))
    rows = rows.order_by(licences.c.id).limit(query.limit + 1)
    shown, cursor = page_of(
        (await connection.execute(rows)).all(),
        query.limit,
        lambda row: encode_cursor("licences", row.id),
    )
    items = [Licence.model_validate(row._asdict()) for row in shown]
    return json_response(request, Page[Licence](items=items, next_cursor=cursor), etag=False)


@router.get(
    "/licences/{licence}",
    operation_id="get_licence",
    openapi_extra=needs("licences:read"),
    response_model=Licence,
    responses={**reads(NotFound), **CACHED},
)
async def get_licence(
    request: Request, connection: Connection, caller: CurrentCaller, licence: Key
) -> Response:
    """One licence, by id or serial number."""
    return json_response(request, await read(connection, caller, licence))


@router.patch(
    "/licences/{licence}",
    operation_id="update_licence",
    openapi_extra=needs("licences:write"),
    response_model=Licence,
    responses=changes("patch", NotFound),
)
async def update_licence(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    licence: Key,
    body: LicencePatch,
) -> Response:
    """Correct a licence's product or version (JSON Merge Patch)."""
    before = await lock(connection, caller, licence)
    check_if_match(request, strong_etag(json_bytes(before)))
    await change(connection, caller, now, before, before.model_copy(update=body.changes()))
    return await answer(request, connection, caller, before.id)
