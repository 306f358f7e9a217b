"""Customers on the wire."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.errors import InputError, InvalidInput, invalid
from app.http.fields import (
    Code,
    Country,
    Email,
    Id,
    Input,
    LanguageCode,
    MergePatch,
    Name,
    NotBlank,
    Output,
    Sound,
    absent,
)
from app.http.paging import PageQuery
from app.http.references import NO_OTHERS, Reference, System, SystemReference
from app.policy.document import Policies
from app.services.phones import e164

MOST_CONTACTS, MOST_PHONES, MOST_REFERENCES = 100, 10, 20

VatNumber = Annotated[str, Field(min_length=1, max_length=40), Sound, NotBlank]
DeskName = Annotated[str, Field(max_length=32), Sound]
Phones = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=60), Sound]], Field(max_length=MOST_PHONES)
]


Words = Annotated[
    str,
    Field(min_length=1, max_length=200, description="Words of the name or code, or a beginning."),
    Sound,
    NotBlank,
]


class ContactFields(Input):
    """A person of the customer."""

    name: Name
    email: Email | None = None
    phones: Phones = []


class KnownContact(ContactFields):
    """Matched with one known by its id, else its e-mail address, else its name."""

    id: Id | None = None

    @property
    def matched_by(self) -> tuple[str, object]:
        if self.id is not None:
            return "id", self.id
        if self.email is not None:
            return "email", self.email.lower()
        return "name", self.name.casefold()


class ContactPatch(MergePatch):
    name: Name = absent()
    email: Email | None = absent()
    phones: Phones = absent()


class CustomerFields(Input):
    name: Name
    country: Country
    language: LanguageCode | None = Field(
        default=None, description="Without it that of the country's help desk."
    )
    vat_number: VatNumber | None = None
    help_desk: DeskName | None = Field(
        default=None, description="A help desk in place of the one that follows from the country."
    )
    external_refs: Annotated[
        dict[System, Reference], Field(max_length=MOST_REFERENCES, json_schema_extra=NO_OTHERS)
    ] = {}


class NewCustomer(CustomerFields):
    code: Code
    contacts: Annotated[list[ContactFields], Field(max_length=MOST_CONTACTS)] = []


class KnownCustomer(CustomerFields):
    """The whole customer; what is left out is cleared."""

    contacts: Annotated[list[KnownContact], Field(max_length=MOST_CONTACTS)] = []


class CustomerPatch(MergePatch):
    code: Code = absent()
    name: Name = absent()
    country: Country = absent()
    language: LanguageCode = absent()
    vat_number: VatNumber | None = absent()
    help_desk: DeskName | None = absent()
    external_refs: (
        Annotated[
            dict[System, Reference | None],
            Field(max_length=2 * MOST_REFERENCES, json_schema_extra=NO_OTHERS),
        ]
        | None
    ) = absent()


class CustomersQuery(PageQuery):
    q: Words | None = None
    country: Country | None = None
    external_ref: SystemReference | None = None


class Contact(Output):
    id: UUID
    name: str
    email: str | None
    phones: list[str] = Field(description="E.164.")


class Customer(Output):
    id: UUID
    code: str
    name: str
    country: str
    language: LanguageCode
    vat_number: str | None
    help_desk: str | None
    external_refs: dict[str, str]
    contacts: list[Contact]
    created_at: datetime
    updated_at: datetime


def check_desk(policies: Policies, desk: str | None) -> None:
    """Raises InvalidInput for a help desk that no version of the policy has (R35)."""
    if desk is not None and desk not in policies.desk_ids:
        allowed = ", ".join(sorted(policies.desk_ids))
        raise invalid("/help_desk", "not_allowed_value", allowed=allowed)


def own_fields(policies: Policies, body: CustomerFields) -> dict[str, Any]:
    """A customer's fields but its contacts, the language filled in. Raises as `check_desk`."""
    check_desk(policies, body.help_desk)
    fields = body.model_dump(exclude={"contacts"})
    if body.language is None:
        fields["language"] = policies.versions[-1].desk_for(body.country, None).language
    return fields


def stored_phones(given: Iterable[tuple[str, list[str]]], country: str) -> list[list[str]]:
    """The numbers of each contact in E.164, each once; national ones are read in the country.

    Takes a pointer with each contact's numbers. Raises InvalidInput for all that are none.
    """
    errors: list[InputError] = []
    stored: list[list[str]] = []
    for pointer, phones in given:
        numbers: dict[str, None] = {}
        for position, text in enumerate(phones):
            number = e164(text, country)
            if number is None:
                errors.append(InputError(f"{pointer}/phones/{position}", "not_a_phone_number"))
            else:
                numbers[number] = None
        stored.append(list(numbers))
    if errors:
        raise InvalidInput(*errors)
    return stored
