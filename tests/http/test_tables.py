"""Tables as spreadsheets read them: dates are dates, numbers numbers, and no text is a formula."""

import asyncio
import csv
import io
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook
from openpyxl.utils.escape import unescape

from app.errors import InvalidInput
from app.http import tables
from app.http.languages import LANGUAGES, Language
from app.http.tables import Kind, Table, csv_bytes

ROME = ZoneInfo("Europe/Rome")
clock = datetime.fromisoformat
TABLE = Table(
    "statement",
    technician="text",
    entry="integer",
    remaining="number",
    counts_on="date",
    recorded_at="instant",
)
ROWS: list[list[Any]] = [
    ['Söl, "the"; desk\nline', -5, 12.5, date(2026, 2, 1), datetime(2026, 1, 31, 23, tzinfo=UTC)],
    ["=1+1", 1234567, 0.25, date(2026, 12, 13), datetime(2026, 7, 1, 10, 5, 7, 9, tzinfo=UTC)],
    [None] * 5,
]
READ: list[list[Any]] = [
    [ROWS[0][0], -5, 12.5, clock("2026-02-01"), clock("2026-02-01")],
    ["=1+1", 1234567, 0.25, clock("2026-12-13"), clock("2026-07-01T12:05:07")],
    [None] * 5,
]


class Region:
    """How Excel reads the cells of a CSV file on a machine of some region: each cell by itself,
    first as a number, then as a date with or without a time, else as a text."""

    def __init__(self, separator: str, decimal: str, days: tuple[str, ...]) -> None:
        self.separator = separator
        self.decimal = decimal
        self.days = days

    def read(self, body: bytes) -> list[list[Any]]:
        # Without the mark Excel takes the file for one in the machine's old code page.
        text = body.decode("utf-8-sig" if body.startswith(b"\xef\xbb\xbf") else "cp1252")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=self.separator)
        return [[self.cell(cell) for cell in line] for line in lines]

    def cell(self, text: str) -> Any:
        if not text:
            return None
        if set(text) <= {*"-0123456789", self.decimal}:
            try:
                number = float(text.replace(self.decimal, "."))
            except ValueError:
                pass
            else:
                return int(number) if number.is_integer() else number
        for day in self.days:
            for form in (day, f"{day} %H:%M:%S"):
                try:
                    return datetime.strptime(f"{text} +00:00", f"{form} %z").replace(tzinfo=None)
                except ValueError:
                    continue
        return text


ISO = "%Y-%m-%d"
REGIONS: dict[str, tuple[Language, Region]] = {
    "it_IT": ("it", Region(";", ",", ("%d/%m/%Y", ISO))),
    "de_DE": ("de", Region(";", ",", ("%d.%m.%Y", ISO))),
    "en_GB": ("en", Region(",", ".", ("%d/%m/%Y", ISO))),
    "en_US": ("en", Region(",", ".", ("%m/%d/%Y", ISO))),
}


@pytest.mark.parametrize("region", REGIONS)
def test_excel_reads_its_csv_into_the_right_dates_and_numbers(region: str) -> None:
    language, reader = REGIONS[region]
    header, *lines = reader.read(TABLE.written("excel_csv", ROWS, language, ROME))
    safe = [[f"'{cell}" if cell == "=1+1" else cell for cell in line] for line in READ]
    assert lines == safe
    assert header == _headers(language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_workbook_has_typed_cells(language: Language) -> None:
    workbook = load_workbook(io.BytesIO(TABLE.written("xlsx", ROWS, language, ROME)))
    (sheet,) = workbook.worksheets
    assert sheet.freeze_panes == "A2"
    header, *lines = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert header == _headers(language)
    # A row without anything is not in the file.
    assert lines == READ[:-1]
    assert all(type(cell) is not date for cell in lines[0])
    assert [cell.data_type for cell in sheet[3]] == ["s", "n", "n", "d", "d"]
    assert [type(cell.value) for cell in sheet[2]] == [str, int, float, datetime, datetime]


def _headers(language: Language) -> list[str]:
    texts = tomllib.loads((files("app.http") / "table_headers.toml").read_text("utf-8"))["columns"]
    headers = [texts[name][language] for name in TABLE.columns]
    return [*headers[:-1], f"{headers[-1]} (Europe/Rome)"]


# Everything that PostgreSQL stores: all but NUL and halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)


@given(
    st.one_of(
        TEXTS,
        st.builds("{}{}".format, st.sampled_from("=+-@\t\r\n_"), TEXTS),
        st.builds("_x{:04X}_{}".format, st.integers(0, 0xFFFF), TEXTS),
        st.builds("<r>{}</r>".format, TEXTS),
    )
)
def test_a_text_stays_as_it_is_in_a_workbook(text: str) -> None:
    body = Table("statement", technician="text").written("xlsx", [[text]], "en", ROME)
    cell = load_workbook(io.BytesIO(body)).worksheets[0]["A2"]
    # XML turns CR LF and CR into LF unless they are escaped, which openpyxl leaves to its callers.
    shown = text + " " if text.startswith("<r>") and text.endswith("</r>") else text
    assert (unescape(cell.value), cell.data_type) == (shown, "s")


def test_a_text_is_cut_to_what_a_cell_holds() -> None:
    body = Table("statement", technician="text").written("xlsx", [["😀" * 40_000]], "en", ROME)
    value = load_workbook(io.BytesIO(body)).worksheets[0]["A2"].value
    assert value == "😀" * 16_382 + "…"


def test_equal_rows_give_equal_bytes() -> None:
    first = TABLE.written("xlsx", ROWS, "de", ROME)
    assert first == TABLE.written("xlsx", iter(ROWS), "de", ROME)
    archive = zipfile.ZipFile(io.BytesIO(first))
    assert {one.date_time for one in archive.infolist()} == {(1980, 1, 31, 0, 0, 0)}
    assert b"2020-01-01T00:00:00Z" in archive.read("docProps/core.xml")


def test_programs_read_names_and_instants_in_utc() -> None:
    body = TABLE.written("csv", ROWS[1:], "de", ROME)
    assert body == (
        b"technician,entry,remaining,counts_on,recorded_at\r\n"
        b"'=1+1,1234567,0.25,2026-12-13,2026-07-01T10:05:07.000009Z\r\n"
        b",,,,\r\n"
    )


@pytest.mark.parametrize("start", [*"=+-@\t\r\n＝＋－＠", " =", "  +"])
@pytest.mark.parametrize("form", ["csv", "excel_csv"])
def test_no_text_becomes_a_formula(start: str, form: Any) -> None:
    text = f"{start}1+1"
    table = Table("statement", technician="text", entry="integer")
    body = table.written(form, [[text, -5]], "en", ROME).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(body, newline="")))[1] == ["'" + text, "-5"]


def test_ordinary_texts_are_left_alone() -> None:
    row = ['Söl "the" desk', "a,b;c", "", "x=1"]
    assert list(csv.reader(io.StringIO(csv_bytes(row, [row]).decode(), newline=""))) == [row, row]


def test_a_table_needs_its_headers() -> None:
    with pytest.raises(LookupError, match=r"columns\.nothing"):
        Table("statement", nothing="text")
    with pytest.raises(LookupError, match=r"titles\.nothing"):
        Table("nothing")


def test_titles_can_name_a_sheet() -> None:
    texts = tomllib.loads((files("app.http") / "table_headers.toml").read_text("utf-8"))
    for title in (text for one in texts["titles"].values() for text in one.values()):
        assert len(title) <= 31
        assert not set(title) & set("[]:*?/\\'")


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("form", ["csv", "excel_csv", "xlsx"])
def test_every_kind_may_be_empty(kind: Kind, form: Any) -> None:
    assert Table("statement", entry=kind).written(form, [[None]], "it", ROME)


class _Request:
    """What `Table.answer` reads of a context."""

    language = "it"
    method = "GET"
    headers: dict[str, str] = {}

    @property
    def request(self) -> "_Request":
        return self

    @property
    def policies(self) -> "_Request":
        return self

    zone = ROME


@pytest.mark.parametrize("form", ["csv", "excel_csv", "xlsx"])
async def test_the_event_loop_goes_on(form: Any) -> None:
    threads = set()

    def rows() -> Iterator[list[Any]]:
        threads.add(threading.get_ident())
        yield ROWS[0]

    context: Any = _Request()
    answer = await TABLE.answer(context, form, "name", rows())
    assert answer.status_code == 200
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("form", ["csv", "excel_csv", "xlsx"])
async def test_too_many_rows_are_refused(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 2)
    context: Any = _Request()
    assert (await TABLE.answer(context, form, "name", ROWS[:2])).status_code == 200
    with pytest.raises(InvalidInput) as refused:
        await TABLE.answer(context, form, "name", ROWS)
    (error,) = refused.value.errors
    assert (error.pointer, error.code, error.params) == ("query/format", "too_many", {"limit": 2})


@pytest.mark.parametrize("form", ["csv", "excel_csv", "xlsx"])
async def test_a_table_that_nobody_waits_for_is_given_up(form: Any) -> None:
    begun, ended = threading.Event(), threading.Event()

    def rows() -> Iterator[list[Any]]:
        try:
            while True:
                begun.set()
                yield ROWS[0]
        finally:
            ended.set()

    context: Any = _Request()
    answering = asyncio.ensure_future(TABLE.answer(context, form, "name", rows()))
    await asyncio.to_thread(begun.wait, 10)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert await asyncio.to_thread(ended.wait, 10)


def test_a_year_of_hours_around_the_clock_changes_is_the_civil_time() -> None:
    instants = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(24 * 365)]
    table = Table("statement", recorded_at="instant")
    body = table.written("excel_csv", [[one] for one in instants], "en", ROME)
    lines = body.decode("utf-8-sig").splitlines()[1:]
    assert lines == [one.astimezone(ROME).strftime("%Y-%m-%d %H:%M:%S") for one in instants]
