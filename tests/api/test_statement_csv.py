"""A statement as CSV: the same, line by line, and safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Callable
from datetime import date, timedelta

import httpx
import pytest

from app.http.csv_text import csv_bytes
from tests.api.build import Customer
from tests.api.test_statement import PARTS, statement

Travel = Callable[[date], None]
DAY = timedelta(days=1)
FIRST = date(2025, 3, 1)


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


@pytest.mark.parametrize("start", [*"=+-@\t\r\n＝＋－＠", " =", "  +"])
def test_no_text_becomes_a_formula(start: str) -> None:
    text = f"{start}1+1"
    (header, row) = csv.reader(
        io.StringIO(csv_bytes(["a", "b"], [[text, -5]]).decode(), newline="")
    )
    assert (header, row) == (["a", "b"], ["'" + text, "-5"])


def test_ordinary_texts_are_left_alone() -> None:
    row = ['Söl "the" desk', "a,b;c", "", "x=1"]
    assert list(csv.reader(io.StringIO(csv_bytes(row, [row]).decode(), newline=""))) == [row, row]


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
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
