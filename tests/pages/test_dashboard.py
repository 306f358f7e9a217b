"""The dashboard, without a browser."""

from datetime import date

import httpx
import pytest

from app.http.languages import LANGUAGES, Language
from app.pages.languages import WORDINGS
from tests.api.build import Customer
from tests.conftest import Service, follow_all
from tests.pages.staff import SCRIPT, is_calm, sign_in


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_dashboard(
    service: Service, client: httpx.AsyncClient, today: date, language: Language
) -> None:
    customer = await Customer.new(client, today, name=f"{SCRIPT} {language}")
    await customer.licence(days=-345)
    await customer.contract(days=-340, included_minutes=30)
    await customer.work(await customer.open(channel="phone"), 90)
    await follow_all(service)
    visitor = await sign_in(service, language=language)
    page = await visitor.open("/dashboard")
    assert page.language == language
    assert is_calm(page)
    assert f"/office/customers/{customer.code}" in page.links
    charts = [given for tag, given in page.tags if tag == "svg" and given.get("role") == "img"]
    tables = [tag for tag, _ in page.tags if tag == "table"]
    assert (len(charts), len(tables)) == (4, 7)
    assert page.text.count(WORDINGS[language].duration(60).replace("\u00a0", " ")) >= 2
    etag = page.answer.headers["etag"]
    again = await visitor.client.get("/dashboard", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    await customer.open(channel="phone", category="bug")
    assert (await visitor.open("/dashboard")).answer.headers["etag"] != etag


@pytest.mark.parametrize("name", ["usage", "response-times", "backlog", "expiring"])
@pytest.mark.parametrize(
    ("extension", "media_type"),
    [
        ("csv", "text/csv"),
        ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ],
)
async def test_files(service: Service, name: str, extension: str, media_type: str) -> None:
    visitor = await sign_in(service, "usage:read")
    page = await visitor.open("/dashboard")
    assert f"/dashboard/{name}.{extension}" in page.links
    answer = await visitor.client.get(f"/dashboard/{name}.{extension}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "path", ["/dashboard/usage.pdf", "/dashboard/other.csv", "/dashboard/x.y.csv"]
)
async def test_no_such_file(service: Service, path: str) -> None:
    await (await sign_in(service)).open(path, 404)
