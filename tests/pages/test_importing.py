"""Importing a file in the back office, without a browser."""

from base64 import b64decode

import httpx
import pytest
from starlette.exceptions import HTTPException

from app.http.languages import LANGUAGES
from app.pages.forms import Form
from app.routers.imports import MOST_BYTES
from tests.api.build import unique
from tests.conftest import Service
from tests.pages.staff import SCRIPT, is_calm, sign_in
from tests.pages.visitor import Page, Visitor

PATH = "/office/import"


async def send(
    visitor: Visitor, page: Page, content: str | bytes | None, status: int = 200, /, **more: str
) -> Page:
    """Choose a file in the page's last form, and send it."""
    fields = {name: value for name, value in page.forms[-1].fields.items() if name != "file"}
    file = content.encode() if isinstance(content, str) else content or b""
    name = "" if content is None else 'a "file".csv'
    answer = await visitor.client.post(
        PATH, data={**fields, **more}, files={"file": (name, file, "text/csv")}
    )
    shown = Page(answer)
    assert shown.status == status, shown.text
    return shown


async def confirm(visitor: Visitor, page: Page) -> Page:
    """Press the button below what would change, as a browser does."""
    fields = page.forms[1].fields
    assert fields["phase"] == "do"
    parts = {name: (None, value) for name, value in fields.items()}
    return Page(await visitor.client.post(PATH, files=parts))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_file_is_checked_and_then_imported(
    service: Service, client: httpx.AsyncClient, language: str
) -> None:
    visitor, code = await sign_in(service, language=language), unique("C")
    page = await visitor.open(PATH)
    assert page.language == language
    assert is_calm(page)
    text = f'code;name;country\r\n{code};"Größe {SCRIPT.replace(chr(34), chr(34) * 2)}";IT\r\n'
    page = await send(visitor, page, text)
    assert is_calm(page)
    assert (await client.get(f"/v1/customers/{code}")).status_code == 404
    page = await confirm(visitor, page)
    assert page.status == 200, page.text
    assert len(page.forms) == 2
    stored = (await client.get(f"/v1/customers/{code}")).json()
    assert stored["name"] == f"Größe {SCRIPT}"
    again = await send(visitor, page, text)
    assert again.forms[1].fields["phase"] == "do"
    # The page after an import takes another file.
    other = f"code;name;country\n{code}-2;Other;IT\n"
    page = await confirm(visitor, await send(visitor, page, other))
    assert page.status == 200, page.text
    assert (await client.get(f"/v1/customers/{code}-2")).json()["name"] == "Other"


async def test_bad_rows_are_shown_at_their_lines(service: Service) -> None:
    visitor = await sign_in(service)
    page = await visitor.open(PATH)
    rows = [f"{unique('C')},One,IT", ",Two,Italy", f"{unique('C')},Three"]
    page = await send(visitor, page, "\n".join(["code,name,country", *rows]), 422)
    assert "Rows with a fault: 2." in page.text
    assert "3 country Expected here: the two capital letters" in page.text
    assert "3 code This is required." in page.text
    assert "4 The whole row This line has 2 cells where the header has 3." in page.text
    many = [f",N{number},IT" for number in range(200)]
    page = await send(visitor, page, "\n".join(["code,name,country", *many]), 422)
    assert "Rows with a fault: 200." in page.text
    assert "These are the first 100." in page.text
    page = await send(visitor, page, f"code,name,country,{SCRIPT}\n".replace('"', ""), 422)
    assert "field-file-error" in page.html
    assert is_calm(page)
    page = await send(visitor, page, f"code,name,country,x\n{unique('C')},One,IT,1\n", 422)
    page = await send(
        visitor, page, f"code,name,country,x\n{unique('C')},One,IT,1\n", ignore_unknown="1"
    )
    assert page.forms[1].fields["ignore_unknown"] == "1"


async def test_no_file_and_one_that_is_too_large(service: Service) -> None:
    visitor = await sign_in(service, language="it")
    page = await visitor.open(PATH)
    assert "Scelga un file." in (await send(visitor, page, None, 422)).text
    large = await send(visitor, page, b"x" * (MOST_BYTES + 1), 422)
    assert "Il file può avere al massimo 720 kB." in large.text


async def test_only_whoever_may_import(service: Service) -> None:
    visitor = await sign_in(service, "customers:read", "customers:write")
    assert PATH not in (await visitor.open("/office")).links
    await visitor.open(PATH, 403)
    assert PATH in (await (await sign_in(service)).open("/office")).links


_PART = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'


def test_a_form_with_a_file() -> None:
    body = (
        _PART % ("Größe".encode(), b"", b"a\r\nb")
        + _PART % (b"file", b'; filename="x"\r\nContent-Type: text/csv', b"\xff\r\n--c\r\n\0")
        + b"--b--\r\n"
    )
    form = Form.parse(body, 'Multipart/Form-Data; boundary="b"', with_files=True)
    assert form["Größe"] == "a\nb"
    assert b64decode(form["file"]) == b"\xff\r\n--c\r\n\0"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--b--", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=b"),
        (_PART % (b"a", b"", b"1"), "multipart/form-data; boundary=b"),
        (_PART % (b"a", b"", b"\xff") + b"--b--", "multipart/form-data; boundary=b"),
        (b"x" + _PART % (b"a", b"", b"1") + b"--b--", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\n1\r\n--b--", "multipart/form-data; boundary=b"),
        (_PART % (b"a", b"", b"1") * 101 + b"--b--", "multipart/form-data; boundary=b"),
    ],
)
def test_what_is_no_form_with_a_file(body: bytes, content_type: str) -> None:
    with pytest.raises(HTTPException) as refused:
        Form.parse(body, content_type, with_files=True)
    assert refused.value.status_code == 400
