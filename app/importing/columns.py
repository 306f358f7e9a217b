"""Which columns each kind of file has, and what the headers of a file mean."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.errors import InputCode
from app.http.fields import EARLIEST, LATEST
from app.http.references import SYSTEM_PATTERN
from app.services.imports import FileKind

REFERENCE = "external_ref:"
REFERENCES = f"{REFERENCE}<system>"
"""How lists of columns write the columns that hold references."""
MOST_COLUMNS = 1_000
_MOST_NAMES, _LONGEST_NAME = 5, 40
_reference = re.compile(REFERENCE + SYSTEM_PATTERN)


class FileRefused(Exception):
    """A file or an option cannot be used.

    The message says why to the operator; `code` and `params` do to a client of the API, as in
    `app.errors.InputError`.
    """

    def __init__(self, message: str, code: InputCode = "invalid", **params: object) -> None:
        super().__init__(message)
        self.code: InputCode = code
        self.params = params


class Column(NamedTuple):
    """A column of a kind of file."""

    name: str
    form: str
    """What its cells contain; shown by `--columns`, in the README and beside a wrong cell."""
    required: bool = False


@dataclass(frozen=True)
class Layout:
    """The columns of one kind of file, by the names of the API's fields."""

    option: FileKind
    """The kind's name in the API and on the command line."""
    columns: tuple[Column, ...]
    needs: tuple[tuple[str, str], ...] = ()
    """Pairs of columns: a file with the first must have the second."""

    @property
    def kind(self) -> str:
        """The kind's name in a sentence."""
        return self.option.replace("-", " ")

    @property
    def required(self) -> list[str]:
        return [column.name for column in self.columns if column.required]

    @property
    def names(self) -> str:
        return ", ".join(column.name for column in self.columns)

    def column(self, name: str) -> Column | None:
        """The column with this name; `external_ref:<system>` stands for all that name a system."""
        if _reference.fullmatch(name):
            name = REFERENCES
        return next((column for column in self.columns if column.name == name), None)

    def has(self, name: str) -> bool:
        return name != REFERENCES and self.column(name) is not None

    def meant(self, header: str, mapping: Mapping[str, Sequence[str]]) -> str | None:
        """The column for a header, by its own name or by the mapping; None if there is none."""
        names = [name for name in mapping.get(header, ()) if self.has(name)]
        return names[0] if names else header if self.has(header) else None


_DAY = f"a date, YYYY-MM-DD, from {EARLIEST.year} to {LATEST.year}"
_PAST_DAY = f"{_DAY}; not in the future"
_NUMBER = "1 to 64 letters, digits, . _ -"
_OWNER = Column("customer_code", "the code of a customer that exists or is imported too", True)

LAYOUTS = (
    Layout(
        "customers",
        (
            Column("code", f"{_NUMBER}; one row for each contact, with the same code", True),
            Column("name", "up to 200 characters", True),
            Column("country", "two letters (ISO 3166-1), such as IT", True),
            Column("language", "it, en or de; left empty, that of the country"),
            Column("vat_number", "up to 40 characters"),
            Column("help_desk", "a help desk of the policy; left empty, that of the country"),
            Column("contact_name", "up to 200 characters"),
            Column("contact_email", "one e-mail address"),
            Column(
                "contact_phone",
                "up to 10 phone numbers, with + or as dialled in the country; between two of them"
                " a semicolon, a comma, a vertical bar or a line break",
            ),
            Column(
                REFERENCES,
                "up to 200 characters: the customer in another system, such as external_ref:crm",
            ),
        ),
        needs=(("contact_email", "contact_name"), ("contact_phone", "contact_name")),
    ),
    Layout(
        "licences",
        (
            _OWNER,
            Column("serial_number", _NUMBER, True),
            Column("kind", "editor, runtime or other", True),
            Column("product", "up to 200 characters", True),
            Column("version", "up to 200 characters", True),
            Column("purchased_on", _PAST_DAY, True),
            Column("withdrawn_on", _DAY),
            Column("withdrawal_reason", "up to 200 characters; goes with withdrawn_on"),
        ),
        needs=(("withdrawn_on", "withdrawal_reason"), ("withdrawal_reason", "withdrawn_on")),
    ),
    Layout(
        "contracts",
        (
            _OWNER,
            Column("number", _NUMBER, True),
            Column("starts_on", _DAY, True),
            Column("included_minutes", "a whole number; left empty, what the policy includes"),
            Column("cancelled_on", f"{_DAY}, within the term"),
            Column("cancellation_reason", "up to 200 characters; goes with cancelled_on"),
        ),
        needs=(
            ("cancelled_on", "cancellation_reason"),
            ("cancellation_reason", "cancelled_on"),
        ),
    ),
    Layout(
        "ticket-packs",
        (
            _OWNER,
            Column("number", _NUMBER, True),
            Column("quantity", "a whole number, 1 to 1000", True),
            Column("purchased_on", _PAST_DAY, True),
        ),
    ),
)
"""In the order of import: each depends on those before it (R15)."""


def kinds() -> list[str]:
    """The kinds of files by their names on the command line."""
    return [layout.option for layout in LAYOUTS]


def layout_of(option: str) -> Layout:
    """The layout of a kind by its name on the command line. Raises FileRefused."""
    for layout in LAYOUTS:
        if option in (layout.option, layout.kind):
            return layout
    raise FileRefused(f"{option!r} is not a kind of file. There are: {', '.join(kinds())}")


@dataclass(frozen=True)
class Columns:
    """Which column is where in a file."""

    layout: Layout
    places: tuple[tuple[int, str], ...]
    """The place in a row, and the name, of each column that is read."""
    headers: Mapping[str, str]
    """The file's own header of each column that is read."""
    width: int

    @property
    def staged(self) -> set[str]:
        """The columns by the names under which `services.imports` stages them."""
        return {"contact_phones" if name == "contact_phone" else name for name in self.headers}

    @property
    def systems(self) -> list[str]:
        return [name.removeprefix(REFERENCE) for name in self.headers if name.startswith(REFERENCE)]


def in_nfc(header: str) -> str:
    """A header as it is compared: a Mac writes another form of `Stück` than other systems."""
    return unicodedata.normalize("NFC", header)


def mapping_of(options: Sequence[str]) -> dict[str, list[str]]:
    """`HEADER=COLUMN` options by header. Raises FileRefused for any other text.

    A header may stand for several columns; each kind of file takes the one that it has.
    """
    mapping: dict[str, list[str]] = {}
    for option in options:
        header, separator, name = (in_nfc(part.strip()) for part in option.rpartition("="))
        if not separator or not header:
            raise FileRefused(f'--map {option!r} is not of the form "HEADER=COLUMN"')
        if not any(layout.has(name) for layout in LAYOUTS):
            known = "; ".join(f"{layout.kind}: {layout.names}" for layout in LAYOUTS)
            raise FileRefused(f"--map {option!r}: there is no column {name!r}. There are: {known}")
        mapping.setdefault(header, []).append(name)
    return mapping


def known_headers(header: Sequence[str], mapping: Mapping[str, Sequence[str]]) -> int:
    """How many headers the kind of file that recognises most of them recognises."""
    return max(sum(layout.meant(one, mapping) is not None for one in header) for layout in LAYOUTS)


def recognise(
    header: Sequence[str], mapping: Mapping[str, Sequence[str]], ignore_unknown: bool
) -> Columns:
    """The kind of file that has this header, and its columns. Raises FileRefused.

    Ignore empty names at the end of the header: spreadsheets add them.
    """
    header = list(header)
    while header and not header[-1]:
        header.pop()
    if len(header) > MOST_COLUMNS:
        raise FileRefused(f"has more than {MOST_COLUMNS:,} columns", "too_many", limit=MOST_COLUMNS)
    repeated = [one for one, times in Counter(header).items() if one and times > 1]
    if repeated:
        listed = _listed(repeated)
        raise FileRefused(
            f"the header has more than once: {listed}", "columns_repeated", columns=listed
        )
    layout = max(LAYOUTS, key=lambda one: _fit(one, header, mapping))
    meant = [layout.meant(one, mapping) for one in header]
    missing = [name for name in layout.required if name not in meant]
    if missing:
        raise FileRefused(
            f"looks most like a file of {layout.kind}, but has no column for {', '.join(missing)};"
            f" its header is: {_listed(header)}."
            ' Headers of another system can be named: --map "HEADER=COLUMN"',
            "columns_missing",
            kind=layout.kind,
            columns=", ".join(missing),
        )
    for name, times in Counter(meant).items():
        if name is not None and times > 1:
            both = [one for one, column in zip(header, meant, strict=True) if column == name]
            raise FileRefused(
                f"more than one column is taken for {name}: {_listed(both)}",
                "columns_repeated",
                columns=_listed(both),
            )
    for name, needed in layout.needs:
        if name in meant and needed not in meant:
            raise FileRefused(
                f"has a column {name} and so needs {needed} as well",
                "column_needed",
                column=name,
                needed=needed,
            )
    unknown = [one for one, column in zip(header, meant, strict=True) if column is None]
    if unknown and not ignore_unknown:
        raise FileRefused(
            f"unknown columns in a file of {layout.kind}: {_listed(unknown)}."
            f" Known are: {layout.names}."
            ' Name them (--map "HEADER=COLUMN") or leave them out (--ignore-unknown)',
            "columns_unknown",
            kind=layout.kind,
            columns=_listed(unknown),
            known=layout.names,
        )
    places = tuple((place, name) for place, name in enumerate(meant) if name is not None)
    return Columns(layout, places, {name: header[place] for place, name in places}, len(header))


def _fit(
    layout: Layout, header: Sequence[str], mapping: Mapping[str, Sequence[str]]
) -> tuple[bool, float, int]:
    meant = {layout.meant(one, mapping) for one in header} - {None}
    share = sum(name in meant for name in layout.required) / len(layout.required)
    return share == 1, share, len(meant)


def _listed(names: Sequence[str]) -> str:
    """The first few names, cut short: the first line of a file without a header is data."""
    shown = ", ".join(repr(name[:_LONGEST_NAME]) for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
