"""Which contact of a replaced customer is which of those known."""

from collections.abc import Callable, Sequence
from uuid import UUID

from app.errors import InputError, InvalidInput
from app.ids import new_id
from app.routers.customers.shapes import Contact, KnownContact


def match(given: Sequence[KnownContact], known: Sequence[Contact]) -> list[UUID]:
    """The id of each contact given: its own, else that known by its e-mail address, else by name.

    Those that match none get new ones. Raises InvalidInput for an id that is not among those known
    and for two that would be matched alike.
    """
    _refuse_confusion(given, {contact.id for contact in known})
    ids: dict[int, UUID] = {
        place: contact.id for place, contact in enumerate(given) if contact.id is not None
    }

    def pair(same: Callable[[KnownContact, Contact], bool]) -> None:
        taken = set(ids.values())
        for place, contact in enumerate(given):
            if place in ids:
                continue
            for candidate in known:
                if candidate.id not in taken and same(contact, candidate):
                    ids[place] = candidate.id
                    taken.add(candidate.id)
                    break

    # Of two who share an address, the one of that name.
    pair(lambda one, other: _same_email(one, other) and _same_name(one, other))
    pair(_same_email)
    pair(_same_name)
    return [ids.get(place) or new_id() for place in range(len(given))]


def _same_email(one: KnownContact, other: Contact) -> bool:
    return None not in (one.email, other.email) and one.email.lower() == other.email.lower()  # type: ignore[union-attr]


def _same_name(one: KnownContact, other: Contact) -> bool:
    return one.name.casefold() == other.name.casefold()


def _refuse_confusion(given: Sequence[KnownContact], known: set[UUID]) -> None:
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
