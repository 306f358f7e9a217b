"""Files as other systems write them, and files that cannot be imported."""

import asyncio
import codecs
import gzip
import os
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from app.importing import files, reading
from app.importing.cells import Moment
from app.importing.columns import FileRefused
from app.importing.reading import BadRow, Row, look_at, rows
from app.policy.document import Policies
from app.store.events import Actor
from tests.api.build import unique
from tests.importing.conftest import Importer

_LICENCES = "customer_code,serial_number,kind,product,version,purchased_on"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (codecs.BOM_UTF8 + b"\r\n", "is empty"),
        (b"PK\x03\x04\x14\x00\x06\x00", "not a text file"),
        (codecs.BOM_UTF16_LE + "code,name,country".encode("utf-16-le"), "is UTF-16"),
        ("code,name,country,Größe\n".encode("latin-1"), "its header is not UTF-8"),
        (b'"code,name,country\nC,N,IT\n', "its first line is not CSV"),
        (b"code,name,country,name\n", "the header has more than once: 'name'"),
        (b"code,name,country,color,,size\n", "unknown columns in a file of customers: 'color', ''"),
        (b"number,purchased_on\n", "has no column for customer_code, quantity"),
        (b"code,name,country,contact_email\n", "so needs contact_name as well"),
        (_LICENCES.encode() + b",withdrawn_on\n", "so needs withdrawal_reason as well"),
        (b"code,name,country,external_ref:a b\n", "unknown columns"),
        (b"code,name,country,external_ref:<system>\n", "unknown columns"),
        (gzip.compress(b"code,name,country\n", mtime=0), "compressed by gzip; unpack it first"),
        (b"code,name,country," + b"x," * 1_000 + b"x\n", "has more than 1,000 columns"),
        (b"sep=;\n", "has no column for"),
        (b"a" * 1_000_001, "a line is longer than 1,000,000 characters"),
    ],
)
async def test_what_is_no_file_of_ours(importer: Importer, content: bytes, reason: str) -> None:
    with pytest.raises(FileRefused) as refused:
        await importer(odd=content)
    assert reason in str(refused.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8, b"\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_encodings_separators_and_line_ends(
    importer: Importer, separator: str, start: bytes, end: str
) -> None:
    c = unique("C")
    lines = ["code;name;country", f'{c};"Größe ; , "" {separator}Ł";IT', ";;", ""]
    text = end.join(line.replace(";", separator) if "Gr" not in line else line for line in lines)
    text = text.replace(f"{c};", f"{c}{separator}").replace(";IT", f"{separator}IT")
    outcome = await importer(odd=start + text.encode())
    assert outcome.well, outcome
    assert "1 rows; customers: 1 created" in outcome.said
    assert (await importer.get(f"customers/{c}"))["name"] == f'Größe ; , " {separator}Ł'


async def test_headers_of_another_system(importer: Importer) -> None:
    c = unique("C")
    customers = f"Kundennummer;Firma;Land;Ort\n{c};Muster GmbH;DE;Ulm\n"
    packs = f"Kundennummer;Nr;Menge;Kauf\n{c};{c}-TP;3;2024-01-01\n"
    mapping = [
        *("Kundennummer=code", "Kundennummer=customer_code", "Firma=name", "Land=country"),
        *("Nr=number", "Menge=quantity", "Kauf=purchased_on"),
    ]
    with pytest.raises(FileRefused, match="unknown columns in a file of customers: 'Ort'"):
        await importer(mapping=mapping, packs=packs, customers=customers)
    outcome = await importer(mapping=mapping, ignore_unknown=True, packs=packs, customers=customers)
    assert outcome.well
    assert (await importer.get(f"ticket-packs/{c}-TP"))["quantity"] == 3
    wrong = await importer(
        mapping=mapping, ignore_unknown=True, packs=packs.replace(";3;", ";0;"), customers=customers
    )
    # Said in the file's own words.
    assert wrong.bad == ["packs.csv:2: Menge: This must be at least 1."]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("Kundennummer", "is not of the form"),
        ("Kundennummer=kode", "there is no column 'kode'"),
        ("Kundenummer=code", "no file has the header 'Kundenummer'"),
        ("title=name", "more than one column is taken for name: 'name', 'title'"),
    ],
)
async def test_mappings_that_mean_nothing(importer: Importer, option: str, reason: str) -> None:
    with pytest.raises(FileRefused) as refused:
        await importer(mapping=[option], customers="code,name,title,country\n", ignore_unknown=True)
    assert reason in str(refused.value)


async def test_rows_that_are_no_rows(importer: Importer) -> None:
    c = unique("C")
    rows: list[str | bytes] = [
        f"{c}-1,One,IT",
        f"{c}-2,{'x' * 200_000},IT",
        f"{c}-3,{'x' * 10_000_000},IT",
        f'{c}-4,"Fo"ur,IT',
        "",
        f"{c}-5,Bad\xff,IT".encode("latin-1"),
        f"{c}-6,Nu\0l,IT",
        f"{c}-7,Seven,IT,more",
        f'{c}-8,"Eight,IT',
        f"{c}-9,Nine,ZZ",
    ]
    text = b"\n".join(
        row if isinstance(row, bytes) else row.encode() for row in ["code,name,country", *rows]
    )
    outcome = await importer(odd=text)
    assert not outcome.well
    assert outcome.bad == [
        "odd.csv:3: a cell is longer than 131,072 characters",
        "odd.csv:4: a line is longer than 1,000,000 characters",
        "odd.csv:5: is not CSV: ',' expected after '\"'",
        "odd.csv:7: name: is not UTF-8; save the file as “CSV UTF-8”",
        "odd.csv:8: name: This contains characters that cannot be stored.",
        "odd.csv:9: has 4 fields where the header has 3",
        "odd.csv:10: a quotation is not closed; the rest of the file was not read",
    ]


async def test_a_header_alone_is_a_file_without_rows(importer: Importer) -> None:
    outcome = await importer(customers="code,name,country\n")
    assert outcome.well
    assert "0 rows; customers: 0 created, 0 changed, 0 unchanged" in outcome.said


@pytest.mark.parametrize(
    ("first", "separator"), [("sep=;", ";"), ('"sep=\t"', "\t"), ("SEP=|", "|"), ("sep=,", ",")]
)
async def test_a_first_line_that_declares_the_separator(
    importer: Importer, first: str, separator: str
) -> None:
    c = unique("C")
    text = f"{first}\r\ncode;name;country\r\n{c};Esempio;IT\r\n{c}-2;;IT\r\n"
    outcome = await importer(odd=codecs.BOM_UTF8 + text.replace(";", separator).encode())
    # The declaration is a line of the file, and counts.
    assert outcome.bad == ["odd.csv:4: name: This is required."]


async def test_empty_columns_at_the_end_are_no_columns(importer: Importer) -> None:
    c = unique("C")
    text = f"code,name,country,,\n{c}-1,Esempio,IT,,\n{c}-2,Esempio,IT\n{c}-3,Esempio,IT,,,,\n"
    assert (await importer(wide=text)).said.startswith("wide.csv: 3 rows; customers: 3 created")
    text = f"code,name,country\n{c}-1,Esempio,IT,,,\n{c}-4,Esempio,IT,,x\n"
    assert (await importer(wide=text)).bad == ["wide.csv:3: has 5 fields where the header has 3"]


async def test_several_phones_in_a_cell(importer: Importer) -> None:
    c = unique("C")
    for number, between in enumerate((";", ", ", " | ", "\n", "\r\n")):
        phones = between.join(("030/23125202", "+39 059 454224"))
        text = f'code,name,country,contact_name,contact_phone\n{c}-{number},M,DE,T,"{phones}"\n'
        assert (await importer(phones=text)).well
        (contact,) = (await importer.get(f"customers/{c}-{number}"))["contacts"]
        assert contact["phones"] == ["+493023125202", "+39059454224"]


async def test_a_wrong_cell_is_told_its_form(importer: Importer) -> None:
    for day in ("31.12.2024", "2024-02-30", "12/31/2024", "1024-01-01"):
        text = f"{_LICENCES}\nC,S,editor,Editor,1,{day}\n"
        (line,) = (await importer(licences=text)).bad
        assert line.endswith(
            " Expected: a date, YYYY-MM-DD, from 1990 to 2199; not in the future."
        ), line
    text = "code,name,country,contact_name,contact_phone\nC 1,N,Italy,T,12\n"
    bad = (await importer(customers=text)).bad
    assert [line.partition(" Expected: ")[2].split()[0] for line in bad] == ["1", "two"]


async def test_a_file_larger_than_the_setting_is_refused(importer: Importer) -> None:
    text = "code,name,country\n" + "x" * 2_000
    with pytest.raises(FileRefused, match=r"larger than 2,000 bytes \(ASSISTENZA_IMPORT_MAX_BYTES"):
        await importer(large=text, settings={"import_max_bytes": 2_000})
    endless = Path("/dev/zero")
    with pytest.raises(FileRefused, match="larger than 2,000 bytes"):
        look_at(endless, {}, False, 2_000)


async def test_a_huge_cell_is_a_bad_row(importer: Importer) -> None:
    huge, reason = "x" * 200_000, "a cell is longer than 131,072 characters"
    row = await importer(odd=f"code,name,country\nC,{huge},IT\nC,,IT\n")
    assert row.bad == [f"odd.csv:2: {reason}", "odd.csv:3: name: This is required."]
    lines = await importer(odd=f'code,name,country\nC,"{huge[:100_000]}\n{huge}",IT\nC,,IT\n')
    assert lines.bad == [f"odd.csv:2: {reason}; the rest of the file was not read"]


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "code;name;country\nC-1;Esempio;IT\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    source = look_at(pipe, {}, False, 1_000)
    writer.join()
    assert [row.cells for row in rows(source) if isinstance(row, Row)] == [
        {"code": "C-1", "name": "Esempio", "country": "IT"}
    ]


@pytest.mark.parametrize("header", ["a," * 100_000 + "a", ";" * 100_000 + "a"])
def test_a_header_is_looked_at_no_further_than_it_may_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    seen: list[str] = []

    def in_nfc(name: str) -> str:
        seen.append(name)
        return name

    monkeypatch.setattr(reading, "in_nfc", in_nfc)
    path = tmp_path / "wide.csv"
    path.write_text(header)
    with pytest.raises(FileRefused, match="more than 1,000 columns"):
        look_at(path, {}, False, 1_000_000)
    # Under each of four separators.
    assert len(seen) <= 4 * 1_001


def test_blank_cells_after_the_header_may_be_many(tmp_path: Path) -> None:
    path = tmp_path / "blank.csv"
    path.write_text("code,name,country" + ", " * 2_000 + "\nC,N,IT" + "," * 2_000 + "\n")
    source = look_at(path, {}, False, 1_000_000)
    assert [row.cells for row in rows(source) if isinstance(row, Row)] == [
        {"code": "C", "name": "N", "country": "IT"}
    ]


class _Staged:
    async def add(self, batch: list[object]) -> None: ...


async def test_blank_lines_let_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policies: Policies
) -> None:
    path = tmp_path / "blank.csv"
    path.write_text("code,name,country\n" + "\n" * 5_000 + ",,\n" * 5_000)
    source = look_at(path, {}, False, 1_000_000)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    moment = Moment(datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), policies)
    one: Any = files._File(None, moment, source, files._Nobody(), Actor("x"))  # type: ignore[arg-type]
    assert await one._stage(_Staged()) == 0
    assert len(pauses) == 200


def test_a_row_has_at_most_a_thousand_lines(tmp_path: Path) -> None:
    """They are read without a pause."""
    path = tmp_path / "long.csv"
    note = "\n" * 1_000
    path.write_text(f'code,name,country,note\nC,N,IT,"{note[1:]}"\nD,N,IT,"{note}"\nE,N,IT,x\n')
    found = [
        one for one in rows(look_at(path, {}, True, 1_000_000)) if isinstance(one, BadRow | Row)
    ]
    assert [one.line for one in found] == [2, 1_002]
    assert isinstance(found[1], BadRow)
    assert found[1].code == "quotation_open"
    path.write_text(f'"{note}",code,name,country\nx,E,N,IT\n')
    with pytest.raises(FileRefused, match="its first line is not CSV"):
        look_at(path, {}, True, 1_000_000)


def test_of_columns_that_are_not_known_few_are_named(tmp_path: Path) -> None:
    """The first line of a file without a header is about people."""
    path = tmp_path / "unknown.csv"
    names = [f"{number}{'x' * 100}" for number in range(30)]
    path.write_text(",".join(["code", "name", "country", *names]))
    with pytest.raises(FileRefused) as refused:
        look_at(path, {}, False, 1_000_000)
    shown = ", ".join(repr(name[:40]) for name in names[:5])
    assert refused.value.params["columns"] == f"{shown} and 25 more"
