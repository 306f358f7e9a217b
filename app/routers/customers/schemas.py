"""Customers on the wire."""

from datetime import datetime
from typing import Annotated, Any, get_args
from uuid import UUID

from pydantic import Field

from app.errors import invalid
from app.http.corrections import Correction
from app.http.fields import (
    Code,
    Country,
    DeskName,
    Email,
    Id,
    Input,
    Instant,
    Key,
    Listed,
    MergePatch,
    Name,
    NotBlank,
    Output,
    PhoneNumbers,
    QueryFlag,
    QueryInstant,
    SentBack,
    ShortText,
    Sound,
    StoredOutput,
    VatNumber,
    absent,
    read_only,
)
from app.http.languages import Language
from app.http.paging import PageQuery
from app.http.references import Reference, References, System, SystemReference
from app.policy.document import Column, Service
from app.services.contacts import MOST_CONTACTS, GivenContact
from app.services.customers import MOST_REFERENCES
from app.services.personal_data import By

Words = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description=(
            "Words, or beginnings of words: all of the customer's name, code and VAT number, or all"
            " of one contact's name and e-mail address."
        ),
    ),
    Sound,
    NotBlank,
]


class ContactFields(Listed):
    """A person of the customer."""

    name: Name
    email: Email | None = None
    phones: PhoneNumbers = []

    def person(self) -> GivenContact:
        return GivenContact(**self.model_dump())


class KnownContact(ContactFields):
    """Matched with a stored contact: by its id; else by e-mail address and name; else by the
    address, if one contact is left that has it; else by the name, if one is left that has it."""

    id: Id | None = Field(
        default=None, description="The id of a stored contact, to keep it whatever else changes."
    )


class ContactPatch(MergePatch):
    """Changes of a contact (RFC 7396): what is left out stays, null clears."""

    name: Name = absent()
    email: Email | None = absent()
    phones: PhoneNumbers = absent()


class CustomerFields(Input):
    name: Name
    country: Country
    language: Language | None = Field(
        default=None, description="By default the language of the country's help desk."
    )
    vat_number: VatNumber | None = None
    help_desk: DeskName | None = Field(
        default=None, description="A help desk in place of the country's."
    )
    external_refs: References = {}

    def own(self) -> dict[str, Any]:
        """The customer's own fields, without its contacts."""
        return self.model_dump(exclude={"contacts"})


class NewCustomer(CustomerFields):
    """A customer to create."""

    code: Code = Field(
        description="A code that no other customer has, whatever the case of its letters."
    )
    contacts: Annotated[list[ContactFields], Field(max_length=MOST_CONTACTS)] = []

    def people(self) -> list[GivenContact]:
        return [contact.person() for contact in self.contacts]


class KnownRecord(Listed):
    """A record that became part of a customer."""

    id: Id
    code: Code


class KnownCustomer(SentBack, CustomerFields):
    """The whole customer; what is left out is cleared."""

    id: Id = read_only()
    code: Code = read_only()
    created_at: Instant = read_only()
    updated_at: Instant = read_only()
    archived_at: Instant | None = read_only()
    merged_from: Annotated[list[KnownRecord], Field(max_length=1_000)] = read_only()
    contacts: Annotated[list[KnownContact], Field(max_length=MOST_CONTACTS)] = []

    def own(self) -> dict[str, Any]:
        return self.writable("contacts")

    def people(self) -> list[GivenContact]:
        return [contact.person() for contact in self.contacts]


class CustomerPatch(MergePatch):
    """Changes of a customer (RFC 7396): what is left out stays, null clears."""

    code: Code = absent()
    name: Name = absent()
    country: Country = absent()
    language: Language = absent()
    vat_number: VatNumber | None = absent()
    help_desk: DeskName | None = absent()
    external_refs: (
        Annotated[
            dict[System, Reference | None],
            Field(max_length=2 * MOST_REFERENCES),
        ]
        | None
    ) = absent()


class CustomersQuery(PageQuery):
    q: Words | None = None
    country: Country | None = None
    external_ref: SystemReference | None = None
    archived: QueryFlag = Field(
        default=False, description="`true`: the archived customers, which no other list has."
    )
    column: Column | None = Field(
        default=None, description="A column in which the customers stand today."
    )
    service: Service | None = Field(
        default=None, description="A service that the customers may use today."
    )
    changed_after: QueryInstant | None = Field(
        default=None,
        description="The customers whose last `entitlements.changed` happened after this instant.",
    )


class Merge(Correction):
    """Two records of one customer."""

    into: Key = Field(description="The customer that goes on, by id or code.")


class ReasonGiven(Input):
    """Why something is done."""

    reason: ShortText


class PersonSought(Input):
    """A person of the customer: exactly one of these."""

    contact_id: Id | None = None
    email: Email | None = None
    phone: Annotated[str, Field(min_length=1, max_length=60), Sound] | None = None
    name: Name | None = None

    def sought(self) -> tuple[By, Any]:
        """How the person is named. Raises InvalidInput unless exactly one field is given."""
        given: list[By] = [name for name in get_args(By) if getattr(self, name) is not None]
        if len(given) != 1:
            raise invalid("", "exactly_one", names=", ".join(get_args(By)))
        return given[0], getattr(self, given[0])


class HeldValue(StoredOutput):
    """A value that is held about the person."""

    record: str = Field(
        description="`contact`, `case`, `time_entry`, `licence`, `contract`, `call` or `event`."
    )
    id: str = Field(description="The id of the record; of an event, its number.")
    field: str = Field(description="The field; in an event, the path within its data.")
    value: str = Field(description="The text as it is stored.")


class RequestedCase(StoredOutput):
    """A case that the person asked for."""

    id: UUID
    number: str
    state: str
    channel: str
    opened_at: datetime
    closed_at: datetime | None


class PersonalData(StoredOutput):
    """Everything held about a person of a customer."""

    contacts: list["Contact"] = Field(description="The person as a contact of the customer.")
    cases: list[RequestedCase] = Field(description="The cases that the person asked for.")
    held: list[HeldValue] = Field(
        description="Each value that an erasure would replace or take out."
    )


class KeptData(Output):
    """What an erasure leaves."""

    what: str = Field(description="What stays.")
    why: str = Field(description="Why it stays.")


class Erasure(Output):
    """What an erasure did."""

    pseudonym: str = Field(description="What stands in the place of the person.")
    contacts: int = Field(description="How many contacts were replaced.")
    cases: int = Field(description="How many cases were changed.")
    time_entries: int = Field(description="How many time entries were changed.")
    licences: int = Field(description="How many licences were changed.")
    contracts: int = Field(description="How many contracts were changed.")
    calls: int = Field(description="From how many calls the number was taken.")
    events: int = Field(description="How many events were changed.")
    stored_answers: int = Field(
        description="How many stored answers to repeated requests were changed."
    )
    taken_out: str = Field(description="What counts as the person's words.")
    stays: list[KeptData]


class Contact(StoredOutput):
    """A person of the customer."""

    id: UUID
    name: str
    email: str | None
    phones: list[str] = Field(description="E.164.")


class MergedRecord(Output):
    """A record that became part of a customer."""

    id: UUID = Field(description="The id that it had.")
    code: str = Field(description="The code that it had.")


class Customer(StoredOutput):
    """A company that holds licences."""

    id: UUID
    code: str
    name: str
    country: str
    language: Language
    vat_number: str | None
    help_desk: str | None
    external_refs: dict[str, str]
    contacts: list[Contact]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = Field(description="Null unless the customer is archived.")
    merged_from: list[MergedRecord] = Field(
        description="The records that became part of this customer. Their codes and ids lead here."
    )
