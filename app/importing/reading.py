"""CSV files as other systems write them (RFC 4180): encoding, separator, header, rows."""

import csv
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from app.errors import InputCode
from app.importing.columns import (
    MOST_COLUMNS,
    Columns,
    FileRefused,
    in_nfc,
    known_headers,
    recognise,
)

_SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?[\r\n]*', re.IGNORECASE)
"""A first line by which spreadsheets tell the separator."""
_LONGEST_LINE = 1_000_000
_LONGEST_CELL = csv.field_size_limit()
_NOT_CSV: tuple[InputCode, dict[str, object]] = ("not_csv", {})
_TOO_LONG: tuple[InputCode, dict[str, object]] = ("too_long", {"limit": _LONGEST_CELL})
_MOST_LINES = 1_000
"""Of one row, and up to the end of the header. These lines are read without a pause."""
_LINES_AT_ONCE = 50
_HEAD = 8_192
_STANDARD_INPUT = "-"
_OTHER_FORMATS = {
    b"\xff\xfe": "is UTF-16; save it as “CSV UTF-8”",
    b"\xfe\xff": "is UTF-16; save it as “CSV UTF-8”",
    b"\x1f\x8b": "is not a text file but compressed by gzip; unpack it first",
    b"PK\x03\x04": "is not a text file but a workbook or a ZIP archive; save it as “CSV UTF-8”",
}
"""By the bytes with which a file begins."""


class BadRow(NamedTuple):
    """Why a row cannot be imported."""

    line: int
    """The physical line on which the row begins; the header's is usually 1."""
    column: str | None
    """The name of the API's field; None for the row as a whole."""
    reason: str
    """In words for the operator."""
    code: InputCode
    params: Mapping[str, object] = {}
    """What and why for a client of the API, as in `app.errors.InputError`."""


class Row(NamedTuple):
    line: int
    cells: dict[str, str]
    """The cells that are not empty, by column."""


class Pause(NamedTuple):
    """Comes after every few lines, also blank ones: a service answers other requests here."""

    read: int
    """How many bytes of the file are read."""


class _File(NamedTuple):
    path: Path
    size: int
    copy: Any = None
    """The temporary file, which is deleted with this reference to it."""


@dataclass(frozen=True)
class Source:
    """A file whose header is recognised."""

    name: str
    """As the operator named it; `-` is standard input."""
    file: _File
    separator: str
    columns: Columns

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.size


def look_at(
    path: Path, mapping: Mapping[str, Sequence[str]], ignore_unknown: bool, most_bytes: int
) -> Source:
    """A file's separator and columns. Raises FileRefused unless it is a CSV file to import.

    `-` is standard input. It and pipes are copied to a temporary file, which ends with the Source,
    because every file is read more than once. No more than `most_bytes` are read.
    """
    try:
        file = _on_disk(path, most_bytes)
        if file.size > most_bytes:
            raise FileRefused(
                f"is larger than {most_bytes:,} bytes (ASSISTENZA_IMPORT_MAX_BYTES): split it,"
                " or raise that setting"
            )
        _refuse_other_formats(file.path)
        headers: dict[str, list[str]] = {}
        with _opened(file.path) as text:
            declared = _Lines(text).separator
        for separator in [declared] if declared else _SEPARATORS:
            with suppress(csv.Error), _opened(file.path) as text:
                headers[separator] = _header(_Lines(text), separator)
        if not headers:
            raise FileRefused("its first line is not CSV", "not_csv")
        # The separator under which most of the header means something.
        separator, header = max(
            headers.items(), key=lambda one: (known_headers(one[1], mapping), len(one[1]))
        )
        return Source(str(path), file, separator, recognise(header, mapping, ignore_unknown))
    except OSError as error:
        raise FileRefused(error.strerror or str(error)) from error


def rows(source: Source) -> Iterator[Row | BadRow | Pause]:
    """Every row below the header except blank ones, with pauses between them."""
    with _opened(source.file.path) as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=source.separator, strict=True)
        next(filter(any, reader), None)
        paused = lines.number
        while True:
            if lines.number - paused >= _LINES_AT_ONCE:
                paused = lines.number
                yield Pause(file.buffer.tell())
            line = lines.number + 1
            lines.last = lines.number + _MOST_LINES
            try:
                row = next(reader, None)
            except _TooLong as error:
                yield BadRow(line, None, str(error), "too_long", {"limit": _LONGEST_LINE})
                continue
            except csv.Error as error:
                what, code = f"is not CSV: {error}", _NOT_CSV
                if "field limit" in str(error):
                    what, code = f"a cell is longer than {_LONGEST_CELL:,} characters", _TOO_LONG
                elif lines.number > line:
                    what = "a quotation is not closed"
                if lines.number > line:
                    # Inside an open quotation, rows cannot be told from text.
                    what = f"{what}; the rest of the file was not read"
                    yield BadRow(line, None, what, "quotation_open")
                    return
                yield BadRow(line, None, what, *code)
                continue
            if row is None:
                return
            if any(row):
                yield _row(source.columns, line, row)


def _row(columns: Columns, line: int, row: list[str]) -> Row | BadRow:
    while len(row) > columns.width and not row[-1]:
        row.pop()
    if len(row) != columns.width:
        what = f"has {len(row)} fields where the header has {columns.width}"
        widths = {"found": len(row), "expected": columns.width}
        return BadRow(line, None, what, "wrong_number_of_cells", widths)
    cells = {name: row[place] for place, name in columns.places if row[place]}
    for name, text in cells.items():
        if not text.isascii() and not _is_utf8(text):
            what = "is not UTF-8; save the file as “CSV UTF-8”"
            return BadRow(line, name, what, "not_utf8")
    return Row(line, cells)


def _is_utf8(text: str) -> bool:
    # `surrogateescape` turned bytes that are not UTF-8 into lone surrogates.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _opened(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _on_disk(path: Path, most_bytes: int) -> _File:
    """The file itself, or a copy of what can be read only once, cut after `most_bytes`."""
    if str(path) == _STANDARD_INPUT:
        return _copy(sys.stdin.buffer, most_bytes)
    if path.is_dir():
        raise FileRefused("is a directory")
    if path.is_file():
        return _File(path, path.stat().st_size)
    with path.open("rb") as stream:
        return _copy(stream, most_bytes)


def _copy(stream: BinaryIO, most_bytes: int) -> _File:
    copy = tempfile.NamedTemporaryFile(prefix="assistenza-import-")  # noqa: SIM115
    while copy.tell() <= most_bytes and (block := stream.read(1 << 20)):
        copy.write(block)
    copy.flush()
    return _File(Path(copy.name), copy.tell(), copy)


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\xef\xbb\xbf\r\n\t "):
        raise FileRefused("is empty", "blank")
    for start, reason in _OTHER_FORMATS.items():
        if head.startswith(start):
            raise FileRefused(reason, "not_a_csv_file")
    if b"\0" in head:
        raise FileRefused("is not a text file; save it as “CSV UTF-8”", "not_a_csv_file")


def _header(lines: Iterator[str], separator: str) -> list[str]:
    try:
        reader = csv.reader(islice(lines, _MOST_LINES), delimiter=separator, strict=True)
        cells = next(filter(any, reader), [])
    except _TooLong as error:
        raise FileRefused(f"in its header, {error}", "too_long", limit=_LONGEST_LINE) from error
    # Spreadsheets add blank cells. One cell with a name too many is enough to refuse the file.
    header = [*cells[:MOST_COLUMNS], *islice(filter(str.strip, cells[MOST_COLUMNS:]), 1)]
    if not all(map(_is_utf8, header)):
        raise FileRefused("its header is not UTF-8; save the file as “CSV UTF-8”", "not_utf8")
    return [in_nfc(name.strip()) for name in header]


class _TooLong(Exception):
    """A line longer than any row to import."""


class _Lines(Iterator[str]):
    """The lines of a file, counted. A line that is too long raises _TooLong, and is skipped.

    A first line `sep=;` is left out; `separator` is what it declares.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.number = 0
        self.last = sys.maxsize
        """The last line that the row being read may have; csv.Error is raised after it."""
        self._first = file.readline(_LONGEST_LINE)
        declared = _SEPARATOR_LINE.fullmatch(self._first)
        self.separator = declared and declared[1]
        if declared:
            self.number, self._first = 1, ""

    def __next__(self) -> str:
        if self.number >= self.last:
            raise csv.Error(f"a row has more than {_MOST_LINES:,} lines")
        line, self._first = self._first or self._file.readline(_LONGEST_LINE), ""
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) < _LONGEST_LINE or line.endswith(("\n", "\r")):
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self._file.readline(_LONGEST_LINE)
        raise _TooLong(f"a line is longer than {_LONGEST_LINE:,} characters")
