"""The back office, without a browser: what it shows, sells, and corrects after a trial."""

from datetime import date

import httpx
import pytest

from app.http.languages import LANGUAGES
from app.pages.office.steps import _NEW, _STEPS
from tests.api.build import Customer, unique
from tests.conftest import Service
from tests.pages.staff import SCRIPT, is_calm, sign_in
from tests.pages.visitor import Page, Visitor


async def fill(visitor: Visitor, page: Page, status: int = 200, /, **fields: str) -> Page:
    """Send the first form after the one that signs out: after a trial, the one that does it."""
    return await visitor.submit(page, page.forms[1].action, status, **fields)


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    contact = {"name": SCRIPT, "email": "anna@c.example.com", "phones": []}
    customer = await Customer.new(client, today, name=f"Office {SCRIPT}", contacts=[contact])
    await customer.licence(days=-40, product=SCRIPT)
    await customer.contract(days=-20)
    await customer.pack(3, days=-10)
    return customer


@pytest.mark.parametrize("language", LANGUAGES)
async def test_each_page_in_each_language(
    service: Service, customer: Customer, language: str
) -> None:
    case = await customer.open(channel="phone", subject=SCRIPT)
    await customer.work(case, 45)
    visitor = await sign_in(service, language=language)
    licence = (await customer.get(f"licences?customer_id={customer.id}"))["items"][0]
    contract = (await customer.get(f"contracts?customer_id={customer.id}"))["items"][0]
    pack = (await customer.get(f"ticket-packs?customer_id={customer.id}"))["items"][0]
    names = {
        "customers": customer.code,
        "licences": licence["id"],
        "contracts": contract["number"],
        "ticket-packs": pack["number"],
        "cases": case["number"],
    }
    steps = [(one, step) for one, step in _STEPS if step != "reversal"]
    for path in (
        "/office",
        "/office?archived=1",
        "/office?q=nothing-like-this",
        f"/office/customers/{customer.code}",
        *(f"/office/new/{one}?customer={customer.code}" for one in _NEW),
        *(f"/office/{one}/{names[one]}/{step}" for one, step in steps),
    ):
        page = await visitor.open(path)
        assert page.language == language, path
        assert is_calm(page), path


async def test_a_customer_whole(service: Service, customer: Customer) -> None:
    case = await customer.open(channel="phone")
    await customer.work(case, 45)
    visitor = await sign_in(service)
    page = await visitor.open(f"/office/customers/{customer.code}")
    for part in (customer.serials[0], case["number"], "19 h 15 min of 20 h", "3 left of 3"):
        assert part in page.text, part
    answer = await visitor.client.get(f"/office/customers/{customer.code}/movements.csv")
    assert case["number"] in answer.text
    few = await (await sign_in(service, "customers:read")).open(
        f"/office/customers/{customer.code}"
    )
    assert customer.serials[0] not in few.text
    assert not [link for link in few.links if "/office/new" in link or "/merge" in link]
    await visitor.open("/office/customers/nobody-like-this", 404)


async def test_registering_signing_and_selling(service: Service, client: httpx.AsyncClient) -> None:
    visitor = await sign_in(service)
    code, serial = unique("C"), unique("S")
    page = await visitor.open("/office/new/customers")
    page = await fill(visitor, page, 422, code=code, name=SCRIPT, country="Nowhere")
    assert "field-country-error" in page.html
    page = await fill(visitor, page, country="IT")
    assert "It was done." in page.text
    assert is_calm(page)
    new = next(link for link in page.links if link.startswith("/office/new/licences"))
    page = await fill(
        visitor, await visitor.open(new), 422, serial_number=serial, product="Editor", version=""
    )
    assert "field-version-error" in page.html
    await fill(visitor, page, version="11")
    for kind, fields in (
        ("contracts", {"included_minutes": "600"}),
        ("ticket-packs", {"quantity": "5"}),
        ("contacts", {"name": "Anna Rossi", "phones__0": "+390591234567"}),
    ):
        form = await visitor.open(f"/office/new/{kind}?customer={code}")
        page = await fill(visitor, form, **fields)
    assert "10 h of 10 h" in page.text
    assert "5 left of 5" in page.text
    assert "+390591234567" in page.text
    form = await visitor.open(f"/office/new/ticket-packs?customer={code}")
    page = await fill(visitor, form, 422, quantity="many")
    assert "field-quantity-error" in page.html


async def test_a_correction_is_tried_before_it_is_done(
    service: Service, customer: Customer
) -> None:
    contract = (await customer.get(f"contracts?customer_id={customer.id}"))["items"][0]
    path = f"/office/contracts/{contract['number']}/correction"
    visitor = await sign_in(service)
    page = await fill(visitor, await visitor.open(path), included_minutes="600", reason="Mistyped.")
    assert "This would change. Nothing has been done yet." in page.text
    assert "1200 → 600" in page.text
    assert "10 h left" in page.text
    stored = await customer.get(f"contracts/{contract['number']}")
    assert stored["included_minutes"] == 1200
    page = await fill(visitor, page, reason="Mistyped twice.")
    assert page.answer.url.path == f"/office/customers/{customer.id}"
    assert "It was done." in page.text
    stored = await customer.get(f"contracts/{contract['number']}")
    assert stored["included_minutes"] == 600


async def test_a_correction_that_conflicts_is_explained(
    service: Service, customer: Customer
) -> None:
    contract = (await customer.get(f"contracts?customer_id={customer.id}"))["items"][0]
    case = await customer.open(channel="phone")
    await customer.work(case, 90)
    visitor = await sign_in(service)
    page = await visitor.open(f"/office/contracts/{contract['number']}/correction")
    page = await fill(visitor, page, 409, included_minutes="60", reason="Mistyped.")
    assert "This could not be done yet" in page.text
    assert "Nothing has been done yet" not in page.text


async def test_a_transfer_and_a_merge(
    service: Service, customer: Customer, client: httpx.AsyncClient, today: date
) -> None:
    other = await Customer.new(client, today, name="The other one")
    licence = (await customer.get(f"licences?customer_id={customer.id}"))["items"][0]
    visitor = await sign_in(service)
    page = await visitor.open(f"/office/licences/{licence['id']}/transfer")
    page = await fill(visitor, page, to_customer_id=other.code, reason="Sold on.")
    assert "The other one" in page.text
    assert (await customer.get(f"licences/{licence['id']}"))["transferred_on"] is None
    await fill(visitor, page)
    assert (await customer.get(f"licences/{licence['id']}"))["transferred_on"] == str(today)
    page = await visitor.open(f"/office/customers/{other.code}/merge")
    page = await fill(visitor, page, into=customer.code, reason="The same.")
    assert (await customer.get(f"customers/{other.code}"))["id"] == other.id
    assert "Nothing has been done yet" in page.text
    await fill(visitor, page)
    assert (await customer.get(f"customers/{other.code}"))["id"] == customer.id


async def test_steps_without_a_trial(service: Service, customer: Customer, today: date) -> None:
    contract = (await customer.get(f"contracts?customer_id={customer.id}"))["items"][0]
    visitor = await sign_in(service)
    page = await visitor.open(f"/office/contracts/{contract['number']}/renewal")
    page = await fill(visitor, page)
    assert "Upcoming" in page.text
    page = await visitor.open(f"/office/customers/{customer.code}/archiving")
    page = await fill(visitor, page, 422, reason="")
    page = await fill(visitor, page, reason="Gone.")
    assert "Archived" in page.text
    await fill(
        visitor, await visitor.open(f"/office/customers/{customer.code}/restoring"), reason="Back."
    )


async def test_without_the_scope_nothing_is_done(service: Service, customer: Customer) -> None:
    visitor = await sign_in(service, "customers:read", "contracts:read")
    contract = (await customer.get(f"contracts?customer_id={customer.id}"))["items"][0]
    path = f"/office/contracts/{contract['number']}/cancellation"
    page = await fill(visitor, await visitor.open(path), 403, reason="No.")
    assert "contracts:write" in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/office/new/webhooks",
        "/office/customers/x/erasure",
        "/office/licences/x/reversal",
        "/office/licences/00000000-0000-7000-8000-000000000000/correction",
    ],
)
async def test_what_is_not_there(service: Service, path: str) -> None:
    await (await sign_in(service)).open(path, 404)
