"""Files that are imported through the API: the importer of the command line, in a request."""

import re
from base64 import b64decode, b64encode
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis.strategies import from_regex

from app.http.fields import BASE64_PATTERN
from app.http.languages import LANGUAGES
from app.routers.imports import MOST_BYTES
from tests.api.build import unique
from tests.importing.conftest import Importer


async def send(
    client: httpx.AsyncClient,
    text: str | bytes,
    status: int = 200,
    language: str = "en",
    **more: Any,
) -> Any:
    """The answer to a file."""
    content = text if isinstance(text, bytes) else text.encode()
    answer = await client.post(
        "/v1/imports",
        json={"file": b64encode(content).decode(), **more},
        headers={"Accept-Language": language},
    )
    assert answer.status_code == status, answer.text
    return answer.json()


def outcome(kind: str, rows: int, *counts: int, dry_run: bool = False) -> dict[str, Any]:
    names = ("created", "changed", "unchanged")
    return {"kind": kind, "rows": rows, "dry_run": dry_run, **dict(zip(names, counts, strict=True))}


async def test_a_file_is_tried_and_then_imported(
    client: httpx.AsyncClient, importer: Importer
) -> None:
    c = unique("C")
    text = f"code;name;country\n{c}-1;Österreich AG;AT\n{c}-2;Due S.r.l.;IT\n"
    before = await importer.events()
    tried = await send(client, text, dry_run=True)
    assert tried == outcome("customers", 2, 2, 0, 0, dry_run=True)
    assert await importer.get(f"customers/{c}-1") is None
    assert await importer.events() == before
    assert await send(client, text) == outcome("customers", 2, 2, 0, 0)
    assert (await importer.get(f"customers/{c}-1"))["name"] == "Österreich AG"
    changed = text.replace("Due", "Tre")
    assert await send(client, changed) == outcome("customers", 2, 0, 1, 1)
    packs = f"customer_code,number,quantity,purchased_on\n{c}-2,{c}-TP,3,2024-01-01\n"
    assert await send(client, packs) == outcome("ticket-packs", 1, 1, 0, 0)
    assert (await importer.get(f"ticket-packs/{c}-TP"))["quantity"] == 3


async def test_what_was_done_is_told_of_whoever_did_it(
    client: httpx.AsyncClient, importer: Importer
) -> None:
    own = (await client.get("/v1/token")).json()["name"]
    before = len(await importer.events())
    await send(client, f"code,name,country\n{unique('C')},One,IT\n")
    ((kind, actor, _),) = (await importer.events())[before:]
    assert (kind, actor) == ("customer.updated", own)


async def test_bad_rows_are_told_as_the_command_tells_them(
    client: httpx.AsyncClient, importer: Importer
) -> None:
    c = unique("C")
    rows = [
        f"{c}-1,One,IT,,",
        f"{c}-2,,Italy,nobody,",
        f"{c}-3,Three,IT,Anna,12",
        f"{c}-4,Four,IT",
        f"{c}-1,Other,IT,,",
    ]
    text = "code,name,country,contact_name,contact_phone\n" + "\n".join(rows)
    command = await importer(customers=text)
    refused = await send(client, text, 422)
    assert (refused["code"], refused["bad_rows"]) == ("rows_refused", 4)
    told = [(one["pointer"], one["code"]) for one in refused["errors"]]
    assert [bad.split(":")[1] for bad in command.bad] == [one.split("/")[1] for one, _ in told]
    assert told == [
        ("line/3/country", "bad_format"),
        ("line/3/name", "missing"),
        ("line/4/contact_phone", "not_a_phone_number"),
        ("line/5", "wrong_number_of_cells"),
        ("line/6/name", "customer_differs"),
    ]
    assert await importer.get(f"customers/{c}-1") is None
    # A dry run finds the same.
    assert (await send(client, text, 422, dry_run=True))["errors"] == refused["errors"]


async def test_faults_are_told_in_each_language(client: httpx.AsyncClient) -> None:
    c = unique("C")
    text = f"customer_code,number,quantity,purchased_on\n{c},{c},3\n{c},{c},3,2024-01-01\n"
    told = {
        one["message"]
        for language in LANGUAGES
        for one in (await send(client, text, 422, language))["errors"]
    }
    assert "This line has 3 cells where the header has 4." in told
    assert "Nessun cliente ha questo codice." in told
    assert "Kein Kunde hat diesen Code." in told


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\n", "blank"),
        (b"PK\x03\x04\x14\x00", "not_a_csv_file"),
        ("code,name,country,Größe\n".encode("latin-1"), "not_utf8"),
        (b'"code,name,country\nC,N,IT\n', "not_csv"),
        (b"code,name,country,name\n", "columns_repeated"),
        (b"code,name,country,color\n", "columns_unknown"),
        (b"number,purchased_on\n", "columns_missing"),
        (b"code,name,country,contact_email\n", "column_needed"),
        (b"code,name,country," + b"x," * 1_000 + b"x\n", "too_many"),
        (b"code,name,country\n" + b"x" * (MOST_BYTES - 17), "too_long"),
    ],
)
async def test_files_that_are_not_of_any_kind(
    client: httpx.AsyncClient, content: bytes, code: str
) -> None:
    for language in LANGUAGES:
        refused = await send(client, content, 422, language)
        (error,) = refused["errors"]
        assert (error["pointer"], error["code"]) == ("/file", code)


_ONE = b64encode(b"code,name,country\nC-ONE,One,IT\n").decode()


@pytest.mark.parametrize(
    "file", ["code,name,country", "0", "YQ", "YQ=", "YQ=A", "YQ==\n", "YWJjZ", "YWJj=", "====", ""]
)
async def test_what_is_not_base64(client: httpx.AsyncClient, file: str) -> None:
    assert not re.search(BASE64_PATTERN.replace("$", r"\Z"), file)
    answer = await client.post("/v1/imports", json={"file": file})
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/file", "bad_format")


@given(from_regex(BASE64_PATTERN.replace("$", r"\Z")))
def test_what_the_schema_takes_for_base64_can_be_decoded(file: str) -> None:
    assert b64decode(file, validate=True)


async def test_columns_may_be_left_out(client: httpx.AsyncClient) -> None:
    text = f"code,name,country,color\n{unique('C')},One,IT,red\n"
    assert await send(client, text, ignore_unknown=True) == outcome("customers", 1, 1, 0, 0)


async def test_one_import_at_a_time(client: httpx.AsyncClient, importer: Importer) -> None:
    other = await asyncpg.connect(importer.service.admin_url)
    try:
        await other.execute("SELECT pg_advisory_lock(hashtext('assistenza import'))")
        refused = await client.post("/v1/imports", json={"file": _ONE})
    finally:
        await other.close()
    assert (refused.status_code, refused.json()["code"]) == (409, "import_in_progress")
    assert refused.headers["retry-after"] == "1"


async def test_the_kinds_of_files(client: httpx.AsyncClient) -> None:
    kinds = (await client.get("/v1/imports/kinds")).json()["kinds"]
    assert [one["kind"] for one in kinds] == ["customers", "licences", "contracts", "ticket-packs"]
    required = [one["name"] for one in kinds[3]["columns"] if one["required"]]
    assert required == ["customer_code", "number", "quantity", "purchased_on"]
