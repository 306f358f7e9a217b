"""A customer's contacts: their phone numbers read, and known ones recognised when all are replaced.

`app.services.customers` stores them, because they belong to the customer's record.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from app.errors import MOST_ERRORS, InputError, InvalidInput
from app.ids import new_id
from app.services.emails import ascii_form
from app.services.phones import e164

MOST_CONTACTS, MOST_PHONES = 100, 10


@dataclass(frozen=True, slots=True)
class Contact:
    """A person as stored; phone numbers are in E.164."""

    id: UUID
    name: str
    email: str | None
    phones: list[str]


class GivenContact(NamedTuple):
    """A person as the caller describes them."""

    name: str
    email: str | None
    phones: list[str]
    id: UUID | None = None


def in_e164(given: Sequence[GivenContact], country: str) -> list[GivenContact]:
    """The contacts with their numbers in E.164. Raises as `phones_in_e164`."""
    numbers = phones_in_e164(
        ((f"/contacts/{place}", contact.phones) for place, contact in enumerate(given)), country
    )
    return [one._replace(phones=phones) for one, phones in zip(given, numbers, strict=True)]


def phones_in_e164(given: Iterable[tuple[str, list[str]]], country: str) -> list[list[str]]:
    """Each contact's numbers in E.164 without repetition; national ones are read in `country`.

    Takes each contact's pointer with its numbers. Raises InvalidInput, naming the texts that are
    not a phone number.
    """
    errors: list[InputError] = []
    read: list[list[str]] = []
    for pointer, phones in given:
        if len(errors) >= MOST_ERRORS:
            break
        numbers: dict[str, None] = {}
        for position, text in enumerate(phones):
            number = e164(text, country)
            if number is None:
                errors.append(InputError(f"{pointer}/phones/{position}", "not_a_phone_number"))
            else:
                numbers[number] = None
        read.append(list(numbers))
    if errors:
        raise InvalidInput(*errors)
    return read


def match(given: Sequence[GivenContact], known: Sequence[Contact]) -> list[UUID]:
    """The id of each given contact: its own, else that of the known contact which it describes,
    else a new one.

    It describes the first one with its e-mail address and name, before others the first with its
    telephone numbers as well; else the only one left with its address; else the only one left with
    its name. Several people may share an address, a name, or everything.

    Raises InvalidInput for an id that is not known, and for one that is given twice.
    """
    _refuse_wrong_ids(given, {contact.id for contact in known})
    ids = {place: one.id for place, one in enumerate(given) if one.id is not None}
    taken = set(ids.values())
    left = [one for one in known if one.id not in taken]
    for features, only in (
        ((_email, _name, _phones), False),
        ((_email, _name), False),
        ((_email,), True),
        ((_name,), True),
    ):
        by_features: dict[tuple[object, ...], list[Contact]] = {}
        for one in left:
            by_features.setdefault(tuple(of(one) for of in features), []).append(one)
        for place, contact in enumerate(given):
            key = tuple(of(contact) for of in features)
            alike = by_features.get(key)
            if place in ids or not alike or (only and (len(alike) > 1 or key == (None,))):
                continue
            found = alike.pop(0)
            ids[place] = found.id
            left.remove(found)
    return [ids.get(place) or new_id() for place in range(len(given))]


def replaced(given: Sequence[GivenContact], known: Sequence[Contact]) -> list[Contact]:
    """What replaces the known contacts, each with its id by `match`. Raises as `match`."""
    return [
        Contact(id_, one.name, one.email, one.phones)
        for id_, one in zip(match(given, known), given, strict=True)
    ]


def _email(one: GivenContact | Contact) -> str | None:
    return None if one.email is None else ascii_form(one.email)


def _name(one: GivenContact | Contact) -> str:
    return one.name.casefold()


def _phones(one: GivenContact | Contact) -> tuple[str, ...]:
    return tuple(one.phones)


def _refuse_wrong_ids(given: Sequence[GivenContact], known: set[UUID]) -> None:
    errors: list[InputError] = []
    seen: set[UUID] = set()
    for place, contact in enumerate(given):
        if contact.id is None:
            continue
        if contact.id not in known:
            errors.append(InputError(f"/contacts/{place}/id", "unknown_reference"))
        elif contact.id in seen:
            errors.append(InputError(f"/contacts/{place}/id", "duplicate"))
        seen.add(contact.id)
    if errors:
        raise InvalidInput(*errors)
