"""What is held about one person of a customer: found, exported and erased (R43).

A person is found by a contact, an e-mail address, a phone number or a name, and by the cases that
they asked for. All texts in those cases are theirs: what staff wrote there cannot be told apart
from what it quotes. In every other record of the customer it is their name, e-mail addresses and
phone numbers that identify them (see `people`). A case that was moved to the customer has left the
same words where it was before (R47): they are covered too. An export lists exactly the values that
an erasure changes: both ask `_changed` and `_without`.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Table,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    text,
    update,
)

from app.errors import AmbiguousPerson, NotFound, invalid
from app.services.emails import ascii_form
from app.services.people import Person, folded
from app.services.phones import e164
from app.services.unit_of_work import UnitOfWork
from app.services.visibility import find, find_locked, records
from app.store.blocks import in_blocks
from app.store.event_types import CustomerErased, EventType
from app.store.tables import (
    calls,
    cases,
    contacts,
    contracts,
    customers,
    events,
    licences,
    time_entries,
)
from app.store.words import take_out_of_answers, take_out_of_events

By = Literal["contact_id", "email", "phone", "name"]

WORDS = frozenset(
    {
        "body",
        "cancellation_reason",
        "description",
        "example_url",
        "note",
        "product",
        "product_version",
        "reason",
        "resolution",
        "reversal_reason",
        "steps_to_reproduce",
        "subject",
        "withdrawal_reason",
    }
)
"""Members of events and answers that hold what people wrote."""
KEPT = frozenset({"product", "product_version"})
"""Words about the product rather than a person's: only a name in them is replaced."""
_COLUMNS: dict[Table, tuple[str, ...]] = {
    cases: (
        "requester_name",
        "requester_email",
        "requester_phone",
        "product",
        "product_version",
        "subject",
        "description",
        "steps_to_reproduce",
        "example_url",
        "resolution",
    ),
    time_entries: ("note", "reversal_reason"),
    licences: ("withdrawal_reason",),
    contracts: ("cancellation_reason",),
}
_NOBODY = "erased-0"


class Held(NamedTuple):
    """A value that is held about the person."""

    record: str
    """The table that has it, in the singular, or `event`."""
    id: str
    field: str
    value: str


class TheirCase(NamedTuple):
    """A case that the person asked for."""

    id: UUID
    number: str
    state: str
    channel: str
    opened_at: datetime
    closed_at: datetime | None


_OF_CASE = (
    *(cases.c[name] for name in TheirCase._fields),
    cases.c.requester_contact_id,
    cases.c.requester_name,
    cases.c.requester_email,
    cases.c.requester_phone,
)

# What each case of a customer was before it was moved: `id`, `number` and `customer_id`, and the id
# of the customer's case that has its words.
_BEFORE_MOVES = text("""
    WITH RECURSIVE was AS (
        SELECT k.id AS case_id, k.moved_from FROM cases k
        WHERE k.customer_id = :customer AND k.moved_from IS NOT NULL
        UNION ALL
        SELECT was.case_id, o.moved_from FROM was JOIN cases o ON o.id = was.moved_from
        WHERE o.moved_from IS NOT NULL)
    SELECT was.case_id, o.id, o.number, o.customer_id FROM was JOIN cases o ON o.id = was.moved_from
""")


@dataclass(frozen=True, slots=True)
class Found:
    """What is held about a person."""

    contacts: list[Row[Any]]
    cases: list[TheirCase]
    held: list[Held]


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did: how many records of each kind it changed."""

    pseudonym: str
    contacts: int
    cases: int
    time_entries: int
    licences: int
    contracts: int
    calls: int
    events: int
    stored_answers: int


@dataclass(slots=True)
class _Person:
    """Who is meant, and how to recognise them."""

    customer: Row[Any]
    contacts: dict[UUID, Row[Any]]
    cases: dict[UUID, Row[Any]]
    """The customer's cases that they asked for."""
    moved: Sequence[Row[Any]]
    """What cases of the customer were before they were moved, as `_BEFORE_MOVES` gives it."""
    who: Person
    case_ids: frozenset[UUID] = field(init=False)
    """The ids of all cases that they asked for, and of what a moved case was before its moves."""
    numbers: frozenset[str] = field(init=False)
    """The numbers of the same cases."""

    def __post_init__(self) -> None:
        asked = [*self.cases.values(), *(one for one in self.moved if one.case_id in self.cases)]
        self.case_ids = frozenset(case.id for case in asked)
        self.numbers = frozenset(case.number for case in asked)

    def of_moved(self, case_id: ColumnElement[UUID]) -> ColumnElement[bool]:
        """The rows of cases that were moved to the customer, as they were before."""
        return case_id.in_([one.id for one in self.moved]) if self.moved else false()


async def export(work: UnitOfWork, key: str, by: By, value: Any) -> Found:
    """Everything held about a person of a customer.

    Raises NotFound, InvalidInput for text that is not a phone number, and AmbiguousPerson where
    people of different names have the address or number.
    """
    customer = await find(work, customers, key)
    person = await _identify(work, customer, by, value)
    held = [
        Held("contact", str(one.id), name, text)
        for one in person.contacts.values()
        for name, text in (("name", one.name), ("email", one.email), *_phones(one))
        if text is not None
    ]
    for table, names in _COLUMNS.items():
        async for row, new in _changed(work, person, table, _NOBODY):
            record = "time_entry" if table is time_entries else table.name.removesuffix("s")
            held += [
                Held(record, str(row.id), name, row._mapping[name]) for name in names if name in new
            ]
    held += [
        Held("call", str(call.id), "number", call.number)
        for call in await work.connection.execute(
            select(calls).where(_calls_of(person)).order_by(calls.c.id)
        )
    ]
    told_under = events.c.customer_id.in_(await records(work, customer.id))
    ours = or_(told_under, person.of_moved(events.c.case_id))
    async for event in in_blocks(work.connection, events, ours):
        own = event.case_id in person.case_ids
        held += [
            Held("event", str(event.id), path, text)
            for path, text in _differing(event.data, _without(event.data, person, _NOBODY, own=own))
        ]
    theirs = [
        TheirCase(*(case._mapping[name] for name in TheirCase._fields))
        for case in person.cases.values()
    ]
    return Found(list(person.contacts.values()), theirs, held)


async def erase(work: UnitOfWork, key: str, by: By, value: Any) -> Erased:
    """Replace a person by a pseudonym, wherever they are held. Raises as `export`.

    Numbers, dates, minutes and charges stay, and so do the company's own data.
    """
    customer = await find_locked(work, customers, key)
    person = await _identify(work, customer, by, value)
    number = await work.connection.scalar(select(func.nextval("erasure_numbers")))
    pseudonym = f"erased-{number}"
    counts: dict[Table, int] = {}
    for table in _COLUMNS:
        # The update names the columns in the parameters of each execution.
        statement = update(table).where(table.c.id == bindparam("of_row"))
        counts[table] = 0
        changes = [(row.id, new) async for row, new in _changed(work, person, table, pseudonym)]
        for id_, new in changes:
            touched = {"updated_at": work.now} if table is cases else {}
            await work.connection.execute(statement, {"of_row": id_, **new, **touched})
        counts[table] = len(changes)
    if person.contacts:
        await work.connection.execute(
            update(contacts)
            .where(contacts.c.id.in_(person.contacts))
            .values(name=pseudonym, email=None, phones=[])
        )
        await work.connection.execute(
            update(customers).where(customers.c.id == customer.id).values(updated_at=work.now)
        )
    called = await work.connection.execute(
        update(calls)
        .where(_calls_of(person))
        .values(number=None, updated_at=work.now)
        .returning(calls.c.id)
    )
    told = await take_out_of_events(
        work.connection,
        events.c.case_id.in_(person.case_ids),
        lambda data: _without(data, person, pseudonym, own=True),
    )
    told_under = await records(work, customer.id)
    told += await take_out_of_events(
        work.connection,
        or_(events.c.customer_id.in_(told_under), person.of_moved(events.c.case_id))
        & (events.c.case_id.is_(None) | events.c.case_id.not_in(person.case_ids)),
        lambda data: _without(data, person, pseudonym, own=False),
    )
    call_ids = called.scalars().all()
    # Every case of the customer's: its comments may name the person.
    all_cases = await work.connection.execute(
        select(cases.c.id, cases.c.number).where(cases.c.customer_id == customer.id)
    )
    elsewhere = {one.customer_id for one in person.moved}
    answers = await take_out_of_answers(
        work.connection,
        told_under,
        {str(one) for one in (*told_under, *person.contacts, *call_ids)}
        | {str(one) for case in all_cases for one in case}
        | {str(one) for case in person.moved for one in (case.id, case.number)},
        lambda answer: _without_in_answer(answer, person, pseudonym),
        others=[one for each in elsewhere for one in await records(work, each)],
    )
    data: CustomerErased = {
        "pseudonym": pseudonym,
        "contacts": [str(one) for one in person.contacts],
        "cases": sorted(case.number for case in person.cases.values()),
    }
    await work.record(
        EventType.CUSTOMER_ERASED, data, customer_id=customer.id, subject_id=customer.id
    )
    return Erased(
        pseudonym,
        contacts=len(person.contacts),
        cases=counts[cases],
        time_entries=counts[time_entries],
        licences=counts[licences],
        contracts=counts[contracts],
        calls=len(call_ids),
        events=told,
        stored_answers=answers,
    )


def _calls_of(person: _Person) -> ColumnElement[bool]:
    """The calls from the person's numbers, also those that were put down to no customer."""
    ours = calls.c.customer_id.is_(None) | (calls.c.customer_id == person.customer.id)
    return and_(calls.c.number.in_(person.who.phones), ours)


async def _identify(work: UnitOfWork, customer: Row[Any], by: By, value: Any) -> _Person:
    if by == "phone":
        number = e164(value, customer.country)
        if number is None:
            raise invalid("/phone", "not_a_phone_number")
        value = number
    people = await work.connection.execute(
        select(contacts)
        .where(contacts.c.customer_id == customer.id)
        .order_by(contacts.c.position, contacts.c.id)
    )
    known = {row.id: row for row in people}
    asked = await work.connection.execute(
        select(*_OF_CASE).where(cases.c.customer_id == customer.id).order_by(cases.c.opened_at)
    )
    requests = list(asked)

    fits = _fits(by, value)
    mine = {id_: row for id_, row in known.items() if fits(id_, row.name, row.email, row.phones)}
    asking = [
        row
        for row in requests
        if fits(
            row.requester_contact_id,
            row.requester_name,
            row.requester_email,
            [row.requester_phone],
        )
    ]
    if not mine and not asking:
        raise NotFound
    names = {folded(row.name): row.name for row in mine.values()}
    names |= {folded(row.requester_name): row.requester_name for row in asking}
    if by in ("email", "phone") and len(names) > 1:
        by_name = {folded(row.name): row.id for row in mine.values()}
        raise AmbiguousPerson(
            [
                {"contact_id": str(by_name[one]) if one in by_name else None, "name": name}
                for one, name in names.items()
            ]
        )
    if by != "contact_id":
        # Within one customer, one name is one person.
        mine |= {id_: row for id_, row in known.items() if folded(row.name) in names}
    others = [row for id_, row in known.items() if id_ not in mine]
    # A name that somebody else has too identifies nobody.
    names = {one: name for one, name in names.items() if one not in _names(others)}
    theirs = {
        row.id: row
        for row in requests
        if row.requester_contact_id in mine or folded(row.requester_name) in names
    }
    emails = {row.email for row in mine.values()} | {row.requester_email for row in theirs.values()}
    phones = {phone for row in mine.values() for phone in row.phones} | {
        row.requester_phone for row in theirs.values()
    }
    # Nor does an address or a number that the customer's other contacts have as well.
    emails -= {row.email for row in others}
    phones -= {phone for row in others for phone in row.phones}
    who = Person.called(
        names.values(), (one for one in emails if one), (one for one in phones if one)
    )
    moved = (await work.connection.execute(_BEFORE_MOVES, {"customer": customer.id})).all()
    return _Person(customer, mine, theirs, moved, who)


def _fits(by: By, value: Any) -> Callable[[Any, str, str | None, Sequence[str | None]], bool]:
    """Whether somebody with this contact's id, name, e-mail address and numbers is meant."""
    if by == "contact_id":
        return lambda id_, name, email, phones: id_ == value
    if by == "email":
        wanted = ascii_form(value)
        return lambda id_, name, email, phones: email is not None and ascii_form(email) == wanted
    if by == "phone":
        return lambda id_, name, email, phones: value in phones
    return lambda id_, name, email, phones: folded(name) == folded(value)


def _names(people: Sequence[Row[Any]]) -> set[str]:
    return {folded(row.name) for row in people}


def _phones(contact: Row[Any]) -> Iterator[tuple[str, str]]:
    for place, phone in enumerate(contact.phones):
        yield f"phones/{place}", phone


async def _changed(
    work: UnitOfWork, person: _Person, table: Table, pseudonym: str
) -> AsyncIterator[tuple[Row[Any], dict[str, str | None]]]:
    """Each row of a table that has values of the person, with what takes their place by column."""
    ours = table.c.customer_id == person.customer.id
    case_id = table.c.id if table is cases else table.c.get("case_id")
    if case_id is not None:
        ours = or_(ours, person.of_moved(case_id))
    async for row in in_blocks(work.connection, table, ours):
        own = case_id is not None and row._mapping[case_id] in person.case_ids
        new = {
            name: _replaced(table, name, row, person, pseudonym, own=own)
            for name in _COLUMNS[table]
            if row._mapping[name] is not None
        }
        new = {name: value for name, value in new.items() if value != row._mapping[name]}
        if new:
            yield row, new


def _replaced(
    table: Table, name: str, row: Row[Any], person: _Person, pseudonym: str, *, own: bool
) -> str | None:
    text: str = row._mapping[name]
    if own and name not in KEPT:
        required = not table.c[name].nullable or name in ("resolution", "reversal_reason")
        return pseudonym if required else None
    if not name.startswith("requester_"):
        return person.who.without(text, pseudonym)
    if not person.who.has(name.removeprefix("requester_"), text):
        return text
    return None if table.c[name].nullable else pseudonym


def _differing(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The texts of an event's data that are not in its changed data, by their paths."""
    if isinstance(old, dict):
        for key, value in old.items():
            yield from _differing(value, new[key], f"{path}/{key}")
    elif isinstance(old, list):
        for place, value in enumerate(old):
            yield from _differing(value, new[place], f"{path}/{place}")
    elif old != new:
        yield path, old


def _without(value: Any, person: _Person, pseudonym: str, *, own: bool) -> Any:
    """JSON without the person's words (`own`: all of the words are theirs) and names."""
    if isinstance(value, list):
        return [_without(one, person, pseudonym, own=own) for one in value]
    if not isinstance(value, dict):
        return value
    changed: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "requester" and isinstance(inner, dict):
            changed[key] = _requester(inner, person, pseudonym, own=own)
        elif isinstance(inner, str) and key in WORDS:
            if own and key not in KEPT:
                changed[key] = pseudonym
            else:
                changed[key] = person.who.without(inner, pseudonym)
        else:
            changed[key] = _without(inner, person, pseudonym, own=own)
    return changed


def _requester(
    requester: dict[str, Any], person: _Person, pseudonym: str, *, own: bool
) -> dict[str, Any]:
    changed = dict(requester)
    for key in ("name", "email", "phone"):
        text = requester.get(key)
        if text is not None and (own or person.who.has(key, text)):
            changed[key] = pseudonym if key == "name" else None
    return changed


def _without_in_answer(value: Any, person: _Person, pseudonym: str) -> Any:
    """A stored answer without the person: contacts, cases, entries of a timeline, time entries."""
    if isinstance(value, list):
        return [_without_in_answer(one, person, pseudonym) for one in value]
    if not isinstance(value, dict):
        return value
    id_, of_case = value.get("id"), value.get("case_id")
    ours = {str(one) for one in person.case_ids}
    if "call_id" in value and value.get("number") in person.who.phones:
        return value | {"number": None}
    is_contact = value.keys() == {"id", "name", "email", "phones"}
    if is_contact and (id_ in {str(one) for one in person.contacts} or _is_named(value, person)):
        return value | {"name": pseudonym, "email": None, "phones": []}
    own = id_ in ours or of_case in ours or value.get("number") in person.numbers
    if own or not any(isinstance(inner, dict | list) for inner in value.values()):
        return _without(value, person, pseudonym, own=own)
    deeper = {
        key: _without_in_answer(inner, person, pseudonym)
        if isinstance(inner, dict | list)
        else inner
        for key, inner in value.items()
    }
    return _without(deeper, person, pseudonym, own=False)


def _is_named(contact: dict[str, Any], person: _Person) -> bool:
    """Whether an answer shows a contact that was removed since and is this person."""
    name, email = contact["name"], contact["email"]
    return person.who.has("name", name) or (email is not None and person.who.has("email", email))
