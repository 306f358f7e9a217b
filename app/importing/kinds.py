"""What the kinds of files have in common: how a row is checked, staged and written."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import ValidationError

from app.errors import InputCode, InputError, InvalidInput
from app.http.errors.catalogue import CATALOGUES
from app.http.errors.invalid_input import explain
from app.http.fields import Input
from app.importing.columns import Columns
from app.importing.reading import BadRow, Row
from app.importing.staging import Stage
from app.policy.document import Policies
from app.store.events import Actor

ACTOR = Actor("import")
"""Who did it, in the events."""

Model = TypeVar("Model", bound=Input)


class Counts(NamedTuple):
    """How many customers, licences, contracts or packs, not rows."""

    created: int
    changed: int
    unchanged: int


@dataclass(frozen=True)
class Moment:
    """When it happens, and by which rules; read once for all files."""

    now: datetime
    today: date
    policies: Policies


class Kind(ABC):
    """One file of a kind. Made anew for each file.

    The order: every row is read into a record, the records are staged, the customers locked, and
    then `check` says what is wrong between the rows and with what is known already, and `write`
    writes it, each set by set.
    """

    staged: ClassVar[Mapping[str, str]]
    """Columns of the staging table with their types; the first are `line`, `key`."""
    customers: ClassVar[str] = "customer_key"
    """The staged column with the customer's code in small letters."""

    def __init__(self, columns: Columns, moment: Moment) -> None:
        self.columns = columns
        self.moment = moment

    @abstractmethod
    def record(self, row: Row) -> tuple[Any, ...]:
        """A row as it is staged. Raises InvalidInput."""

    @abstractmethod
    def check(self, stage: Stage) -> AsyncIterator[BadRow]:
        """What is wrong with staged rows, under their customers' locks."""

    @abstractmethod
    async def write(self, stage: Stage) -> Counts:
        """Write what is new or differs, with its events."""


def read_as(model: type[Model], body: dict[str, Any]) -> Model:
    """A row's body as the API would read it. Raises InvalidInput."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = ({**one, "loc": ("body", *one["loc"])} for one in error.errors())
        raise InvalidInput(*explain(found, body)) from error


def number(text: str) -> int | str:
    """A whole number; anything else as it is, to be refused by the field's type."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else text


def bad_rows(line: int, error: InvalidInput) -> Iterator[BadRow]:
    """A row for each thing that is wrong with one, in the words of the API."""
    for one in error.errors:
        yield BadRow(line, _column(one), said(one.code, **one.params))


def said(code: InputCode, **params: object) -> str:
    return CATALOGUES["en"].text(f"input.{code}", **params)


def _column(error: InputError) -> str | None:
    # `/contacts/0/phones/1` is `contact_phone`, `/external_refs/crm` is `external_ref:crm`.
    match error.pointer.split("/")[1:]:
        case ["contacts", _, "phones", *_]:
            return "contact_phone"
        case ["contacts", _, field]:
            return f"contact_{field}"
        case ["external_refs", system]:
            return f"external_ref:{system}"
        case [field, *_]:
            return field
        case _:
            return None


def once(table_key: str, columns: str) -> str:
    """SQL for the rows whose `columns` an earlier row has: `line`, and that row's as `earlier`."""
    return f"""SELECT line, earlier FROM (
            SELECT line, min(line) OVER (PARTITION BY {columns}) AS earlier FROM {table_key}
        ) AS numbered WHERE line > earlier"""


async def repeated(stage: Stage, table: str, key: str, column: str) -> AsyncIterator[BadRow]:
    """Rows that name what an earlier row has named."""
    for row in await stage.fetch(once(table, key)):
        yield BadRow(row.line, column, f"is on line {row.earlier} already")
