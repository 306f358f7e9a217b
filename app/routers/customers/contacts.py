"""A customer's contacts, one by one."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from app.http.etags import check_if_match, strong_etag
from app.http.fields import Id, Key
from app.http.legacy import (
    CACHED,
    Connection,
    CurrentCaller,
    Now,
    Route,
    changes,
    lock_customer_of,
    needs,
    posts,
    reads,
)
from app.http.responses import json_bytes, json_response
from app.ids import new_id
from app.routers.customers.records import change, read
from app.routers.customers.shapes import (
    Contact,
    ContactFields,
    ContactPatch,
    Customer,
    stored_phones,
)
from app.store.tables import customers

router = APIRouter(route_class=Route, tags=["Customers"])


def _contact(customer: Customer, contact_id: Id) -> Contact:
    for contact in customer.contacts:
        if contact.id == contact_id:
            return contact
    raise NotFound


@router.post(
    "/customers/{customer}/contacts",
    status_code=201,
    operation_id="create_contact",
    openapi_extra=needs("customers:write"),
    response_model=Contact,
    responses=posts(NotFound),
)
async def create_contact(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    customer: Key,
    body: ContactFields,
) -> Response:
    """Add a contact; national phone numbers are read in the customer's country."""
    row = await lock_customer_of(connection, caller, customers, customer)
    before = await read(connection, caller, row.id)
    (phones,) = stored_phones([("", body.phones)], before.country)
    contact = Contact(id=new_id(), name=body.name, email=body.email, phones=phones)
    after = before.model_copy(update={"contacts": [*before.contacts, contact]})
    await change(connection, caller, now, before, after)
    location = f"/v1/customers/{before.id}/contacts/{contact.id}"
    return json_response(request, contact, 201, {"Location": location})


@router.get(
    "/customers/{customer}/contacts/{contact_id}",
    operation_id="get_contact",
    openapi_extra=needs("customers:read"),
    response_model=Contact,
    responses={**reads(NotFound), **CACHED},
)
async def get_contact(
    request: Request, connection: Connection, caller: CurrentCaller, customer: Key, contact_id: Id
) -> Response:
    """One contact of a customer."""
    return json_response(request, _contact(await read(connection, caller, customer), contact_id))


@router.patch(
    "/customers/{customer}/contacts/{contact_id}",
    operation_id="update_contact",
    openapi_extra=needs("customers:write"),
    response_model=Contact,
    responses=changes("patch", NotFound),
)
async def update_contact(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    customer: Key,
    contact_id: Id,
    body: ContactPatch,
) -> Response:
    """Change a contact (JSON Merge Patch; `phones` are replaced)."""
    row = await lock_customer_of(connection, caller, customers, customer)
    before = await read(connection, caller, row.id)
    contact = _contact(before, contact_id)
    check_if_match(request, strong_etag(json_bytes(contact)))
    sent = body.changes()
    if "phones" in sent:
        (sent["phones"],) = stored_phones([("", sent["phones"])], before.country)
    changed = contact.model_copy(update=sent)
    contacts = [changed if one.id == contact.id else one for one in before.contacts]
    await change(connection, caller, now, before, before.model_copy(update={"contacts": contacts}))
    return json_response(request, changed)


@router.delete(
    "/customers/{customer}/contacts/{contact_id}",
    status_code=204,
    operation_id="delete_contact",
    openapi_extra=needs("customers:write"),
    responses=changes("delete", NotFound),
)
async def delete_contact(
    request: Request,
    connection: Connection,
    caller: CurrentCaller,
    now: Now,
    customer: Key,
    contact_id: Id,
) -> Response:
    """Remove a contact. Cases that name it keep the name."""
    row = await lock_customer_of(connection, caller, customers, customer)
    before = await read(connection, caller, row.id)
    contact = _contact(before, contact_id)
    check_if_match(request, strong_etag(json_bytes(contact)))
    contacts = [one for one in before.contacts if one.id != contact.id]
    await change(connection, caller, now, before, before.model_copy(update={"contacts": contacts}))
    return Response(status_code=204)
