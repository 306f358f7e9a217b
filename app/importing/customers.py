"""A row of a customers file: the customer, and one of its contacts."""

import re
from typing import Annotated, Any

import orjson
from pydantic import Field

from app.errors import InputError, InvalidInput
from app.http.fields import (
    Code,
    Country,
    DeskName,
    Email,
    Input,
    Name,
    PhoneNumbers,
    VatNumber,
)
from app.http.languages import Language
from app.http.references import References
from app.ids import new_id
from app.importing.cells import Moment, read_as
from app.importing.columns import REFERENCE
from app.services.contacts import GivenContact, in_e164
from app.services.customers import own_fields

# No slash: German numbers are written with one.
_BETWEEN_PHONES = re.compile(r"[;,|\r\n]")


class _Contact(Input):
    name: Name
    email: Email | None = None
    phones: PhoneNumbers = []


class _CustomerRow(Input):
    code: Code
    name: Name
    country: Country
    language: Language | None = None
    vat_number: VatNumber | None = None
    help_desk: DeskName | None = None
    external_refs: References
    contacts: Annotated[list[_Contact], Field(max_length=1)]


def record(cells: dict[str, str], moment: Moment) -> dict[str, Any]:
    """The staged row. Raises InvalidInput."""
    given = read_as(_CustomerRow, _body(cells))
    people = [GivenContact(**contact.model_dump()) for contact in given.contacts]
    errors: list[InputError] = []
    fields = given.model_dump(exclude={"external_refs", "contacts"})
    try:
        fields = own_fields(moment.policies, fields)
    except InvalidInput as error:
        errors += error.errors
    try:
        people = in_e164(people, given.country)
    except InvalidInput as error:
        errors += error.errors
    if errors:
        raise InvalidInput(*errors)
    contact = people[0] if people else None
    return {
        **fields,
        "key": given.code.lower(),
        "id": new_id(),
        "refs": orjson.dumps(given.external_refs, option=orjson.OPT_SORT_KEYS).decode(),
        "contact_id": contact and new_id(),
        "contact_name": contact and contact.name,
        "contact_email": contact and contact.email,
        "contact_phones": contact and contact.phones,
    }


def _body(cells: dict[str, str]) -> dict[str, Any]:
    """A row as the body of a PUT, with its code."""
    refs: dict[str, str] = {}
    contact: dict[str, Any] = {}
    body: dict[str, Any] = {"external_refs": refs, "contacts": []}
    for name, text in cells.items():
        if name.startswith(REFERENCE):
            refs[name.removeprefix(REFERENCE)] = text
        elif name == "contact_phone":
            contact["phones"] = [
                phone.strip() for phone in _BETWEEN_PHONES.split(text) if phone.strip()
            ]
        elif name.startswith("contact_"):
            contact[name.removeprefix("contact_")] = text
        else:
            body[name] = text
    if contact:
        body["contacts"] = [contact]
    return body
