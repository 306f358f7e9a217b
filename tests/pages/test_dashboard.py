"""The dashboard, without a browser."""

from collections.abc import Awaitable, Callable
from datetime import date

import httpx
import pytest

from app.http.languages import LANGUAGES, Language
from app.pages.languages import WORDINGS
from app.services.tokens import SCOPES
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
    assert (len(charts), len(tables)) == (6, 9)
    assert page.text.count(WORDINGS[language].duration(60).replace("\u00a0", " ")) >= 2
    etag = page.answer.headers["etag"]
    again = await visitor.client.get("/dashboard", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    await customer.open(channel="phone", category="bug")
    assert (await visitor.open("/dashboard")).answer.headers["etag"] != etag


@pytest.mark.parametrize("name", ["usage", "response-times", "backlog", "expiring", "columns"])
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


async def test_what_is_left_of_all_allowances(
    new_service: Callable[..., Awaitable[Service]], today: date
) -> None:
    """It burns down as the customers' own allowances do, those of before the year included."""
    service = await new_service()
    client = await service.client_with(*SCOPES)
    for minutes in (30, 90):
        customer = await Customer.new(client, today)
        await customer.licence(days=-500)
        await customer.contract(days=-400, included_minutes=600)
        await customer.contract(days=-30, included_minutes=1_200)
        await customer.pack(3, days=-10)
        await customer.work(await customer.open(channel="phone"), minutes)
    left = [
        one["remaining_minutes"]
        for customer in (await client.get("/v1/customers")).json()["items"]
        for one in (await client.get(f"/v1/customers/{customer['id']}/usage")).json()["allowances"]
        if one["kind"] != "ticket_pack"
    ]
    await follow_all(service)
    page = await (await sign_in(service)).open("/dashboard")
    total = WORDINGS["en"].duration(sum(left)).replace("\u00a0", " ")
    assert sum(left) > 0
    assert f"What is left of all hours {total} of all customers together" in page.text
    assert "What is left of all tickets 6 of all customers together" in page.text
