"""Calls about customers and their contacts."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.errors import (
    AlreadyExists,
    AmbiguousPerson,
    CustomerMerged,
    CustomerNotFound,
    WrongState,
)
from app.http.context import Ctx
from app.http.corrections import corrected
from app.http.erasure_texts import what_stays
from app.http.fields import Code, Id, Key
from app.http.paging import paginate
from app.http.references import split
from app.http.resource import Resource
from app.http.responses import created, if_match, ok, put_conditions
from app.routers.customers.schemas import (
    Contact,
    ContactFields,
    ContactPatch,
    Customer,
    CustomerPatch,
    CustomersQuery,
    Erasure,
    KnownCustomer,
    Merge,
    NewCustomer,
    PersonalData,
    PersonSought,
    ReasonGiven,
)
from app.services import customer_merges, personal_data
from app.services import customers as service

customers = Resource("Customers")


@customers.creates("/customers", Customer, "customers:write", AlreadyExists)
async def create_customer(context: Ctx, body: NewCustomer) -> Response:
    """Create a customer.

    With its contacts. National telephone numbers are read in the customer's country.
    """
    row = await service.create(context, body.own(), body.people())
    return created(context, Customer.of(row), f"/v1/customers/{row.id}")


@customers.puts(
    "/customers/by-code/{code}", Customer, "customers:write", AlreadyExists, CustomerMerged
)
async def put_customer(context: Ctx, code: Code, body: KnownCustomer) -> Response:
    """Create or replace a customer, by code.

    What is left out is cleared; contacts that are left out are removed. Contacts keep their ids:
    each is matched by `id`; else by e-mail address and name; else by the address, if one contact is
    left that has it; else by the name, if one is left that has it. Equal contacts are matched in
    the order in which they are stored. The same body again changes nothing. What was read can be
    sent back: `id`, `code`, `created_at` and `updated_at` may say what is stored, and nothing else.
    `If-None-Match: *` only creates. The code of a record that was merged is refused.
    """
    conditions = put_conditions(context, Customer.of, body, code=code)
    row, new = await service.put(context, code, body.own(), body.people(), conditions)
    if new:
        return created(context, Customer.of(row), f"/v1/customers/{row.id}")
    return ok(context, Customer.of(row))


@customers.lists("/customers", Customer, "customers:read")
async def list_customers(context: Ctx, query: Annotated[CustomersQuery, Query()]) -> Response:
    """List customers.

    In the order in which they were created. With `archived=true`: the archived ones. `column`,
    `service` and `changed_after` ask for what customers may use; it follows a write within a second
    or so, as the event `entitlements.changed` does.
    """
    reference = None if query.external_ref is None else split(query.external_ref)
    standing = service.StandingSought(query.column, query.service, query.changed_after)
    listing = service.search(
        context,
        query.q,
        query.country,
        reference,
        archived=query.archived,
        standing=standing,
    )
    return await paginate(context, query, listing, Customer.of)


@customers.reads("/customers/{customer}", Customer, "customers:read")
async def get_customer(context: Ctx, customer: Key) -> Response:
    """Read a customer.

    By id or code.
    """
    return ok(context, Customer.of(await service.read(context, customer)))


@customers.patches("/customers/{customer}", Customer, "customers:write", AlreadyExists)
async def update_customer(context: Ctx, customer: Key, body: CustomerPatch) -> Response:
    """Change a customer.

    What is left out stays as it is, null clears, and lists are replaced (JSON Merge Patch). A new
    country does not change the telephone numbers that are stored.
    """
    row = await service.update(context, customer, body.changes(), if_match(context, Customer.of))
    return ok(context, Customer.of(row))


@customers.creates("/customers/{customer}/contacts", Contact, "customers:write")
async def create_contact(context: Ctx, customer: Key, body: ContactFields) -> Response:
    """Add a contact to a customer.

    National telephone numbers are read in the customer's country, and stored as E.164.
    """
    customer_id, contact = await service.add_contact(context, customer, body.person())
    location = f"/v1/customers/{customer_id}/contacts/{contact.id}"
    return created(context, Contact.of(contact), location)


@customers.reads("/customers/{customer}/contacts/{contact_id}", Contact, "customers:read")
async def get_contact(context: Ctx, customer: Key, contact_id: Id) -> Response:
    """Read a contact.

    With the telephone numbers as they are stored, in E.164.
    """
    return ok(context, Contact.of(await service.read_contact(context, customer, contact_id)))


@customers.patches("/customers/{customer}/contacts/{contact_id}", Contact, "customers:write")
async def update_contact(
    context: Ctx, customer: Key, contact_id: Id, body: ContactPatch
) -> Response:
    """Change a contact.

    What is left out stays as it is, null clears, and `phones` are replaced (JSON Merge Patch).
    """
    contact = await service.update_contact(
        context, customer, contact_id, body.changes(), if_match(context, Contact.of)
    )
    return ok(context, Contact.of(contact))


@customers.deletes("/customers/{customer}/contacts/{contact_id}", "customers:write")
async def delete_contact(context: Ctx, customer: Key, contact_id: Id) -> Response:
    """Remove a contact.

    Cases that name the contact keep its name.
    """
    await service.delete_contact(context, customer, contact_id, if_match(context, Contact.of))
    return Response(status_code=204)


@customers.corrects(
    "/customers/{customer}/merge",
    Customer,
    "customers:erase",
    CustomerMerged,
    CustomerNotFound,
    WrongState,
)
async def merge_customer(context: Ctx, customer: Key, body: Merge) -> Response:
    """Merge two records of one customer.

    The customer `into` which it is merged has all licences, contracts, ticket packs, cases,
    contacts and history of both, and may use what follows from all of them together. The id and
    the code of the other lead to it ever after; tokens bound to the other are revoked. There is no
    way back. Answers with the customer that goes on.
    """
    lock = partial(customer_merges.lock, context, customer, body.into)
    step = partial(customer_merges.merge, context, customer)
    return await corrected(context, body, lock, step, Customer.of)


@customers.acts("/customers/{customer}/archiving", Customer, "customers:erase")
async def archive_customer(context: Ctx, customer: Key, body: ReasonGiven) -> Response:
    """Archive a customer that is gone.

    It is no longer listed. Everything else goes on: questions about it are answered as before.
    """
    row = await service.archive(context, customer, archived=True, reason=body.reason)
    return ok(context, Customer.of(row))


@customers.acts("/customers/{customer}/restoring", Customer, "customers:erase")
async def restore_customer(context: Ctx, customer: Key, body: ReasonGiven) -> Response:
    """Restore an archived customer.

    It is listed again.
    """
    row = await service.archive(context, customer, archived=False, reason=body.reason)
    return ok(context, Customer.of(row))


@customers.acts(
    "/customers/{customer}/personal-data/export",
    PersonalData,
    "customers:erase",
    AmbiguousPerson,
    etag=False,
    stores_answers=False,
)
async def export_personal_data(context: Ctx, customer: Key, body: PersonSought) -> Response:
    """Read everything that is held about a person of a customer.

    Give exactly one of the fields. The answer is never stored: an `Idempotency-Key` is ignored.
    """
    found = await personal_data.export(context, customer, *body.sought())
    return ok(context, PersonalData.of(found), etag=False)


@customers.acts(
    "/customers/{customer}/personal-data/erasure",
    Erasure,
    "customers:erase",
    AmbiguousPerson,
    etag=False,
    sends=("Content-Language",),
)
async def erase_personal_data(context: Ctx, customer: Key, body: PersonSought) -> Response:
    """Erase a person of a customer, for good.

    A pseudonym takes the place of the person wherever they are held. In the cases that they asked
    for, every text goes; elsewhere their name, e-mail addresses and phone numbers. Numbers, dates,
    minutes and charges stay. Give exactly one of the fields. The answer says what stays, and why.
    """
    erased = await personal_data.erase(context, customer, *body.sought())
    language = context.language
    answer = Erasure(**asdict(erased), **what_stays(language))
    return ok(context, answer, etag=False, headers={"Content-Language": language})
