"""Customers, with their contacts and other systems' references: created, replaced, changed, read.

Every change goes through `_change`, which writes and records only what differs.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Row,
    Select,
    any_,
    delete,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy import update as changing
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import AlreadyExists, CustomerMerged, NotFound, invalid
from app.ids import new_id
from app.policy.document import Column, Policies, Service
from app.services.contacts import (
    MOST_CONTACTS,
    Contact,
    GivenContact,
    in_e164,
    phones_in_e164,
    replaced,
)
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, find_locked, survivor, visible, within
from app.store.event_types import (
    Change,
    ContactChanges,
    CustomerArchived,
    CustomerUpdated,
    EventType,
)
from app.store.facts import computed
from app.store.keyset import Listing, Rare, exactly
from app.store.tables import (
    contacts,
    customers,
    external_refs,
    merged_customers,
    standing_kinds,
    standings,
)
from app.store.tables.master_data import CONTACT_TEXT, CUSTOMER_TEXT
from app.store.tables.text_search import beginnings

MOST_REFERENCES = 20

_OWN = ("code", "name", "country", "language", "vat_number", "help_desk")

_WHOLE = (
    literal_column(
        """coalesce((SELECT json_object_agg(system, ref ORDER BY system) FROM external_refs
            WHERE customer_id = customers.id), '{}')""",
        JSON,
    ).label("external_refs"),
    literal_column(
        """coalesce((SELECT json_agg(json_build_object(
                'id', id, 'name', name, 'email', email, 'phones', phones) ORDER BY position, id)
            FROM contacts WHERE customer_id = customers.id), '[]')""",
        JSON,
    ).label("contacts"),
    literal_column(
        """coalesce((SELECT json_agg(json_build_object('id', r.id, 'code', r.code)
                ORDER BY r.merged_at, r.id)
            FROM merged_customers m JOIN customers r ON r.id = m.customer_id
            WHERE m.survivor_id = customers.id), '[]')""",
        JSON,
    ).label("merged_from"),
)
"""With the customer's own columns, a whole customer in one row."""

_record = customers.alias("record")
# Only a taken code makes the insert do nothing; any other conflict would be our own mistake.
_INSERT = insert(customers).on_conflict_do_nothing().returning(customers.c.id)
_INSERT_CONTACT = insert(contacts)
_UPSERT_CONTACT = _INSERT_CONTACT.on_conflict_do_update(
    index_elements=[contacts.c.id],
    set_={name: _INSERT_CONTACT.excluded[name] for name in ("position", "name", "email", "phones")},
)


@dataclass(frozen=True, slots=True)
class Customer:
    """A whole customer as stored."""

    id: UUID
    code: str
    name: str
    country: str
    language: str
    vat_number: str | None
    help_desk: str | None
    external_refs: dict[str, str]
    """Each other system's reference to the customer, by the system's name."""
    contacts: list[Contact]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None
    merged_at: datetime | None = None
    """When it became part of another record."""
    merged_from: list[dict[str, str]] = field(default_factory=list)
    """Id and code of each record that became part of it (R49)."""


async def read(work: UnitOfWork, key: str | UUID) -> Row[Any]:
    """A whole customer, by id or code. Raises NotFound."""
    return await find(work, customers, key, _whole(work))


async def load(connection: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, Customer]:
    """Whole customers by id, for commands that see all of them."""
    rows = await connection.execute(select(customers, *_WHOLE).where(customers.c.id.in_(ids)))
    return {row.id: _stored(row) for row in rows}


class StandingSought(NamedTuple):
    """What a customer has to stand in, or may use, and since when it has to be different."""

    column: Column | None = None
    service: Service | None = None
    changed_after: datetime | None = None

    @property
    def is_given(self) -> bool:
        return any(one is not None for one in self)

    @property
    def kinds(self) -> Select[Any]:
        """The ids of the combinations of columns and services that have what is sought."""
        found = select(standing_kinds.c.id)
        if self.column is not None:
            found = found.where(any_(standing_kinds.c.columns) == self.column)
        if self.service is not None:
            found = found.where(any_(standing_kinds.c.services) == self.service)
        return found

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """Those on a row of `standings`."""
        found: list[ColumnElement[bool]] = []
        if self.column is not None or self.service is not None:
            found.append(standings.c.kind_id == any_(func.array(self.kinds.scalar_subquery())))
        if self.changed_after is not None:
            found.append(standings.c.changed_at > self.changed_after)
        return found


def search(
    work: UnitOfWork,
    q: str | None,
    country: str | None,
    reference: tuple[str, str] | None,
    *,
    archived: bool,
    standing: StandingSought,
) -> Listing:
    """Whole customers in the order in which they were created.

    `q`: words or their beginnings, all of the customer itself, of a record that was merged into it,
    or of one contact. `reference`: another system's name, and its reference to the customer.
    `archived`: those that are archived, or those that are not (R49). `standing`: those with one.
    """
    is_archived = customers.c.archived_at.is_not(None)
    where = [
        within(work.caller, customers),
        customers.c.merged_at.is_(None),
        is_archived if archived else ~is_archived,
    ]
    if country is not None:
        where.append(exactly(customers.c.country, country))
    if reference is not None:
        system, ref = reference
        owner = select(external_refs.c.customer_id).where(
            external_refs.c.system == system, external_refs.c.ref == ref
        )
        where.append(customers.c.id == survivor(owner.scalar_subquery()))
    rows, order = _whole(work), customers.c.id
    rare = None if q is None else _has_words(q)
    among = None
    fixed: tuple[ColumnElement[Any], ...] = () if country is None else (customers.c.country,)
    if standing.is_given:
        if q is not None or reference is not None or work.caller.customer_id is not None:
            where.append(exists().where(standings.c.customer_id == order, *standing.conditions))
        elif standing.changed_after is not None or country is not None or archived:
            found = select(standings.c.customer_id).where(*standing.conditions)
            rare = Rare(
                exists().where(standings.c.customer_id == order, *standing.conditions),
                order == any_(func.array(found.scalar_subquery())),
            )
        else:
            # The standings of each kind are in order, so the page is made of their first rows.
            rows = rows.add_columns(standings.c.customer_id).where(standings.c.customer_id == order)
            where.append(standings.c.customer_id == order)
            order = standings.c.customer_id
            kinds = standing.kinds.subquery("kinds")
            # As a range, for the same reason as in `exactly`: some kinds are rare.
            among = kinds, standings.c.kind_id.between(kinds.c.id, kinds.c.id)
            fixed = (standings.c.kind_id,)
    return Listing(
        "customers",
        rows,
        (order,),
        where=tuple(where),
        among=among,
        fixed=fixed,
        rare=rare,
        long_columns=("contacts",),
    )


async def create(
    work: UnitOfWork, fields: Mapping[str, Any], given: Sequence[GivenContact]
) -> Row[Any]:
    """Create a customer. Raises as `own_fields` and `in_e164`; AlreadyExists for its code."""
    own = own_fields(work.policies, fields)
    given = await _read_numbers(given, own["country"])
    people = [Contact(new_id(), one.name, one.email, one.phones) for one in given]
    customer = _new(work, contacts=people, **own)
    if not await _insert(work, customer):
        raise AlreadyExists("code")
    return await read(work, customer.id)


async def put(
    work: UnitOfWork,
    code: str,
    fields: Mapping[str, Any],
    given: Sequence[GivenContact],
    precondition: Callable[[Customer | None], None],
) -> tuple[Row[Any], bool]:
    """Create the customer with this code, or replace all its fields and contacts.

    Returns the customer, and whether it was created. `precondition` takes what is stored. Raises
    as `own_fields`, `in_e164`, `contacts.match` and `precondition`, and CustomerMerged for the code
    of a record that became part of another (R49).
    """
    own = own_fields(work.policies, fields)
    given = await _read_numbers(given, own["country"])
    try:
        before = await _read_locked(work, code)
    except NotFound:
        precondition(None)
        customer = _new(work, code=code, contacts=replaced(given, []), **own)
        if await _insert(work, customer):
            return await read(work, customer.id), True
        # Another request created it in the meantime.
        before = await _read_locked(work, code)
    if before.code.lower() != code.lower():
        raise CustomerMerged(before.id, before.code, before.name)
    precondition(before)
    await _change(work, before, replace(before, contacts=replaced(given, before.contacts), **own))
    return await read(work, before.id), False


async def update(
    work: UnitOfWork,
    key: str,
    changes: Mapping[str, Any],
    precondition: Callable[[Customer], None],
) -> Row[Any]:
    """Change some fields of a customer.

    `external_refs` are merged: None removes one, or all of them in place of the mapping. Raises
    NotFound, AlreadyExists, and as `check_desk` and `precondition`.
    """
    before = await _read_locked(work, key)
    precondition(before)
    check_desk(work.policies, changes.get("help_desk"))
    changed = dict(changes)
    if "external_refs" in changed:
        patch = changed["external_refs"]
        merged = {} if patch is None else {**before.external_refs, **patch}
        changed["external_refs"] = {name: ref for name, ref in merged.items() if ref is not None}
    await _change(work, before, replace(before, **changed))
    return await read(work, before.id)


async def archive(work: UnitOfWork, key: str, *, archived: bool, reason: str) -> Row[Any]:
    """Archive a customer, or restore it (R49). One that is as wanted stays as it is.

    An archived customer is not listed; everything else goes on. Raises NotFound.
    """
    row = await find_locked(work, customers, key)
    if (row.archived_at is not None) != archived:
        await work.connection.execute(
            changing(customers)
            .where(customers.c.id == row.id)
            .values(archived_at=work.now if archived else None, updated_at=work.now)
        )
        data: CustomerArchived = {"code": row.code, "archived": archived, "reason": reason}
        await work.record(EventType.CUSTOMER_ARCHIVED, data, customer_id=row.id, subject_id=row.id)
    return await read(work, row.id)


async def read_contact(work: UnitOfWork, key: str, contact_id: UUID) -> Contact:
    """One contact of a customer. Raises NotFound."""
    return _contact(_stored(await read(work, key)), contact_id)


async def add_contact(work: UnitOfWork, key: str, given: GivenContact) -> tuple[UUID, Contact]:
    """Add a contact: its customer's id, and the contact. Raises NotFound, as `phones_in_e164`."""
    before = await _read_locked(work, key)
    (phones,) = phones_in_e164([("", given.phones)], before.country)
    contact = Contact(new_id(), given.name, given.email, phones)
    await _change(work, before, replace(before, contacts=[*before.contacts, contact]))
    return before.id, contact


async def update_contact(
    work: UnitOfWork,
    key: str,
    contact_id: UUID,
    changes: Mapping[str, Any],
    precondition: Callable[[Contact], None],
) -> Contact:
    """Change some fields of a contact. Raises NotFound, as `precondition`, `phones_in_e164`."""
    before = await _read_locked(work, key)
    contact = _contact(before, contact_id)
    precondition(contact)
    changed = dict(changes)
    if "phones" in changed:
        (changed["phones"],) = phones_in_e164([("", changed["phones"])], before.country)
    after = replace(contact, **changed)
    people = [after if one.id == contact.id else one for one in before.contacts]
    await _change(work, before, replace(before, contacts=people))
    return after


async def delete_contact(
    work: UnitOfWork, key: str, contact_id: UUID, precondition: Callable[[Contact], None]
) -> None:
    """Remove a contact. Raises NotFound, as `precondition`."""
    before = await _read_locked(work, key)
    contact = _contact(before, contact_id)
    precondition(contact)
    left = [one for one in before.contacts if one.id != contact.id]
    await _change(work, before, replace(before, contacts=left))


def check_desk(policies: Policies, desk: str | None) -> None:
    """Raises InvalidInput for a help desk that no version of the policy has (R35)."""
    if desk is not None and desk not in policies.desk_ids:
        raise invalid(
            "/help_desk", "not_allowed_value", allowed=", ".join(sorted(policies.desk_ids))
        )


def own_fields(policies: Policies, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A customer's own fields, the language filled in. Raises as `check_desk`."""
    check_desk(policies, fields["help_desk"])
    by_country = policies.versions[-1].desk_for(fields["country"], None).language
    return {**fields, "language": fields["language"] or by_country}


def difference(before: Customer, after: Customer) -> CustomerUpdated | None:
    """What the event of a change says; None where nothing differs.

    Raises InvalidInput for too many contacts or references.
    """
    changed: dict[str, Change] = {
        field: {"before": getattr(before, field), "after": getattr(after, field)}
        for field in (*_OWN, "external_refs")
        if getattr(after, field) != getattr(before, field)
    }
    data: CustomerUpdated = {"code": after.code, "changed": changed}
    if "external_refs" in changed and len(after.external_refs) > MOST_REFERENCES:
        raise invalid("/external_refs", "too_many", limit=MOST_REFERENCES)
    if after.contacts != before.contacts:
        if len(after.contacts) > MOST_CONTACTS:
            raise invalid("/contacts", "too_many", limit=MOST_CONTACTS)
        data["contacts"] = _moved(before.contacts, after.contacts)
    return data if changed or "contacts" in data else None


def _moved(before: Sequence[Contact], after: Sequence[Contact]) -> ContactChanges:
    old, new = ({contact.id: contact for contact in side} for side in (before, after))
    return {
        "added": [str(id_) for id_ in new if id_ not in old],
        "changed": [str(id_) for id_ in new if id_ in old and new[id_] != old[id_]],
        "removed": [str(id_) for id_ in old if id_ not in new],
    }


def _whole(work: UnitOfWork) -> Select[Any]:
    """Every customer in sight, whole."""
    return visible(work.caller, customers).add_columns(*_WHOLE)


def _stored(row: Row[Any]) -> Customer:
    values = row._asdict()
    people = [Contact(**{**one, "id": UUID(one["id"])}) for one in values["contacts"]]
    return Customer(**{**values, "contacts": people})


async def _read_locked(work: UnitOfWork, key: str) -> Customer:
    """A customer, read under its lock. Raises NotFound."""
    return _stored(await find_locked(work, customers, key, _whole(work)))


def _contact(customer: Customer, contact_id: UUID) -> Contact:
    for contact in customer.contacts:
        if contact.id == contact_id:
            return contact
    raise NotFound


def _has_words(q: str) -> Rare:
    words = beginnings(q)
    if words is None:
        return Rare(false(), false())
    of_customer = contacts.c.customer_id == customers.c.id
    people = select(contacts.c.customer_id).where(words.indexed(CONTACT_TEXT))
    itself = select(customers.c.id).where(words.indexed(CUSTOMER_TEXT))
    # The words of a merged record are its survivor's too. They stand in the inner table here. An
    # array, and an aggregate, because the planner would read every merged record otherwise.
    records = select(_record.c.id).where(words.indexed(CUSTOMER_TEXT))
    merged = select(merged_customers.c.survivor_id).where(
        merged_customers.c.customer_id == any_(func.array(records.scalar_subquery()))
    )
    found = union_all(itself.correlate(None), people, merged)
    of_record = (
        select(func.bool_or(words.match(CUSTOMER_TEXT)))
        .join_from(merged_customers, _record, _record.c.id == merged_customers.c.customer_id)
        .where(merged_customers.c.survivor_id == customers.c.id)
    )
    return Rare(
        or_(
            words.match(CUSTOMER_TEXT),
            exists().where(of_customer, words.match(CONTACT_TEXT)),
            of_record.scalar_subquery(),
        ),
        customers.c.id == any_(func.array(found.scalar_subquery())),
    )


async def _read_numbers(given: Sequence[GivenContact], country: str) -> list[GivenContact]:
    """`in_e164`, beside the event loop where they are many: a thousand odd ones took 140 ms."""
    characters = sum(len(phone) for contact in given for phone in contact.phones)
    return await computed(characters, in_e164, given, country)


def _new(work: UnitOfWork, **fields: Any) -> Customer:
    return Customer(id=new_id(), created_at=work.now, updated_at=work.now, **fields)


async def _insert(work: UnitOfWork, customer: Customer) -> bool:
    """Insert a whole customer; False if its code is taken."""
    own = {name: getattr(customer, name) for name in ("id", *_OWN, "created_at", "updated_at")}
    if (await work.connection.execute(_INSERT, own)).one_or_none() is None:
        return False
    await _insert_references(work, customer)
    await _write_contacts(work, customer)
    await record_change(work, customer.id, {"code": customer.code, "created": True})
    return True


async def _change(work: UnitOfWork, before: Customer, after: Customer) -> None:
    """Write what differs, under the customer's lock; nothing where nothing does.

    Raises as `difference`. The database refuses a taken code.
    """
    data = difference(before, after)
    if data is None:
        return
    if "external_refs" in data["changed"]:
        await work.connection.execute(
            delete(external_refs).where(external_refs.c.customer_id == after.id)
        )
        await _take_from_merged(work, after)
        await _insert_references(work, after)
    if "contacts" in data:
        if gone := [UUID(id_) for id_ in data["contacts"]["removed"]]:
            await work.connection.execute(delete(contacts).where(contacts.c.id.in_(gone)))
        await _write_contacts(work, after)
    own = {name: getattr(after, name) for name in _OWN if name in data["changed"]}
    await work.connection.execute(
        changing(customers).where(customers.c.id == after.id).values(**own, updated_at=work.now)
    )
    await record_change(work, after.id, data)


async def _take_from_merged(work: UnitOfWork, customer: Customer) -> None:
    """References that records merged into the customer have kept are its own if it wants them."""
    if customer.merged_from and customer.external_refs:
        await work.connection.execute(
            delete(external_refs).where(
                external_refs.c.customer_id.in_([UUID(one["id"]) for one in customer.merged_from]),
                tuple_(external_refs.c.system, external_refs.c.ref).in_(
                    list(customer.external_refs.items())
                ),
            )
        )


async def _insert_references(work: UnitOfWork, customer: Customer) -> None:
    if customer.external_refs:
        await work.connection.execute(
            insert(external_refs),
            [
                {"customer_id": customer.id, "system": system, "ref": ref}
                for system, ref in customer.external_refs.items()
            ],
        )


async def _write_contacts(work: UnitOfWork, customer: Customer) -> None:
    if customer.contacts:
        await work.connection.execute(
            _UPSERT_CONTACT,
            [
                {**asdict(contact), "customer_id": customer.id, "position": position}
                for position, contact in enumerate(customer.contacts)
            ],
        )


async def record_change(work: UnitOfWork, customer_id: UUID, data: CustomerUpdated) -> None:
    """Append the event of a change, as `difference` says it."""
    await work.record(
        EventType.CUSTOMER_UPDATED, data, customer_id=customer_id, subject_id=customer_id
    )
