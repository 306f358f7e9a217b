"""Why a row cannot be imported, in words for the operator."""

from app.errors import EditorLicenceRequired
from app.http.errors.catalogue import CATALOGUES
from app.importing.columns import REFERENCE, Layout
from app.importing.reading import BadRow
from app.services.imports import Fault

MOST_LISTED = 1_000
_OF_FORM = {"bad_format", "not_a_phone_number", "out_of_range"}
"""The codes whose texts do not tell the whole form."""
_REASONS = {
    "already_on_line": "is on line {earlier} already",
    "bad_format": "This is not in the expected form.",
    "customer_differs": "differs from line {earlier}, which has the same code",
    "free_upgrade": "stays {kept}: a contract paid for an upgrade of it",
    "merged": "became part of the customer {survivor}",
    "not_edited": "is {stored} on record; {kind} are not edited",
    "of_another_customer": "is taken by another customer",
    "reference_on_line": "is the reference of another customer on line {earlier}",
    "reference_taken": "is the reference of the customer {code}",
    "unknown_customer": "unknown customer code",
    "withdrawn": "was withdrawn on {on} and is not replaced",
}


class Found:
    """What is wrong with the rows of a file: the first by line, and how many there are.

    A file can have a fault in every row; what is kept of them does not grow with it.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._first: list[BadRow] = []
        self._lines = bytearray()
        self.count = 0
        """How many faults. A row may have several."""

    def fault(self, fault: Fault) -> None:
        self.add(_bad_row(fault, self._layout))

    def add(self, bad: BadRow) -> None:
        self.count += 1
        place, bit = divmod(bad.line, 8)
        self._lines.extend(bytes(max(0, place + 1 - len(self._lines))))
        self._lines[place] |= 1 << bit
        self._first.append(bad)
        if len(self._first) > 2 * MOST_LISTED:
            self._first = self.first

    @property
    def first(self) -> list[BadRow]:
        """Those to list, in the order of their lines."""
        self._first.sort(key=lambda bad: (bad.line, bad.column or ""))
        return self._first[:MOST_LISTED]

    @property
    def rows(self) -> int:
        """How many rows are bad."""
        return sum(byte.bit_count() for byte in self._lines)


def _bad_row(fault: Fault, layout: Layout) -> BadRow:
    """A row of a file of this kind. A cell in a wrong form is told the form."""
    name, reason = _column(fault.pointer), _reason(fault, layout.kind)
    column = layout.column(name) if name is not None else None
    if column is not None and fault.code in _OF_FORM:
        reason = f"{reason} Expected: {column.form}."
    return BadRow(fault.line, name, reason, fault.code, fault.params)


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
