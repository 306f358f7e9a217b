"""The reserved area, without a browser: what it shows, and what it answers to wrong input."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx
import pytest

from app import clock
from app.http.errors.handlers import LARGEST_BODY
from app.http.languages import LANGUAGES
from app.pages.languages import WORDINGS
from app.services.tokens import BOUND_SCOPES
from tests.api.build import Customer, made
from tests.conftest import Service
from tests.pages.conftest import NewVisitor
from tests.pages.visitor import Page

SCRIPT = "<script>alert(1)</script>'\"&<b>"
NEW = {
    "requester__name": "Anna Rossi",
    "requester__email": "anna@c.example.com",
    "subject": "The alarm list stays empty",
    "description": "Since this morning.\nIt was full before.",
}


async def test_the_first_page(visit: NewVisitor, customer: Customer) -> None:
    case = await customer.open()
    await customer.work(case, 75)
    page = await (await visit()).open("/area")
    text = page.text
    places = [
        text.index(one)
        for one in (
            "Esempio S.r.l.",
            "You may ask for help by e-mail, by phone and by remote access.",
            "What you may use now",
            "What is left",
            "3 h 45 min of 5 h",
            case["number"],
            "We are on it",
            "Help desk",
            "+39 059 454224",
            "Latest movements",
            "Time charged",
            "Your licences",
            customer.serials[0],
            "How to ask",
            "Have the serial number of your Editor licence at hand.",
            "Sales office",
        )
    ]
    assert places == sorted(places)
    assert "20 h of 20 h" in text
    assert "3 tickets of 3" in text
    answers = [dict(attributes).get("class") for tag, attributes in page.tags if tag == "span"]
    assert answers.count("answer") == 8
    last = WORDINGS["en"].last_day(customer.today + timedelta(days=-40 + 365))
    assert f"until {last}" in text


async def test_what_is_denied_says_why_and_what_would_change_it(
    visit: NewVisitor, client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(client, today)
    page = await (await visit(of=customer)).open("/area")
    assert "At the moment you cannot open a new case." in page.text
    assert "What would change it: " in page.text
    assert "support tickets" in page.text
    assert any(link.startswith("mailto:sales@") for link in page.links)
    assert "There are no hours or tickets at present." in page.text


async def test_what_is_over_is_never_a_negative_number(
    visit: NewVisitor, client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence(days=-40)
    await customer.work(await customer.open(), 360)
    page = await (await visit(of=customer)).open("/area")
    assert "1 h over of 5 h" in page.text
    assert "-1" not in page.text.replace(customer.code, "").replace(customer.serials[0], "")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_each_language(visit: NewVisitor, language: str) -> None:
    visitor = await visit(language=language)
    for path in ("/area", "/area/cases", "/area/cases/new", "/area/movements"):
        page = await visitor.open(path)
        assert page.language == language
        assert page.answer.headers["content-language"] == language
    words = {"it": "Che cosa può usare ora", "en": "What you may", "de": "Was Sie jetzt nutzen"}
    assert words[language] in (await visitor.open("/area")).text


async def test_the_language_is_chosen_named_or_the_customer_s_own(
    service: Service, visit: NewVisitor
) -> None:
    visitor = await visit(language="fr")
    assert (await visitor.open("/area")).language == "it"
    visitor.client.headers["Accept-Language"] = "de-CH,fr;q=0.5"
    assert (await visitor.open("/area")).language == "de"
    answer = await visitor.client.get("/area/movements?from=2026-01-01&language=en")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/area/movements?from=2026-01-01"
    assert "Max-Age=31536000" in answer.headers["set-cookie"]
    assert (await visitor.open("/area")).language == "en"
    await visitor.open("/area?language=xx%0d%0aSet-Cookie:x=y")
    assert (await visitor.open("/area")).language == "en"


@pytest.mark.parametrize("scope", sorted(BOUND_SCOPES))
async def test_a_token_without_a_scope(visit: NewVisitor, scope: str) -> None:
    visitor = await visit(*(BOUND_SCOPES - {scope}))
    await visitor.open("/area")
    for path in ("/area/cases", "/area/movements", "/area/cases/new", "/area/movements.csv"):
        answer = await visitor.client.get(path)
        assert answer.status_code in (200, 403), (path, answer.text)
    if scope == "cases:write":
        page = await visitor.submit(await visitor.open("/area/cases/new"), "/new", 403, **NEW)
        assert "This could not be done yet" in page.text


@pytest.mark.parametrize("scope", sorted(BOUND_SCOPES))
async def test_a_token_with_one_scope_alone(visit: NewVisitor, scope: str) -> None:
    page = await (await visit(scope)).open("/area")
    assert ("What you may use now" in page.text) == (scope == "entitlements:read")
    assert ("Latest movements" in page.text) == (scope == "usage:read")
    assert ("Open cases" in page.text) == (scope == "cases:read")
    assert ("Your licences" in page.text) == (scope == "licences:read")


async def test_opening_a_case_and_commenting(
    service: Service, visit: NewVisitor, customer: Customer, client: httpx.AsyncClient
) -> None:
    visitor = await visit()
    form = await visitor.open("/area/cases/new")
    # With one licence its serial number is filled in.
    assert form.form("/new").fields["serial_number"] == customer.serials[0]
    page = await visitor.submit(form, "/new", **NEW)
    number = page.answer.url.path.rpartition("/")[2]
    assert f"Case {number} is open." in page.text
    stored = (await client.get(f"/v1/cases/{number}")).json()
    assert stored["customer_id"] == customer.id
    assert stored["description"] == "Since this morning.\nIt was full before."
    assert stored["requester"]["name"] == "Anna Rossi"
    # The same form sent once more opens no second case.
    again = await visitor.submit(form, "/new", **NEW)
    assert again.answer.url.path == page.answer.url.path
    assert (await visitor.open("/area")).text.count("The alarm list stays empty") == 1
    page = await visitor.submit(page, "/comments", body="It happens after\na restart, too.")
    assert "Your comment was added." in page.text
    assert "From you" in page.text
    async with await service.client_with("cases:read", "cases:write", "cases:work") as staff:
        comments = f"/v1/cases/{number}/comments"
        await made(await staff.post(comments, json={"body": "Please send the log."}))
        hidden = {"body": "Check their cable.", "internal": True}
        await made(await staff.post(comments, json=hidden))
    page = await visitor.open(page.answer.url.path)
    assert "From the help desk" in page.text
    assert "Please send the log." in page.text
    assert "Check their cable." not in page.text


async def test_each_fault_stands_at_its_field(visit: NewVisitor, customer: Customer) -> None:
    visitor = await visit()
    form = await visitor.open("/area/cases/new")
    wrong = {
        "requester__email": "nobody",
        "subject": "x" * 201,
        "example_url": "javascript:alert(1)",
        "description": "Kept: è 漢 \u202e",
    }
    page = await visitor.submit(form, "/new", 422, **wrong)
    at = {
        attributes["id"].removeprefix("field-")
        for _, attributes in page.tags
        if attributes.get("aria-invalid") == "true" and attributes["id"]
    }
    assert at == {"requester-email", "subject", "example_url", "requester-name"}
    assert page.form("/new").fields["description"] == "Kept: è 漢 \u202e"
    assert page.form("/new").fields["form_key"] == form.form("/new").fields["form_key"]
    described = [one["aria-describedby"] for _, one in page.tags if one.get("aria-describedby")]
    ids = {one["id"] for _, one in page.tags if one.get("id")}
    assert all(set((one or "").split()) <= ids for one in described)
    assert {link[1:] for link in page.links if link.startswith("#field")} <= ids
    page = await visitor.submit(form, "/new", 422, **{**NEW, "serial_number": ""})
    assert "serial_number-error" in page.html
    page = await visitor.submit(form, "/new", 422, **{**NEW, "serial_number": "NOT-OURS"})
    assert "serial_number-error" in page.html


async def test_a_refused_case_says_why_and_whom_to_ask(
    visit: NewVisitor, client: httpx.AsyncClient, today: date
) -> None:
    visitor = await visit(of=await Customer.new(client, today))
    page = await visitor.submit(await visitor.open("/area/cases/new"), "/new", 409, **NEW)
    assert "What would change it:" in page.text
    assert "Sales office" in page.text
    assert page.form("/new").fields["subject"] == NEW["subject"]


async def test_another_customer_s_case_does_not_exist(
    visit: NewVisitor, client: httpx.AsyncClient, today: date
) -> None:
    other = await Customer.new(client, today)
    await other.licence()
    case = await other.open(subject="Secret of another")
    visitor = await visit()
    texts = set()
    for name in (case["number"], case["id"], "2026-999999", "%00", "a" * 300):
        page = await visitor.open(f"/area/cases/{name}", 404)
        assert "Secret of another" not in page.html
        texts.add(page.text)
    assert len(texts) == 1
    mine = await visitor.open("/area/cases/new")
    token = mine.form("/new").fields["form_token"]
    fields = {"form_token": token, "body": "x"}
    answer = await visitor.post(f"/area/cases/{case['number']}/comments", fields)
    assert answer.status_code == 404
    assert "Secret" not in (await visitor.open("/area/cases?q=Secret")).text


async def test_a_script_stored_in_every_text_is_shown_as_text(
    client: httpx.AsyncClient, service: Service, visit: NewVisitor, today: date
) -> None:
    customer = await Customer.new(
        client, today, name=SCRIPT, contacts=[{"name": SCRIPT, "phones": []}]
    )
    await customer.licence(days=-40, product=SCRIPT, version=SCRIPT)
    case = await customer.open(
        requester={"name": SCRIPT},
        subject=SCRIPT,
        description=SCRIPT,
        steps_to_reproduce=SCRIPT,
        product=SCRIPT,
        product_version=SCRIPT,
        example_url="https://example.com/<script>",
    )
    await customer.patch(case, technician=SCRIPT)
    await customer.work(case, 5, technician=SCRIPT, note=SCRIPT)
    await customer.step(case, "comments", 201, body=SCRIPT)
    await customer.step(case, "closure", resolution=SCRIPT)
    visitor = await visit(of=customer)
    wrong = await visitor.submit(
        await visitor.open("/area/cases/new"),
        "/new",
        422,
        subject=SCRIPT,
        description=SCRIPT,
        requester__name="",
        serial_number=SCRIPT,
    )
    names = ("", "/cases", "/cases/new", "/movements", f"/cases/{case['number']}", "/cases?q=<b>")
    pages = [wrong, *[await visitor.open(f"/area{name}") for name in names]]
    for page in pages:
        assert "<script" not in page.html
        assert "<b>" not in page.html
        assert not any(name.startswith("on") for _, one in page.tags for name in one)
        assert not any("style" in one for _, one in page.tags)
    assert pages[1].text.count(SCRIPT) >= 2
    assert pages[5].text.count(SCRIPT) >= 6


@pytest.mark.parametrize("extension", ["csv", "xlsx"])
async def test_files_are_the_api_s_own(
    service: Service, visit: NewVisitor, customer: Customer, extension: str
) -> None:
    await customer.work(await customer.open(), 20)
    visitor = await visit(language="de")
    period = {"from": str(customer.today - timedelta(days=30)), "to": str(customer.today)}
    answer = await visitor.client.get(f"/area/movements.{extension}", params=period)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].endswith(f'.{extension}"')
    assert answer.headers["cache-control"] == "no-store"
    names = [name for name, _ in answer.headers.multi_items()]
    assert len(names) == len(set(names))
    head = await visitor.client.head(f"/area/movements.{extension}", params=period)
    assert (head.status_code, head.content) == (200, b"")
    assert (await visitor.open("/area/movements.exe", 404)).status == 404
    period["to"] = "2020-01-01"
    refused = await visitor.client.get(f"/area/movements.{extension}", params=period)
    assert refused.headers["content-type"].startswith("text/html")


async def test_movements_of_a_period(visit: NewVisitor, customer: Customer) -> None:
    await customer.work(await customer.open(), 75)
    visitor = await visit()
    page = await visitor.open("/area/movements")
    assert "Time charged" in page.text
    assert "1 h 15 min" in page.text
    assert "3 h 45 min" in page.text
    for query in ("from=2026-13-01", "from=x&to=y", "from=2026-02-01&to=2026-01-01"):
        page = await visitor.open(f"/area/movements?{query}", 422)
        assert any(one.get("aria-invalid") for _, one in page.tags)


async def test_the_day_is_the_vendor_s_right_after_its_midnight(
    service: Service, visit: NewVisitor, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = datetime.combine(customer.today, time(0, 30), service.policies.zone)
    instant = (local + timedelta(days=1)).astimezone(UTC)
    assert instant.date() == customer.today
    monkeypatch.setattr(clock, "now", lambda: instant)
    await customer.work(await customer.open(), 75)
    visitor = await visit()
    for path in ("/area", "/area/movements"):
        assert "Time charged" in (await visitor.open(path)).text


HOSTILE: dict[str, tuple[int, dict[str, Any]]] = {
    "json": (415, {"json": {"a": 1}}),
    "multipart": (415, {"files": {"a": b"b"}}),
    "no utf-8": (400, {"content": b"subject=%ff%fe"}),
    "raw bytes": (400, {"content": b"subject=\xff"}),
    "many fields": (400, {"content": b"&".join(b"a%d=1" % n for n in range(200))}),
    "too large": (413, {"content": b"a=" + b"x" * LARGEST_BODY}),
    "nothing": (403, {"content": b""}),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_bodies(visit: NewVisitor, kind: str) -> None:
    status, sent = HOSTILE[kind]
    visitor = await visit()
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if "content" in sent else {}
    for path in ("/area/cases/new", "/area/sign-out", "/area/cases/x/comments"):
        answer = await visitor.client.post(path, headers=headers, **sent)
        assert answer.status_code == status, answer.text


async def test_a_body_that_is_too_large_in_pieces(visit: NewVisitor) -> None:
    async def pieces() -> Any:
        yield b"subject="
        for _ in range(LARGEST_BODY // 65_536 + 1):
            yield b"x" * 65_536

    visitor = await visit()
    answer = await visitor.client.post(
        "/area/cases/new",
        content=pieces(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 413
    assert "That was too much" in Page(answer).text


async def test_odd_fields_reach_the_api_as_they_are(visit: NewVisitor) -> None:
    visitor = await visit()
    form = (await visitor.open("/area/cases/new")).form("/new").fields
    for name, value in (
        ("requester", "x"),
        ("requester/name/x", "y"),
        ("subject", "\x00"),
        ("channel", "fax"),
        ("category", "training"),
        ("form_key", "x" * 300),
        ("serial_number", "' OR 1=1"),
    ):
        fields = {**form, "subject": "A", "description": "B", "requester/name": "C", name: value}
        answer = await visitor.post("/area/cases/new", fields)
        assert answer.status_code in (303, 422), (name, answer.status_code)
        if answer.status_code == 422:
            assert "This could not be done yet" in Page(answer).text


async def test_head_and_other_methods(visit: NewVisitor) -> None:
    visitor = await visit()
    for path in ("/area", "/area/cases", "/area/movements", "/area/nothing"):
        get, head = await visitor.client.get(path), await visitor.client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
    assert (await visitor.client.delete("/area")).status_code == 405


async def test_the_database_is_away(
    service: Service, visit: NewVisitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await visit(language="de")
    form = await visitor.open("/area/cases/new")

    with monkeypatch.context() as patch:
        for name in ("bound", "reading", "writing"):
            patch.setattr(service.database, name, _Away())
        page = await visitor.open("/area", 503)
        assert "Der Dienst ist im Moment nicht verfügbar" in page.text
        assert page.answer.headers["retry-after"] == "5"
        page = await visitor.submit(form, "/new", 503, subject="Kept", description="Kept too")
        fields = page.form("/new").fields
        assert (fields["subject"], fields["description"]) == ("Kept", "Kept too")
    # The same form, sent again, opens the case.
    page = await visitor.submit(page, "/new", **NEW)
    assert "ist eröffnet" in page.text


class _Away:
    def begin(self) -> Any:
        raise ConnectionRefusedError

    connect = begin


async def test_many_at_once(visit: NewVisitor) -> None:
    visitor = await visit()
    answers = await asyncio.gather(*(visitor.client.get("/area") for _ in range(5)))
    assert {one.status_code for one in answers} == {200}


async def test_small(visit: NewVisitor, service: Service) -> None:
    page = await (await visit()).open("/area")
    size = len(page.answer.content)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app), base_url="http://test"
    ) as client:
        for source in page.sources:
            size += len((await client.get(source)).content)
    assert size < 150_000
