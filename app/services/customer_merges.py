"""Two records of one customer become one (R49).

Nothing is granted, counted or charged anew: licences, contracts, packs, cases and the ledger pass
to the survivor as they are, as if the licences of both had been registered late with one (R14).
Only years of free hours that begin on one day are one year. The other record stays as a forwarding
address: its id and code lead to the survivor.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update

from app.errors import CustomerMerged, CustomerNotFound, NotFound, WrongState, invalid
from app.services import customers as service
from app.services import tokens
from app.services.contacts import MOST_CONTACTS
from app.services.customers import MOST_REFERENCES, Customer
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import itself, lock_customers, survivor, within
from app.store.corrections import join_years
from app.store.event_types import EventType, RecordsMerged
from app.store.ledger import Ledger
from app.store.tables import customers, merged_customers

_CHECK = text("SET CONSTRAINTS ALL IMMEDIATE")


async def lock(work: UnitOfWork, key: str, into: str) -> list[UUID]:
    """Lock both records of a merge that is tried out, the survivor first. Raises as `merge`."""
    merged, into_ = await _lock_both(work, key, into)
    return [into_.id, merged.id]


async def merge(work: UnitOfWork, key: str, *, into: str, reason: str) -> Row[Any]:
    """Let a customer become part of another one; the survivor as `customers.read` gives it.

    Raises NotFound, CustomerNotFound for `into`, CustomerMerged for a record that is merged
    already, WrongState if the survivor is archived, and InvalidInput for one customer twice or more
    contacts or references than one may have.
    """
    merged, kept = await _lock_both(work, key, into)
    after = _together(kept, merged)
    await _forward(work, merged.id, kept.id)
    await tokens.revoke_bound(work.connection, work.now, merged.id)
    superseded = await work.connection.execute(
        select(func.unnest(func.move_to_survivor(merged.id, kept.id)))
    )
    await work.connection.execute(_CHECK)
    ledger = Ledger(work.connection, work.policies, kept.id, work.now)
    await join_years(ledger, superseded.scalars().all())
    await _record(work, merged, kept, reason)
    if (changes := service.difference(kept, after)) is not None:
        await service.record_change(work, kept.id, changes)
    return await service.read(work, kept.id)


async def _lock_both(work: UnitOfWork, key: str, into: str) -> tuple[Customer, Customer]:
    """The record that becomes part of the other, and the survivor, both locked and read."""
    ids = [await _id_of(work, key, NotFound), await _id_of(work, into, CustomerNotFound)]
    # Nobody waits for a lock with that of a merged record in hand.
    await _live(work, ids)
    await lock_customers(work, *ids)
    # During the wait a code may have gone to another customer, who is not locked.
    if await _id_of(work, key, NotFound) != ids[0]:
        raise NotFound
    if await _id_of(work, into, CustomerNotFound) != ids[1]:
        raise CustomerNotFound
    merged, kept = await _live(work, ids)
    if merged.id == kept.id:
        raise invalid("/into", "same_customer")
    if kept.archived_at is not None:
        raise WrongState("archived", "merged")
    return merged, kept


async def _live(work: UnitOfWork, ids: Sequence[UUID]) -> list[Customer]:
    """The records with these ids. Raises CustomerMerged."""
    found = await service.load(work.connection, ids)
    for id_ in ids:
        if found[id_].merged_at is not None:
            query = select(customers).where(customers.c.id == survivor(id_))
            last = (await work.connection.execute(query)).one()
            raise CustomerMerged(last.id, last.code, last.name)
    return [found[id_] for id_ in ids]


async def _id_of(work: UnitOfWork, key: str, missing: type[NotFound]) -> UUID:
    """The id of the record itself, merged or not. Raises `missing`."""
    query = select(customers.c.id).where(itself(key), within(work.caller, customers))
    found: UUID | None = await work.connection.scalar(query)
    if found is None:
        raise missing
    return found


def _together(kept: Customer, merged: Customer) -> Customer:
    """The survivor with the contacts and references of both. Raises InvalidInput for too many."""
    contacts = [*kept.contacts, *merged.contacts]
    references = merged.external_refs | kept.external_refs
    for found, most in ((contacts, MOST_CONTACTS), (references, MOST_REFERENCES)):
        if len(found) > most:
            raise invalid("/into", "too_many", limit=most)
    return replace(kept, contacts=contacts, external_refs=references)


async def _forward(work: UnitOfWork, merged: UUID, kept: UUID) -> None:
    """Let a record, and all that were merged into it, lead to the survivor."""
    earlier = merged_customers.c.survivor_id == merged
    await work.connection.execute(update(merged_customers).where(earlier).values(survivor_id=kept))
    await work.connection.execute(
        insert(merged_customers).values(customer_id=merged, survivor_id=kept)
    )
    both, ended = customers.c.id.in_((merged, kept)), customers.c.id == merged
    await work.connection.execute(update(customers).where(both).values(updated_at=work.now))
    await work.connection.execute(update(customers).where(ended).values(merged_at=work.now))


async def _record(work: UnitOfWork, merged: Customer, kept: Customer, reason: str) -> None:
    for record in (merged, kept):
        data: RecordsMerged = {
            "code": record.code,
            "merged": {"id": str(merged.id), "code": merged.code},
            "into": {"id": str(kept.id), "code": kept.code},
            "reason": reason,
        }
        if record is merged:
            data["before"], data["after"] = {"merged_into": None}, {"merged_into": kept.code}
        await work.record(
            EventType.CUSTOMER_MERGED, data, customer_id=record.id, subject_id=record.id
        )
