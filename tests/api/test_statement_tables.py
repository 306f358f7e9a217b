"""A statement as a table: the same, line by line, and safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta

import httpx
import pytest
from openpyxl import load_workbook

from app.http.tables import MEDIA_TYPES
from tests.api.build import Customer
from tests.api.test_statement import PARTS, statement

Travel = Callable[[date], None]
DAY = timedelta(days=1)
FIRST = date(2025, 3, 1)
XLSX = MEDIA_TYPES["xlsx"]
clock = datetime.fromisoformat
HEADER = (
    "allowance_kind,allowance_number,allowance_starts_on,allowance_ends_on,allowance_granted,line,"
    "counts_on,entry,reverses,recorded_at,case_number,cause_case_number,technician,worked_at,"
    "ticket_position,used_minutes,overrun_minutes,held,consumed,cancelled,balance_used_minutes,"
    "balance_overrun_minutes,balance_held,balance_consumed,balance_cancelled,remaining,lapsed"
)


async def test_csv_says_the_same_line_by_line(client: httpx.AsyncClient, travel: Travel) -> None:
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    await customer.licence(days=0)
    await customer.contract(days=0, included_minutes=60)
    await customer.pack(1, days=0)
    case = await customer.open(pay_with="contract", channel="phone")
    evil = '=HYPERLINK("http://example.com","x"),\r\n;'
    await customer.work(case, 90, technician=evil)
    await customer.open(pay_with="ticket")
    end = FIRST + DAY
    body = await statement(customer, FIRST, end)
    answer = await client.get(
        f"/v1/customers/{customer.code}/statement?from={FIRST}&to={end}",
        headers={"Accept": "text/csv"},
    )
    assert answer.headers["Content-Type"].split(";")[0] == "text/csv"
    name = f"statement-{customer.code}-{FIRST}-{end}.csv"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.text.partition("\r\n")[0] == HEADER
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    movements = [one for group in body["groups"] for one in group["movements"]]
    assert len(lines) == len(movements) + 2 * len(body["groups"])
    within = [one for one in lines if one["line"] not in ("opening", "closing")]
    for line, movement in zip(within, movements, strict=True):
        assert line["line"] == movement["kind"]
        for name in ("counts_on", "recorded_at", "worked_at", "case_number", *PARTS):
            assert line[name] == ("" if movement[name] is None else str(movement[name]))
        for part in PARTS:
            assert line[f"balance_{part}"] == str(movement["balance"][part])
    assert {line["technician"] for line in within} == {"", "'" + evil}
    for group in body["groups"]:
        kind = group["allowance"]["kind"]
        own = [line for line in lines if line["allowance_kind"] == kind]
        assert [own[0]["line"], own[-1]["line"]] == ["opening", "closing"]
        assert (own[0]["counts_on"], own[-1]["counts_on"]) == (str(FIRST), str(end))
        for part in PARTS:
            summed = int(own[0][f"balance_{part}"]) + sum(int(one[part]) for one in own[1:-1])
            assert int(own[-1][f"balance_{part}"]) == summed == group["closing"][part]
        assert own[-1]["remaining"] == str(group["allowance"]["remaining"])


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        (XLSX, XLSX),
        (f"{XLSX}, text/csv;q=0.9", XLSX),
        ("*/*", "application/json"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("text/html", None),
        ("text/csv;q=0", None),
    ],
)
async def test_the_caller_chooses_the_form(
    client: httpx.AsyncClient, today: date, accept: str, given: str | None
) -> None:
    customer = await Customer.new(client, today)
    url = f"/v1/customers/{customer.id}/statement?from=2025-01-01&to=2025-02-01"
    answer = await client.get(url, headers={"Accept": accept})
    if given is None:
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    else:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].split(";")[0] == given
        assert "Accept" in answer.headers["Vary"]
        tag = {"Accept": accept, "If-None-Match": answer.headers["ETag"]}
        assert (await client.get(url, headers=tag)).status_code == 304


async def worked(client: httpx.AsyncClient, travel: Travel) -> tuple[Customer, str]:
    """A customer with a movement of each kind of cell, and the address of its statement."""
    travel(FIRST)
    customer = await Customer.new(client, FIRST)
    await customer.licence(days=0)
    await customer.contract(days=0, included_minutes=60)
    case = await customer.open(pay_with="contract", channel="phone")
    await customer.work(case, 90, technician="=1+1", worked_at=f"{FIRST}T07:15:00Z")
    return customer, f"/v1/customers/{customer.id}/statement?from={FIRST}&to={FIRST + DAY}"


async def test_a_workbook_says_the_same_line_by_line(
    client: httpx.AsyncClient, travel: Travel
) -> None:
    customer, url = await worked(client, travel)
    plain = await client.get(f"{url}&format=csv")
    answer = await client.get(f"{url}&format=xlsx", headers={"Accept-Language": "de"})
    assert answer.headers["Content-Type"] == XLSX
    assert answer.headers["Content-Language"] == "de"
    name = f"statement-{customer.code}-{FIRST}-{FIRST + DAY}.xlsx"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    workbook = load_workbook(io.BytesIO(answer.content))
    assert workbook.sheetnames == ["Auszug"]
    header, *rows = workbook.worksheets[0].iter_rows(values_only=True)
    names = HEADER.split(",")
    assert header[names.index("technician")] == "Techniker"
    lines = list(csv.DictReader(io.StringIO(plain.text, newline="")))
    assert len(rows) == len(lines) == 6
    for row, line in zip(rows, lines, strict=True):
        for name, cell in zip(names, row, strict=True):
            if name == "worked_at" and cell is not None:
                assert (cell, line[name]) == (clock("2025-03-01T08:15"), "2025-03-01T07:15:00Z")
            elif name.endswith("_at") and cell is not None:
                assert cell == clock("2025-03-01T13:00")
            elif name.endswith("_on"):
                assert str(cell) == (f"{line[name]} 00:00:00" if line[name] else "None")
            else:
                shown = line[name].removeprefix("'")
                assert ("" if cell is None else str(cell)) == shown


@pytest.mark.parametrize(
    ("language", "separator", "day"),
    [("it", ";", "01/03/2025"), ("de", ";", "01.03.2025"), ("en", ",", "2025-03-01")],
)
async def test_excel_gets_csv_in_its_language(
    client: httpx.AsyncClient, travel: Travel, language: str, separator: str, day: str
) -> None:
    _, url = await worked(client, travel)
    spoken = {"Accept-Language": language}
    asked = f"{url}&format=csv&dialect=excel"
    answer = await client.get(asked, headers=spoken)
    assert answer.headers["Content-Language"] == language
    assert "Accept-Language" in answer.headers["Vary"]
    assert answer.headers["Content-Disposition"].endswith('.csv"')
    assert answer.content.startswith(b"\xef\xbb\xbf")
    text = answer.content.decode("utf-8-sig")
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    names = HEADER.split(",")
    assert {len(line) for line in lines} == {len(names)}
    charge = next(line for line in lines if line[names.index("line")] == "charge")
    assert charge[names.index("counts_on")] == day
    assert charge[names.index("worked_at")] == f"{day} 08:15:00"
    assert charge[names.index("technician")] == "'=1+1"
    accepted = await client.get(f"{url}&dialect=excel", headers=spoken | {"Accept": "text/csv"})
    assert accepted.content == answer.content
    again = spoken | {"If-None-Match": answer.headers["ETag"]}
    assert (await client.get(asked, headers=again)).status_code == 304


@pytest.mark.parametrize(
    "query", ["dialect=excel", "format=json&dialect=excel", "format=xlsx&dialect=excel"]
)
async def test_a_dialect_is_one_of_csv(client: httpx.AsyncClient, today: date, query: str) -> None:
    customer = await Customer.new(client, today)
    url = f"/v1/customers/{customer.id}/statement?from=2025-01-01&to=2025-02-01&{query}"
    answer = await client.get(url)
    assert answer.status_code == 422
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [
        ("query/dialect", "unknown_parameter")
    ]
