"""Tables: rows of typed columns as CSV for programs, as CSV for Excel, and as a workbook (XLSX).

    MOVEMENTS = Table("statement", counts_on="date", technician="text", used_minutes="integer")

    @usage.tabulates("/…", Statement, "usage:read")
    async def get_…(context: Ctx, query: Annotated[TableQuery, Query()]) -> Response:
        form = form_of(context.request, query)
        ...
        if form == "json":
            return ok(context, body)
        return await MOVEMENTS.answer(context, form, f"statement-{start}-{end}", rows)

CSV for programs (RFC 4180) has the columns' names and instants in UTC. The two forms for
spreadsheets have headers in the caller's language and instants by the vendor's clock, because
spreadsheets know no time zones; headers and translations are in `table_headers.toml`.
"""

import asyncio
import csv
import io
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import xlsxwriter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from xlsxwriter.worksheet import Worksheet

from app.errors import invalid
from app.http.context import Context
from app.http.fields import Query
from app.http.languages import LANGUAGES, Language
from app.http.negotiation import negotiated
from app.http.openapi.headers import references
from app.http.openapi.responses import CACHED, Responses
from app.http.responses import ok

Kind = Literal["text", "integer", "number", "date", "instant"]
Cell = Any
"""What a column's kind says (a text may be anything that `str` renders), or None."""
Row = Sequence[Cell]
Format = Literal["json", "csv", "xlsx"]
Form = Literal["json", "csv", "excel_csv", "xlsx"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
"""The media types of a table, by what `format` calls them."""
_FORMATS: dict[str, Format] = {media_type: name for name, media_type in MEDIA_TYPES.items()}

_LANGUAGE = {"Content-Language": {"$ref": "#/components/headers/Content-Language-of-spreadsheets"}}
_HEADERS = {"headers": CACHED[200]["headers"] | references("Content-Disposition") | _LANGUAGE}
ANSWERED: Responses = {
    200: _HEADERS
    | {
        "content": {
            MEDIA_TYPES["csv"]: {"schema": {"type": "string"}},
            MEDIA_TYPES["xlsx"]: {"schema": {"type": "string", "format": "binary"}},
        }
    },
    304: CACHED[304] | _HEADERS,
}
"""What the document says of a table's answers besides its JSON."""

MOST_ROWS = 50_000
"""The rows of one CSV or workbook: some seconds of work. A sheet has room for 1,048,576."""
_LONGEST_TEXT = 16_383
# A sheet's cell holds 32,767 units of UTF-16, of which a character takes two at most.

# Spreadsheets run a text that begins with one of these as a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class TableQuery(Query):
    """What a call that answers with a table takes besides its own parameters."""

    format: Format | None = Field(
        default=None, description="In place of `Accept`, which a link cannot set."
    )
    dialect: Literal["excel"] | None = Field(
        default=None,
        description=(
            "For CSV alone: with the byte order mark, separator, dates and decimals that Excel "
            "expects in the language of `Accept-Language`, and headers in that language."
        ),
    )


def form_of(request: Request, query: TableQuery) -> Form:
    """The form in which to answer: what `format` says, else what `Accept` prefers.

    Raises NotAcceptable, and InvalidInput for a dialect of anything but CSV.
    """
    chosen = query.format or _FORMATS[negotiated(request, *_FORMATS)]
    if query.dialect is None:
        return chosen
    if chosen != "csv":
        raise invalid("query/dialect", "unknown_parameter")
    return "excel_csv"


class Table:
    """The shape of a table: a title, and columns by name with their kinds.

    Raises LookupError for a title or column that `table_headers.toml` does not translate.
    """

    def __init__(self, title: str, **columns: Kind) -> None:
        self.columns = columns
        self._titles = _translated("titles", title)
        self._headers = [_translated("columns", name) for name in columns]

    async def answer(
        self,
        context: Context,
        form: Form,
        name: str,
        rows: Iterable[Row],
        *,
        etag: bool | str = True,
    ) -> Response:
        """200 with the rows as a file called `name`, with an entity tag (`json_response`); or 304.

        `rows` are taken and written in a thread, so that other requests are answered meanwhile;
        they may be lazy but must not read the database. Raises InvalidInput for more than
        `MOST_ROWS`.
        """
        abandoned = threading.Event()
        language, zone = context.language, context.policies.zone
        try:
            body = await asyncio.to_thread(
                self.written, form, _limited(rows, abandoned), language, zone
            )
        finally:
            abandoned.set()
        extension: Format = "xlsx" if form == "xlsx" else "csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}.{extension}"'}
        if form != "csv":
            headers["Content-Language"] = language
        media_type = MEDIA_TYPES[extension]
        return ok(context, body, headers=headers, etag=etag, media_type=media_type)

    def written(self, form: Form, rows: Iterable[Row], language: Language, zone: ZoneInfo) -> bytes:
        """The file: equal rows give equal bytes."""
        if form == "csv":
            return csv_bytes(tuple(self.columns), rows)
        headers = [
            f"{header[language]} ({zone.key})" if kind == "instant" else header[language]
            for header, kind in zip(self._headers, self.columns.values(), strict=True)
        ]
        kinds = tuple(self.columns.values())
        if form == "excel_csv":
            return _excel_csv_bytes(headers, kinds, rows, _EXCEL[language], zone)
        return _xlsx_bytes(self._titles[language], headers, kinds, rows, zone)


def _limited(rows: Iterable[Row], abandoned: threading.Event) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number == MOST_ROWS:
            raise invalid("query/format", "too_many", limit=MOST_ROWS)
        # A thread cannot be cancelled: it would go on after the request has timed out.
        if abandoned.is_set():
            raise TimeoutError
        yield row


def csv_bytes(header: Sequence[str], rows: Iterable[Row]) -> bytes:
    """A table in UTF-8 for programs; `header` is its first line.

    A text that a spreadsheet would run as a formula is prefixed with an apostrophe; numbers are
    not. Instants are written as in JSON, in UTC with `Z`; None is an empty cell.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue().encode()


def _cell(value: Cell) -> Cell:
    if isinstance(value, str):
        return _no_formula(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def _no_formula(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


class _Excel(NamedTuple):
    """What Excel expects of a CSV file in a language."""

    separator: str
    decimal: str
    day: str


_EXCEL: dict[Language, _Excel] = {
    # British and American Excel read 01/02/2026 as different days, and this form alike.
    "en": _Excel(",", ".", "%Y-%m-%d"),
    "it": _Excel(";", ",", "%d/%m/%Y"),
    "de": _Excel(";", ",", "%d.%m.%Y"),
}


def _clock(value: datetime, zone: ZoneInfo) -> datetime:
    """An instant as a spreadsheet can hold it: what the clock showed, in whole seconds."""
    return value.astimezone(zone).replace(tzinfo=None, microsecond=0)


def _excel_csv_bytes(
    header: Sequence[str], kinds: Sequence[Kind], rows: Iterable[Row], excel: _Excel, zone: ZoneInfo
) -> bytes:
    say: dict[Kind, Callable[[Cell], str]] = {
        "text": lambda value: _no_formula(str(value)),
        "integer": str,
        "number": lambda value: str(value).replace(".", excel.decimal),
        "date": lambda value: value.strftime(excel.day),
        "instant": lambda value: _clock(value, zone).strftime(f"{excel.day} %H:%M:%S"),
    }
    cells = [say[kind] for kind in kinds]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=excel.separator)
    writer.writerow(header)
    for row in rows:
        writer.writerow(
            ["" if value is None else cell(value) for cell, value in zip(cells, row, strict=True)]
        )
    return buffer.getvalue().encode("utf-8-sig")


_OPTIONS = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
_CREATED = datetime.fromisoformat("2020-01-01")
# A workbook that names the time of its making would differ each time.
# Built-in formats, which Excel shows in the form of the reader's own region.
_SHORT_DATE, _DATE_AND_TIME = 14, 22
_WIDTHS: dict[Kind, int] = {"text": 18, "integer": 12, "number": 12, "date": 12, "instant": 18}


def _xlsx_bytes(
    title: str, header: Sequence[str], kinds: Sequence[Kind], rows: Iterable[Row], zone: ZoneInfo
) -> bytes:
    """A workbook of one sheet with typed cells. Rows pass through a temporary file."""
    buffer = io.BytesIO()
    # Leaving the block removes the temporary file, also after an error.
    with xlsxwriter.Workbook(buffer, _OPTIONS) as workbook:
        workbook.set_properties({"created": _CREATED})
        sheet = workbook.add_worksheet(title)
        sheet.freeze_panes(1, 0)
        bold = workbook.add_format({"bold": True})
        day = workbook.add_format({"num_format": _SHORT_DATE})
        moment = workbook.add_format({"num_format": _DATE_AND_TIME})
        for column, (text, kind) in enumerate(zip(header, kinds, strict=True)):
            sheet.set_column(column, column, max(_WIDTHS[kind], len(text) + 2))
            _check(sheet.write_string(0, column, text, bold))
        write: dict[Kind, Callable[[int, int, Cell], int]] = {
            "text": lambda row, column, value: _write_text(sheet, row, column, str(value)),
            "integer": sheet.write_number,
            "number": sheet.write_number,
            "date": lambda row, column, value: sheet.write_datetime(row, column, value, day),
            "instant": lambda row, column, value: sheet.write_datetime(
                row, column, _clock(value, zone), moment
            ),
        }
        cells = [write[kind] for kind in kinds]
        for number, row in enumerate(rows, 1):
            for column, (cell, value) in enumerate(zip(cells, row, strict=True)):
                if value is not None:
                    _check(cell(number, column, value))
    return buffer.getvalue()


def _write_text(sheet: Worksheet, row: int, column: int, text: str) -> int:
    if len(text) > _LONGEST_TEXT:
        text = text[: _LONGEST_TEXT - 1] + "…"
    if text.startswith("<r>") and text.endswith("</r>"):
        # The library takes such a text for XML that it made itself and does not escape it.
        text += " "
    return sheet.write_string(row, column, text)


def _check(written: int) -> None:
    """The library reports a cell that it left out by a negative number alone."""
    if written != 0:
        raise ValueError(f"a cell was not written ({written})")


def _translated(section: str, name: str) -> dict[Language, str]:
    try:
        return _TEXTS[section][name]
    except KeyError:
        raise LookupError(f"table_headers.toml has no {section}.{name}") from None


def _texts() -> dict[str, dict[str, dict[Language, str]]]:
    texts: dict[str, dict[str, dict[Language, str]]] = tomllib.loads(
        (files("app.http") / "table_headers.toml").read_text("utf-8")
    )
    for section, names in texts.items():
        for name, by_language in names.items():
            if {language for language, text in by_language.items() if text} != set(LANGUAGES):
                raise LookupError(f"table_headers.toml: {section}.{name} lacks a language")
    return texts


_TEXTS = _texts()
