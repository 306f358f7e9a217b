"""Files as other systems write them, and what is no file of ours."""

import codecs

import pytest

from app.importing.columns import FileRefused
from tests.api.build import unique
from tests.importing.conftest import Importer

_LICENCES = "customer_code,serial_number,kind,product,version,purchased_on"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (codecs.BOM_UTF8 + b"\r\n", "is empty"),
        (b"PK\x03\x04\x14\x00\x06\x00", "is no text file"),
        (codecs.BOM_UTF16_LE + "code,name,country".encode("utf-16-le"), "is UTF-16"),
        ("code,name,country,Größe\n".encode("latin-1"), "its header is not UTF-8"),
        (b'"code,name,country\nC,N,IT\n', "its first line is no CSV"),
        (b"code,name,country,name\n", "the header has more than once: 'name'"),
        (b"code,name,country,color,,size\n", "unknown columns in a file of customers: 'color', ''"),
        (b"number,purchased_on\n", "has no column for customer_code, quantity"),
        (b"code,name,country,contact_email\n", "so needs contact_name as well"),
        (_LICENCES.encode() + b",withdrawn_on\n", "so needs withdrawal_reason as well"),
        (b"code,name,country,external_ref:a b\n", "unknown columns"),
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
        "odd.csv:3: is no CSV: field larger than field limit (131072)",
        "odd.csv:4: a line is longer than 1,000,000 characters",
        "odd.csv:5: is no CSV: ',' expected after '\"'",
        "odd.csv:7: name: is not UTF-8; save the file as “CSV UTF-8”",
        "odd.csv:8: name: This contains characters that cannot be stored.",
        "odd.csv:9: has 4 fields where the header has 3",
        "odd.csv:10: a quotation is not closed; the rest of the file was not read",
    ]


async def test_a_header_alone_is_a_file_without_rows(importer: Importer) -> None:
    outcome = await importer(customers="code,name,country\n")
    assert outcome.well
    assert "0 rows; customers: 0 created, 0 changed, 0 unchanged" in outcome.said
