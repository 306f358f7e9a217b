"""Customers: what the CRM writes and everybody reads."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fastapi import Query as FromQuery
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AlreadyExists, NotFound
from app.http.etags import check_if_match, check_if_none_match, strong_etag
from app.http.fields import Code, Key
from app.http.legacy import (
    CACHED,
    Connection,
    CurrentCaller,
    Now,
    Route,
    Rules,
    beyond,
    changes,
    lock_customer_of,
    needs,
    page_of,
    posts,
    reads,
)
from app.http.paging import Page, decode_cursor, encode_cursor
from app.http.references import split
from app.http.responses import json_bytes, json_response
from app.ids import new_id
from app.routers.customers.matching import match
from app.routers.customers.records import (
    change,
    create,
    customer_of,
    matching,
    read,
    representations,
)
from app.routers.customers.shapes import (
    Customer,
    CustomerPatch,
    CustomersQuery,
    KnownCustomer,
    NewCustomer,
    check_desk,
    own_fields,
    stored_phones,
)
from app.services.unit_of_work import Caller
from app.store.tables import customers, external_refs

router = APIRouter(route_class=Route, tags=["Customers"])


def etag_of(customer: Customer) -> str:
    return strong_etag(json_bytes(customer))


async def _answer(
    request: Request,
    connection: AsyncConnection,
    caller: Caller,
    customer: Customer,
    status: int = 200,
) -> Response:
    # Read anew, so that the tag is the one that a GET will carry.
    headers = {"Location": f"/v1/customers/{customer.id}"} if status == 201 else None
    stored = await read(connection, caller, customer.id)
    return json_response(request, stored, status, headers)


@router.post(
    "/customers",
    status_code=201,
    operation_id="create_customer",
    openapi_extra=needs("customers:write"),
    response_model=Customer,
    responses=posts(AlreadyExists),
)
async def create_customer(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
    body: NewCustomer,
) -> Response:
    """Make a customer, with its contacts."""
    fields = own_fields(policies, body)
    phones = stored_phones(
        ((f"/contacts/{place}", one.phones) for place, one in enumerate(body.contacts)),
        body.country,
    )
    contacts = [
        {**contact.model_dump(), "id": new_id(), "phones": numbers}
        for contact, numbers in zip(body.contacts, phones, strict=True)
    ]
    made = {"id": new_id(), "created_at": now, "updated_at": now}
    customer = Customer.model_validate({**made, **fields, "contacts": contacts})
    if not await create(connection, caller, now, customer):
        raise AlreadyExists("code")
    return await _answer(request, connection, caller, customer, 201)


@router.put(
    "/customers/by-code/{code}",
    operation_id="put_customer",
    openapi_extra=needs("customers:write"),
    response_model=Customer,
    responses=changes("put", AlreadyExists),
)
async def put_customer(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
    code: Code,
    body: KnownCustomer,
) -> Response:
    """Create a customer or replace it whole, contacts included; what is left out is cleared.

    Contacts keep their ids: each is matched by `id`, else by e-mail address, else by name. The
    same body again changes nothing. `If-None-Match: *` only creates.
    """
    fields = own_fields(policies, body)
    phones = stored_phones(
        ((f"/contacts/{place}", one.phones) for place, one in enumerate(body.contacts)),
        body.country,
    )

    def whole(before: Customer | None) -> Customer:
        ids = match(body.contacts, before.contacts if before else [])
        contacts = [
            {"id": id_, "name": contact.name, "email": contact.email, "phones": numbers}
            for id_, contact, numbers in zip(ids, body.contacts, phones, strict=True)
        ]
        if before is None:
            made = {"id": new_id(), "code": code, "created_at": now, "updated_at": now}
        else:
            made = before.model_dump(include={"id", "code", "created_at", "updated_at"})
        return Customer.model_validate({**made, **fields, "contacts": contacts})

    try:
        row = await lock_customer_of(connection, caller, customers, code)
    except NotFound:
        check_if_match(request, None)
        customer = whole(None)
        if await create(connection, caller, now, customer):
            return await _answer(request, connection, caller, customer, 201)
        # Somebody made it in this very moment.
        row = await lock_customer_of(connection, caller, customers, code)
    before = await read(connection, caller, row.id)
    check_if_match(request, etag_of(before))
    check_if_none_match(request, etag_of(before))
    await change(connection, caller, now, before, whole(before))
    return await _answer(request, connection, caller, before)


@router.get(
    "/customers",
    operation_id="list_customers",
    openapi_extra=needs("customers:read"),
    response_model=Page[Customer],
    responses=reads(),
)
async def list_customers(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    query: Annotated[CustomersQuery, FromQuery()],
) -> Response:
    """Customers in the order in which they were made."""
    rows = representations(caller)
    if query.q is not None:
        rows = rows.where(matching(query.q))
    if query.country is not None:
        rows = rows.where(customers.c.country == query.country)
    if query.external_ref is not None:
        system, ref = split(query.external_ref)
        owner = select(external_refs.c.customer_id).where(
            external_refs.c.system == system, external_refs.c.ref == ref
        )
        rows = rows.where(customers.c.id == owner.scalar_subquery())
    if query.cursor is not None:
        last = decode_cursor("customers", query.cursor, UUID)
        rows = rows.where(beyond([customers.c.id], last))
    rows = rows.order_by(customers.c.id).limit(query.limit + 1)
    shown, cursor = page_of(
        (await connection.execute(rows)).all(),
        query.limit,
        lambda row: encode_cursor("customers", row.id),
    )
    items = [customer_of(row) for row in shown]
    return json_response(request, Page[Customer](items=items, next_cursor=cursor), etag=False)


@router.get(
    "/customers/{customer}",
    operation_id="get_customer",
    openapi_extra=needs("customers:read"),
    response_model=Customer,
    responses={**reads(NotFound), **CACHED},
)
async def get_customer(
    request: Request, connection: Connection, caller: CurrentCaller, customer: Key
) -> Response:
    """One customer, by id or code."""
    return json_response(request, await read(connection, caller, customer))


@router.patch(
    "/customers/{customer}",
    operation_id="update_customer",
    openapi_extra=needs("customers:write"),
    response_model=Customer,
    responses=changes("patch", NotFound, AlreadyExists),
)
async def update_customer(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    policies: Rules,
    customer: Key,
    body: CustomerPatch,
) -> Response:
    """Change a customer (JSON Merge Patch). Numbers stored before keep the country they had."""
    row = await lock_customer_of(connection, caller, customers, customer)
    before = await read(connection, caller, row.id)
    check_if_match(request, etag_of(before))
    sent = body.changes()
    check_desk(policies, sent.get("help_desk"))
    if "external_refs" in sent:
        patch = sent["external_refs"]
        merged = {} if patch is None else {**before.external_refs, **patch}
        sent["external_refs"] = {system: ref for system, ref in merged.items() if ref is not None}
    await change(connection, caller, now, before, before.model_copy(update=sent))
    return await _answer(request, connection, caller, before)
