"""What pandas reads in the files for Excel, told nothing but the region of the machine."""

import io
from typing import Any

import pytest

from app.http.languages import Language
from tests.http.test_tables import READ, REGIONS, ROME, ROWS, TABLE

pytestmark = pytest.mark.tools
pandas = pytest.importorskip("pandas", reason="pandas is not here")

_DAY, _INSTANT = 3, 4
"""The columns of `TABLE` that are dates."""


def _kinds(frame: Any) -> str:
    """Of each column: M for dates, i and f for numbers, O for texts (as numpy has them)."""
    return "".join("O" if kind == "str" else kind.kind for kind in frame.dtypes)


def _values(frame: Any) -> list[list[Any]]:
    return [
        [
            None
            if pandas.isna(value)
            else value.to_pydatetime()
            if isinstance(value, pandas.Timestamp)
            else value
            for value in row
        ]
        for row in frame.itertuples(index=False)
    ]


@pytest.mark.parametrize("region", ["de_DE", "en_GB", "it_IT"])
def test_the_csv_for_excel(region: str) -> None:
    language, reader = REGIONS[region]
    frame = pandas.read_csv(
        io.BytesIO(TABLE.written("excel_csv", ROWS, language, ROME)),
        encoding="utf-8-sig",
        sep=reader.separator,
        decimal=reader.decimal,
        parse_dates=[_DAY, _INSTANT],
        dayfirst=language != "en",
        skip_blank_lines=False,
    )
    # The last row is empty, and numpy has no integer for that.
    assert _kinds(frame) == "OffMM"
    # A text that would be a formula has a mark before it.
    assert _values(frame) == [READ[0], ["'=1+1", *READ[1][1:]], READ[2]]


@pytest.mark.parametrize("language", ["de", "en", "it"])
def test_the_workbook(language: Language) -> None:
    """No format is named: the cells have their types."""
    body = io.BytesIO(TABLE.written("xlsx", ROWS, language, ROME))
    frame = pandas.read_excel(body, engine="openpyxl")
    assert _kinds(frame) == "OifMM"
    assert _values(frame) == READ[:-1]
