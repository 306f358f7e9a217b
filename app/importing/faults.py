"""Why a row cannot be imported, in words for the operator."""

from app.errors import EditorLicenceRequired
from app.http.errors.catalogue import CATALOGUES
from app.importing.columns import REFERENCE
from app.importing.reading import BadRow
from app.services.imports import Fault

_REASONS = {
    "already_on_line": "is on line {earlier} already",
    "customer_differs": "differs from line {earlier}, which has the same code",
    "free_upgrade": "stays {kept}: a contract paid for an upgrade of it",
    "not_edited": "is {stored} on record; {kind} are not edited",
    "of_another_customer": "is taken by another customer",
    "reference_on_line": "is the reference of another customer on line {earlier}",
    "reference_taken": "is the reference of the customer {code}",
    "unknown_customer": "unknown customer code",
    "withdrawn": "was withdrawn on {on} and is not replaced",
}


def bad_row(fault: Fault, kind: str) -> BadRow:
    """A row of a file of this kind."""
    return BadRow(fault.line, _column(fault.pointer), _reason(fault, kind))


def _reason(fault: Fault, kind: str) -> str:
    texts = CATALOGUES["en"]
    if fault.code == EditorLicenceRequired.code:
        return texts.text(f"problems.{fault.code}.detail")
    if fault.code not in _REASONS:
        return texts.text(f"input.{fault.code}", **fault.params)
    params = {name: "empty" if value is None else value for name, value in fault.params.items()}
    return _REASONS[fault.code].format(kind=kind, **params)


def _column(pointer: str) -> str | None:
    # `/contacts/0/phones/1` is `contact_phone`, `/external_refs/crm` is `external_ref:crm`.
    match pointer.split("/")[1:]:
        case ["contacts", _, "phones", *_]:
            return "contact_phone"
        case ["contacts", _, field]:
            return f"contact_{field}"
        case ["external_refs", system]:
            return REFERENCE + system
        case [field, *_]:
            return field
        case _:
            return None
