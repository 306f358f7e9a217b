"""Tables as CSV (RFC 4180), safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

MEDIA_TYPE = "text/csv"

Cell = str | int | date | datetime | None
# What makes spreadsheets take a text for a formula, the full-width forms included (OWASP).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A table in UTF-8, its first line the names of the columns.

    A text that a spreadsheet would run as a formula gets an apostrophe before it; numbers stay
    numbers. Instants are written as in JSON, in UTC with `Z`; None is an empty cell.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue().encode()


def _cell(value: Cell) -> str | int:
    match value:
        case None:
            return ""
        case str():
            return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
    return value
