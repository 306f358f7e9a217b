"""A customer's contacts: their phone numbers read, and known ones recognised when all are replaced.

`app.services.customers` stores them, because they belong to the customer's record.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from app.errors import InputError, InvalidInput
from app.ids import new_id
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

    @property
    def matched_by(self) -> tuple[str, object]:
        """The field by which a stored contact is recognised, and its value for comparison."""
        if self.id is not None:
            return "id", self.id
        if self.email is not None:
            return "email", self.email.lower()
        return "name", self.name.casefold()


def in_e164(given: Sequence[GivenContact], country: str) -> list[GivenContact]:
    """The contacts with their numbers in E.164. Raises as `phones_in_e164`."""
    numbers = phones_in_e164(
        ((f"/contacts/{place}", contact.phones) for place, contact in enumerate(given)), country
    )
    return [one._replace(phones=phones) for one, phones in zip(given, numbers, strict=True)]


def phones_in_e164(given: Iterable[tuple[str, list[str]]], country: str) -> list[list[str]]:
    """Each contact's numbers in E.164 without repetition; national ones are read in `country`.

    Takes each contact's pointer with its numbers. Raises InvalidInput, naming every text that is
    not a phone number.
    """
    errors: list[InputError] = []
    read: list[list[str]] = []
    for pointer, phones in given:
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
    """The id of each given contact: its own, else that of the known contact with its e-mail
    address, else with its name, else a new one.

    Raises InvalidInput for an id that is not known, and for two that would match the same contact.
    """
    _refuse_ambiguity(given, {contact.id for contact in known})
    ids: dict[int, UUID] = {
        place: contact.id for place, contact in enumerate(given) if contact.id is not None
    }

    # Two known contacts may share an address; the one with the same name as well comes first.
    for same in (_same_email_and_name, _same_email, _same_name):
        for place, contact in enumerate(given):
            alike = (one.id for one in known if same(contact, one) and one.id not in ids.values())
            if place not in ids and (found := next(alike, None)) is not None:
                ids[place] = found
    return [ids.get(place) or new_id() for place in range(len(given))]


def replaced(given: Sequence[GivenContact], known: Sequence[Contact]) -> list[Contact]:
    """What replaces the known contacts, each with its id by `match`. Raises as `match`."""
    return [
        Contact(id_, one.name, one.email, one.phones)
        for id_, one in zip(match(given, known), given, strict=True)
    ]


def _same_email(one: GivenContact, other: Contact) -> bool:
    return None not in (one.email, other.email) and one.email.lower() == other.email.lower()  # type: ignore[union-attr]


def _same_name(one: GivenContact, other: Contact) -> bool:
    return one.name.casefold() == other.name.casefold()


def _same_email_and_name(one: GivenContact, other: Contact) -> bool:
    return _same_email(one, other) and _same_name(one, other)


def _refuse_ambiguity(given: Sequence[GivenContact], known: set[UUID]) -> None:
    errors: list[InputError] = []
    seen: set[tuple[str, object]] = set()
    for place, contact in enumerate(given):
        by, value = contact.matched_by
        if by == "id" and value not in known:
            errors.append(InputError(f"/contacts/{place}/id", "unknown_reference"))
        elif (by, value) in seen:
            errors.append(InputError(f"/contacts/{place}/{by}", "duplicate"))
        seen.add((by, value))
    if errors:
        raise InvalidInput(*errors)
