"""Customers in the database: how one is read, and the one way in which one changes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Row,
    Select,
    delete,
    func,
    literal_column,
    or_,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import invalid
from app.http.legacy import find, reachable
from app.routers.customers.shapes import MOST_CONTACTS, MOST_REFERENCES, Contact, Customer
from app.services.unit_of_work import Caller
from app.store import events
from app.store.tables import contacts, customers, external_refs

_OWN = ("code", "name", "country", "language", "vat_number", "help_desk")

_REFERENCES = literal_column(
    """coalesce((SELECT json_object_agg(system, ref ORDER BY system) FROM external_refs
        WHERE customer_id = customers.id), '{}')""",
    JSON,
).label("external_refs")
_CONTACTS = literal_column(
    """coalesce((SELECT json_agg(json_build_object(
            'id', id, 'name', name, 'email', email, 'phones', phones) ORDER BY position, id)
        FROM contacts WHERE customer_id = customers.id), '[]')""",
    JSON,
).label("contacts")


_DOCUMENT: ColumnElement[Any] = literal_column(
    "to_tsvector('simple'::regconfig, (customers.name || ' '::text) || customers.code)"
)
# Split by the very parser that the index was made with; each lexeme is quoted, so that nothing in
# it is read as an operator, and stands for all that begins with it. Of the code `C-0042` that
# parser makes `c` and the number `-0042`, which people look for as `0042`.
_BEGINNINGS = text(
    r"""(SELECT string_agg(format($$('%1$s':* | '-%1$s':*)$$, quoted), ' & ')::tsquery
        FROM unnest(to_tsvector('simple', :q)),
            replace(replace(lexeme, '\', '\\'), $$'$$, $$''$$) AS quoted)"""
)


def representations(caller: Caller) -> Select[Any]:
    """Whole customers within reach, one row each."""
    return reachable(caller, customers).add_columns(_REFERENCES, _CONTACTS)


def customer_of(row: Row[Any]) -> Customer:
    return Customer.model_validate(row._asdict())


async def read(connection: AsyncConnection, caller: Caller, key: str | UUID) -> Customer:
    """The customer that an id or code names. Raises NotFound."""
    return customer_of(await find(connection, caller, customers, key, representations(caller)))


def matching(q: str) -> ColumnElement[bool]:
    """Customers whose name or code has all these words or beginnings, or whose code begins so."""
    words = _DOCUMENT.op("@@", is_comparison=True)(_BEGINNINGS.bindparams(q=q))
    code = func.lower(literal_column('customers.code COLLATE "C"'))
    # `~` lies behind everything that a code is made of.
    return or_(words, code.between(q.lower(), q.lower() + "~"))


async def create(
    connection: AsyncConnection, caller: Caller, now: datetime, customer: Customer
) -> bool:
    """Insert a whole customer; False if its code is taken."""
    own = {field: getattr(customer, field) for field in ("id", *_OWN, "created_at", "updated_at")}
    # Only a taken code makes a second insert wait and give way; all else is a mistake and fails.
    row = insert(customers).values(own).on_conflict_do_nothing().returning(customers.c.id)
    if (await connection.execute(row)).one_or_none() is None:
        return False
    await _write_references(connection, customer)
    await _write_contacts(connection, customer)
    await events.record(
        connection,
        "customer.updated",
        caller.actor,
        now,
        customer_id=customer.id,
        subject_id=customer.id,
        data={"code": customer.code, "created": True},
    )
    return True


def difference(before: Customer, after: Customer) -> dict[str, Any] | None:
    """What an event says of a change; None where nothing differs.

    Raises InvalidInput for too many contacts or references.
    """
    changed = {
        field: {"before": getattr(before, field), "after": getattr(after, field)}
        for field in (*_OWN, "external_refs")
        if getattr(after, field) != getattr(before, field)
    }
    data: dict[str, Any] = {"code": after.code, "changed": changed}
    if "external_refs" in changed and len(after.external_refs) > MOST_REFERENCES:
        raise invalid("/external_refs", "too_many", limit=MOST_REFERENCES)
    if after.contacts != before.contacts:
        if len(after.contacts) > MOST_CONTACTS:
            raise invalid("/contacts", "too_many", limit=MOST_CONTACTS)
        data["contacts"] = _moved(before.contacts, after.contacts)
    return data if changed or "contacts" in data else None


async def change(
    connection: AsyncConnection, caller: Caller, now: datetime, before: Customer, after: Customer
) -> None:
    """Write what differs, under the customer's lock; nothing at all where nothing does.

    Raises InvalidInput for too many contacts or references, the database for a taken code.
    """
    data = difference(before, after)
    if data is None:
        return
    if "external_refs" in data["changed"]:
        await connection.execute(
            delete(external_refs).where(external_refs.c.customer_id == after.id)
        )
        await _write_references(connection, after)
    if "contacts" in data:
        if gone := [UUID(id_) for id_ in data["contacts"]["removed"]]:
            await connection.execute(delete(contacts).where(contacts.c.id.in_(gone)))
        await _write_contacts(connection, after)
    own = {field: getattr(after, field) for field in _OWN if field in data["changed"]}
    await connection.execute(
        update(customers).where(customers.c.id == after.id).values(**own, updated_at=now)
    )
    await events.record(
        connection,
        "customer.updated",
        caller.actor,
        now,
        customer_id=after.id,
        subject_id=after.id,
        data=data,
    )


def _moved(before: Sequence[Contact], after: Sequence[Contact]) -> dict[str, list[str]]:
    # Ids alone: events are never deleted, and a deleted person's name must not live on in them.
    old, new = ({contact.id: contact for contact in side} for side in (before, after))
    return {
        "added": [str(id_) for id_ in new if id_ not in old],
        "changed": [str(id_) for id_ in new if id_ in old and new[id_] != old[id_]],
        "removed": [str(id_) for id_ in old if id_ not in new],
    }


async def _write_references(connection: AsyncConnection, customer: Customer) -> None:
    if customer.external_refs:
        await connection.execute(
            insert(external_refs),
            [
                {"customer_id": customer.id, "system": system, "ref": ref}
                for system, ref in customer.external_refs.items()
            ],
        )


async def _write_contacts(connection: AsyncConnection, customer: Customer) -> None:
    if customer.contacts:
        row = insert(contacts)
        fields = ("position", "name", "email", "phones")
        await connection.execute(
            row.on_conflict_do_update(
                index_elements=[contacts.c.id],
                set_={field: row.excluded[field] for field in fields},
            ),
            [
                {**contact.model_dump(), "customer_id": customer.id, "position": position}
                for position, contact in enumerate(customer.contacts)
            ],
        )
