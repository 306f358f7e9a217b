"""CSV files as other systems write them (RFC 4180): encoding, separator, header, rows."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from app.importing.columns import Columns, FileRefused, in_nfc, known_headers, recognise

_SEPARATORS = (",", ";", "\t")
_LONGEST_LINE = 1_000_000
_HEAD = 8_192


class BadRow(NamedTuple):
    """Why a row cannot be imported."""

    line: int
    """The physical line on which the row begins; the header's is usually 1."""
    column: str | None
    """The name of the API's field; None for the row as a whole."""
    reason: str


class Row(NamedTuple):
    line: int
    cells: dict[str, str]
    """The cells that are not empty, by column."""


@dataclass(frozen=True)
class Source:
    """A file whose header is recognised."""

    path: Path
    separator: str
    columns: Columns
    size: int
    """Bytes."""


def look_at(path: Path, mapping: Mapping[str, Sequence[str]], ignore_unknown: bool) -> Source:
    """A file's separator and columns. Raises FileRefused unless it is a CSV file to import."""
    try:
        _refuse_other_formats(path)
        headers: dict[str, list[str]] = {}
        for separator in _SEPARATORS:
            with suppress(csv.Error), _opened(path) as file:
                headers[separator] = _header(_Lines(file), separator)
        if not headers:
            raise FileRefused("its first line is no CSV")
        # The separator under which most of the header means something.
        separator, header = max(
            headers.items(), key=lambda one: (known_headers(one[1], mapping), len(one[1]))
        )
        return Source(
            path, separator, recognise(header, mapping, ignore_unknown), path.stat().st_size
        )
    except OSError as error:
        raise FileRefused(error.strerror or str(error)) from error


def rows(source: Source, read: list[int]) -> Iterator[Row | BadRow]:
    """Every row below the header except blank ones; keeps `read[0]`, the bytes read so far."""
    with _opened(source.path) as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=source.separator, strict=True)
        next(filter(any, reader), None)
        while True:
            line = lines.number + 1
            try:
                row = next(reader, None)
            except _TooLong as error:
                yield BadRow(line, None, str(error))
                continue
            except csv.Error as error:
                if lines.number > line:
                    # Inside an open quotation, rows cannot be told from text.
                    yield BadRow(
                        line, None, "a quotation is not closed; the rest of the file was not read"
                    )
                    return
                yield BadRow(line, None, f"is no CSV: {error}")
                continue
            if row is None:
                return
            read[0] = file.buffer.tell()
            if any(row):
                yield _row(source.columns, line, row)


def _row(columns: Columns, line: int, row: list[str]) -> Row | BadRow:
    if len(row) != columns.width:
        return BadRow(line, None, f"has {len(row)} fields where the header has {columns.width}")
    cells = {name: row[place] for place, name in columns.places if row[place]}
    for name, text in cells.items():
        if not text.isascii() and not _is_utf8(text):
            return BadRow(line, name, "is not UTF-8; save the file as “CSV UTF-8”")
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


def _refuse_other_formats(path: Path) -> None:
    if not path.is_file():
        # Raises OSError for a path that does not exist or may not be read.
        path.stat()
        raise FileRefused("is a directory" if path.is_dir() else "is no regular file")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\xef\xbb\xbf\r\n\t "):
        raise FileRefused("is empty")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileRefused("is UTF-16; save it as “CSV UTF-8”")
    if b"\0" in head:
        raise FileRefused("is no text file; save it as “CSV UTF-8”")


def _header(lines: Iterator[str], separator: str) -> list[str]:
    try:
        header = next(filter(any, csv.reader(lines, delimiter=separator, strict=True)), [])
    except _TooLong as error:
        raise FileRefused(f"in its header, {error}") from error
    if not all(map(_is_utf8, header)):
        raise FileRefused("its header is not UTF-8; save the file as “CSV UTF-8”")
    return [in_nfc(name.strip()) for name in header]


class _TooLong(Exception):
    """A line longer than any row to import."""


class _Lines(Iterator[str]):
    """The lines of a file, counted. A line that is too long raises _TooLong, and is skipped."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.number = 0

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) < _LONGEST_LINE or line.endswith(("\n", "\r")):
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self._file.readline(_LONGEST_LINE)
        raise _TooLong(f"a line is longer than {_LONGEST_LINE:,} characters")
