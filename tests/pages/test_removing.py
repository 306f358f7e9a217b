"""Contacts deleted, people erased, and help desks closed, in the back office without a browser."""

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException

from app.http.languages import LANGUAGES
from app.pages.office import closures
from tests.api.build import Customer
from tests.conftest import Service
from tests.pages.staff import SCRIPT, is_calm, sign_in
from tests.pages.test_office import fill


@pytest.fixture
async def customer(client: httpx.AsyncClient, today: date) -> Customer:
    people = [
        {"name": f"Anna {SCRIPT}", "email": "anna@c.example.com", "phones": ["+390591234567"]},
        {"name": "Bruno Neri", "email": "office@c.example.com", "phones": []},
        {"name": "Carla Verdi", "email": "office@c.example.com", "phones": []},
    ]
    customer = await Customer.new(client, today, contacts=people)
    await customer.licence(days=-40)
    await customer.contract(days=-20)
    return customer


def _contact(record: dict[str, object], name: str) -> str:
    contacts: list[dict[str, str]] = record["contacts"]  # type: ignore[assignment]
    return next(one["id"] for one in contacts if one["name"].startswith(name))


async def test_a_contact_is_shown_and_then_deleted(service: Service, customer: Customer) -> None:
    visitor = await sign_in(service)
    home = f"/office/customers/{customer.code}"
    page = await visitor.open(home)
    id_ = _contact(await customer.get(f"customers/{customer.id}"), "Bruno")
    path = f"{home}/contacts/{id_}/deletion"
    assert path in page.links
    page = await visitor.open(path)
    assert "office@c.example.com" in page.text
    answer = await customer.client.patch(
        f"/v1/customers/{customer.id}/contacts/{id_}", json={"name": "Bruna Neri"}
    )
    assert answer.status_code == 200
    # Whoever sees an old state deletes nothing, and then sees the new one.
    page = await fill(visitor, page, 412)
    assert "Bruna Neri" in page.text
    page = await fill(visitor, page)
    assert "It was done." in page.text
    assert "Bruna" not in page.text
    await visitor.open(path, 404)


async def test_a_person_is_erased_after_what_would_go_is_shown(
    service: Service, customer: Customer
) -> None:
    case = await customer.open(channel="phone", requester={"name": f"Anna {SCRIPT}"})
    visitor = await sign_in(service)
    home = f"/office/customers/{customer.code}"
    id_ = _contact(await customer.get(f"customers/{customer.id}"), "Anna")
    link = f"{home}/erasure?contact_id={id_}"
    assert link in (await visitor.open(home)).links
    page = await visitor.open(link)
    assert page.forms[1].fields["contact_id"] == id_
    page = await fill(visitor, page)
    assert is_calm(page)
    assert "Nothing has been done yet." in page.text
    assert f"Anna {SCRIPT}" in page.text
    assert f"Case requester_name Anna {SCRIPT}" in page.text
    record = await customer.get(f"customers/{customer.id}")
    assert _contact(record, "Anna") == id_
    page = await fill(visitor, page)
    assert "The person is now erased-1" in page.text
    assert "Backups, and logs of other systems" in page.text
    record = await customer.get(f"customers/{customer.id}")
    assert not [one for one in record["contacts"] if one["name"].startswith("Anna")]
    assert "Anna" not in str(await customer.get(f"cases/{case['number']}"))


async def test_who_is_meant_is_asked_for(service: Service, customer: Customer) -> None:
    visitor = await sign_in(service)
    path = f"/office/customers/{customer.code}/erasure"
    page = await fill(visitor, await visitor.open(path), 422)
    assert 'id="refusal"' in page.html
    page = await fill(visitor, page, 409, email="office@c.example.com")
    record = await customer.get(f"customers/{customer.id}")
    link = f"{path}?contact_id={_contact(record, 'Carla')}"
    assert link in page.links
    assert "Carla Verdi" in (await visitor.open(link)).text
    page = await fill(visitor, await visitor.open(path), 404, name="Nobody Known")
    assert "There is nothing here, or nothing that this token may see." in page.text
    few = await sign_in(service, "customers:read")
    links = (await few.open(f"/office/customers/{customer.code}")).links
    assert not [one for one in links if "erasure" in one or "deletion" in one]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_closure_is_added_listed_and_removed(
    service: Service, client: httpx.AsyncClient, today: date, language: str
) -> None:
    visitor = await sign_in(service, language=language)
    first = today + timedelta(days=200 + 10 * LANGUAGES.index(language))
    last = first + timedelta(days=1)
    page = await visitor.open("/office/closures")
    assert page.language == language
    reasons = {f"reason__{one}": f"{one} {SCRIPT}"[:80] for one in LANGUAGES}
    given = {"help_desk": "de", "starts_at": str(first), "ends_at": str(last), **reasons}
    page = await fill(visitor, page, 422, **{**given, "starts_at": ""})
    assert "field-starts_at-error" in page.html
    page = await fill(visitor, page, 422, **{**given, "hours": "early", "reason__it": ""})
    assert {"field-hours-error", "field-reason-it-error"} <= {
        one.get("id") for tag, one in page.tags if tag == "p"
    }
    page = await fill(visitor, page, **{**given, "hours": "08:30 – 11:00, 14:00-15:30"})
    assert is_calm(page)
    assert f"{language} {SCRIPT}" in page.text
    found = (await client.get("/v1/help-desks/de/closures?limit=200")).json()["items"][-1]
    assert (found["starts_at"][:10], found["ends_at"][:10]) == (
        str(first - timedelta(days=1)),
        str(last),
    )
    assert found["hours"] == [
        {"opens": "08:30", "closes": "11:00"},
        {"opens": "14:00", "closes": "15:30"},
    ]
    link = f"/office/closures/de/{found['id']}/removal"
    assert link in page.links
    page = await visitor.open(link)
    assert is_calm(page)
    assert "08:30–11:00" in page.text
    page = await fill(visitor, page)
    assert link not in page.links
    await visitor.open(link, 404)


async def test_closures_are_seen_by_all_and_changed_by_few(service: Service) -> None:
    visitor = await sign_in(service, "customers:read")
    assert "/office/closures" in (await visitor.open("/office")).links
    page = await visitor.open("/office/closures")
    assert len(page.forms) == 1
    form = await (await sign_in(service)).open("/office/closures")
    fields = {**form.forms[1].fields, "form_token": page.forms[0].fields["form_token"]}
    answer = await visitor.post("/office/closures", fields)
    assert answer.status_code == 403


async def test_what_no_closure_is_made_of(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    visitor = await sign_in(service)
    page = await visitor.open("/office/closures")
    before = (await client.get("/v1/help-desks/it/closures?limit=200")).json()["items"]
    reasons = {f"reason__{one}": one for one in LANGUAGES}
    day = str(today + timedelta(days=300))
    given = {"help_desk": "it", "starts_at": day, "ends_at": day, **reasons}
    for hours in ("1" + " " * 300 + "1", "," * 201):
        page = await fill(visitor, page, 422, **{**given, "hours": hours})
        assert "At most 200 characters." in page.text
    page = await fill(visitor, page, 422, **{**given, "hours": "", "help_desk": "xx"})
    assert "field-help_desk-error" in page.html
    fields = {name: value for name, value in page.forms[1].fields.items() if name != "help_desk"}
    answer = await visitor.post("/office/closures", fields)
    assert answer.status_code == 422
    assert "field-help_desk-error" in answer.text
    assert (await client.get("/v1/help-desks/it/closures?limit=200")).json()["items"] == before


async def test_a_closure_of_a_desk_that_the_policy_has_no_longer() -> None:
    async def get(address: str) -> object:
        return {"items": []} if address.endswith("help-desks") else {"help_desk": "gone"}

    names = {"desk": "gone", "closure": "1"}
    visit: Any = SimpleNamespace(
        api=SimpleNamespace(get=get), request=SimpleNamespace(path_params=names)
    )
    who: Any = None
    with pytest.raises(HTTPException) as refused:
        await closures._closure_page(visit, who)
    assert refused.value.status_code == 404
