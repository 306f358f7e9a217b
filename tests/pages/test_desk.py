"""Signing in, the caller card, the queue and the page of a case, without a browser."""

from datetime import date

import httpx
import pytest

from app.http.languages import LANGUAGES, Language
from app.pages.languages import WORDINGS
from app.services.tokens import BOUND_SCOPES
from tests.api.build import Customer
from tests.conftest import Service
from tests.pages.conftest import NewVisitor
from tests.pages.staff import SCRIPT, is_calm, sign_in
from tests.pages.visitor import Page, Visitor

PHONE = "+390590123456"


@pytest.fixture(scope="module")
async def customer(client: httpx.AsyncClient, service: Service) -> Customer:
    """A customer who may call."""
    contact = {"name": "Anna Rossi", "email": "anna@c.example.com", "phones": [PHONE]}
    customer = await Customer.new(
        client, service.today(), name="Esempio S.r.l.", contacts=[contact]
    )
    await customer.licence(days=-330)
    await customer.contract(days=-320)
    await customer.pack(3)
    return customer


async def test_signing_in_and_out(service: Service) -> None:
    visitor = Visitor(service, **{"Accept-Language": "en"})
    asked = await visitor.open("/desk/call?phone=%2B390590123456", 401)
    assert "You are not signed in" in asked.text
    form = asked.form("/login")
    assert form.fields["next"] == "/desk/call?phone=%2B390590123456"
    wrong = await visitor.submit(asked, "/login", 422, key="assistenza_wrong", technician="Ada")
    assert "This key is not valid" in wrong.text
    assert "assistenza_wrong" not in wrong.html
    assert wrong.form("/login").fields["technician"] == "Ada"
    key = await service.token("entitlements:read")
    page = await visitor.submit(wrong, "/login", 200, key=key)
    assert page.answer.url.path == "/desk/call"
    assert "Nobody is known by this" in page.text
    cookies = page.answer.request.headers["cookie"]
    assert "assistenza-desk=" in cookies
    assert key not in page.html
    # An address that leads elsewhere is not taken.
    again = await visitor.post("/login", {"key": key, "next": "//evil.example.com"})
    assert again.headers["location"] == "/desk/call"
    assert (await visitor.client.get("/login")).headers["location"] == "/desk/call"
    left = await visitor.submit(page, "/sign-out")
    assert "This browser has forgotten the key." in left.text
    await visitor.open("/desk/call", 401)


async def test_a_token_of_a_customer_opens_no_page_of_staff(
    service: Service, customer: Customer
) -> None:
    bound = await service.token(*BOUND_SCOPES, customer_id=customer.id)
    visitor = Visitor(service, **{"Accept-Language": "en"})
    page = await visitor.submit(await visitor.open("/login"), "/login", 422, key=bound)
    assert "This key is not valid for the pages of staff." in page.text
    visitor.client.cookies.set("assistenza-desk", bound)
    for path in ("/desk", "/desk/call?q=x", f"/desk/cases/{customer.code}"):
        await visitor.open(path, 401)


@pytest.mark.parametrize(
    ("scopes", "places"),
    [
        (("cases:read",), ["/desk"]),
        (("entitlements:read",), ["/desk/call"]),
        (("usage:read",), ["/dashboard"]),
        (("customers:read",), ["/office"]),
        (("webhooks:manage",), []),
    ],
)
async def test_scopes_decide_the_pages(
    service: Service, scopes: tuple[str, ...], places: list[str]
) -> None:
    visitor = await sign_in(service, *scopes)
    page = await visitor.open("/login")
    every = ("/desk", "/desk/call", "/dashboard", "/office")
    assert list(dict.fromkeys(link for link in page.links if link in every)) == places
    if not places:
        assert "This key opens no page" in page.text
    for path in set(every) - set(places) - {"/desk/call"}:
        await visitor.open(path, 403)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_each_page_in_each_language(
    service: Service, customer: Customer, language: str
) -> None:
    case = await customer.open()
    visitor = await sign_in(service, language=language)
    for path in (
        "/desk",
        "/desk?mine=1",
        "/desk/call",
        "/desk/call?q=nothing-like-this",
        "/desk/call?phone=%2B390590123456",
        f"/desk/cases/{case['number']}",
    ):
        page = await visitor.open(path)
        assert page.language == language, path
        assert is_calm(page)
    assert (
        await Visitor(service, **{"Accept-Language": language}).open("/login")
    ).language == language
    await customer.close(case)


async def test_the_caller_card(service: Service, customer: Customer) -> None:
    case = await customer.open(subject="The screen flickers", channel="phone")
    await customer.work(case, 90)
    visitor = await sign_in(service)
    page = await visitor.open("/desk/call?phone=%2B390590123456")
    text = page.text
    for part in (
        "Yes: Esempio S.r.l. may have phone support",
        "Paid by: Service agreement (18 h 30 min left)",
        case["number"],
        "The screen flickers",
        "Calling: Anna Rossi",
        "18 h 30 min left of 20 h",
        "3 left of 3",
        customer.serials[0],
        "45 days",
    ):
        assert part in text, part
    form = page.form("/desk/call").fields
    assert form["requester/name"] == "Anna Rossi"
    assert form["requester/email"] == "anna@c.example.com"
    assert form["requester/phone"] == PHONE
    assert form["serial_number"] == customer.serials[0]
    assert (form["channel"], form["take"]) == ("phone", "1")
    assert page.answer.headers["referrer-policy"] == "no-referrer"
    await customer.close(case)
    page = await visitor.open("/desk/call?phone=%2B390590123456")
    assert "No case is open." in page.text
    assert case["number"] in page.text


async def test_a_caller_who_may_not_be_served(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    nobody = await Customer.new(client, today, name="Niente S.p.A.")
    visitor = await sign_in(service)
    page = await visitor.open(f"/desk/call?customer={nobody.code}")
    assert "No: Niente S.p.A. may not have phone support now" in page.text
    assert "What would change it: " in page.text
    refused = await visitor.submit(
        page, "/desk/call", 409, subject="Help", description="Now", requester__name="Bruno"
    )
    assert "This could not be done yet" in refused.text
    assert refused.form("/desk/call").fields["subject"] == "Help"


async def test_overrun_is_told_as_over(
    service: Service, client: httpx.AsyncClient, today: date
) -> None:
    customer = await Customer.new(client, today)
    await customer.licence(days=-40)
    await customer.contract(days=-20, included_minutes=60)
    await customer.work(await customer.open(channel="phone"), 90)
    page = await (await sign_in(service)).open(f"/desk/call?customer={customer.code}")
    assert "30 min over of 1 h" in page.text
    assert "Only for an open case" in page.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("phone=%2B390599999999", "Nobody is known by this"),
        ("phone=anonymous", "The number is withheld"),
        ("phone=", "The number is withheld"),
        ("phone=12", "This is not a telephone number"),
        ("case=2026-999999", "Nobody is known by this"),
        ("customer=nobody-like-this", "Nobody is known by this"),
        ("customer=%00", "Nobody is known by this"),
        ("q=nobody-like-this", "Nothing was found"),
        ("q=%3Cscript%3E", "Nothing was found"),
        ("q=%2B390599999999", "Nobody is known by this"),
    ],
)
async def test_nobody_is_found(service: Service, query: str, said: str) -> None:
    page = await (await sign_in(service)).open(f"/desk/call?{query}")
    assert said in page.text
    assert is_calm(page)


async def test_several_match(service: Service, client: httpx.AsyncClient, today: date) -> None:
    shared = {"name": "Sede", "phones": ["+390597654321"]}
    both = [
        await Customer.new(client, today, name=name, contacts=[shared])
        for name in ("Gemelli Nord", "Gemelli Sud")
    ]
    visitor = await sign_in(service)
    page = await visitor.open("/desk/call?phone=%2B390597654321")
    assert "Several customers share this: which one is it?" in page.text
    for one in both:
        assert f"/desk/call?customer={one.code}" in page.links
    page = await visitor.open("/desk/call?q=Gemelli")
    assert "Which one is it?" in page.text
    assert len([link for link in page.links if "customer=" in link]) == 2


@pytest.mark.parametrize("by", ["code", "serial", "name", "number", "phone"])
async def test_the_search_leads_to_the_only_match(
    service: Service, client: httpx.AsyncClient, today: date, by: str
) -> None:
    customer = await Customer.new(
        client,
        today,
        name=f"Unico {by}",
        contacts=[{"name": "Uno", "phones": [f"+39059111{len(by)}0{ord(by[0])}"]}],
    )
    await customer.licence()
    await customer.contract()
    case = await customer.open()
    words = {
        "code": customer.code.lower(),
        "serial": customer.serials[0],
        "name": f"Unico {by}",
        "number": case["number"],
        "phone": f"+39 059 111 {len(by)}0{ord(by[0])}",
    }[by]
    visitor = await sign_in(service)
    page = Page(await visitor.client.get("/desk/call", params={"q": words}, follow_redirects=True))
    assert page.status == 200
    assert f"Yes: Unico {by} may have phone support" in page.text


async def test_a_case_from_the_call_to_its_closing(
    service: Service, customer: Customer, client: httpx.AsyncClient
) -> None:
    visitor = await sign_in(service, name="Ada Neri")
    page = await visitor.open("/desk/call?phone=%2B390590123456")
    wrong = await visitor.submit(
        page, "/desk/call", 422, subject="", description="x", requester__email="no address"
    )
    described = {
        given["id"]: given.get("aria-invalid")
        for tag, given in wrong.tags
        if tag in ("input", "textarea") and "id" in given
    }
    assert described["field-subject"] == "true"
    assert described["field-requester-email"] == "true"
    assert described["field-description"] is None
    page = await visitor.submit(
        wrong,
        "/desk/call",
        subject=SCRIPT,
        description=SCRIPT,
        requester__email="anna@c.example.com",
    )
    assert is_calm(page)
    assert "The case is open." in page.text
    number = page.answer.url.path.rpartition("/")[2]
    stored = (await client.get(f"/v1/cases/{number}")).json()
    assert (stored["technician"], stored["state"]) == ("Ada Neri", "in_progress")
    assert (stored["subject"], stored["channel"]) == (SCRIPT, "phone")
    page = await visitor.submit(page, "/comments", body=SCRIPT, internal="1")
    assert "The comment was added." in page.text
    assert is_calm(page)
    page = await visitor.submit(page, "/time-entries", 422, minutes="a lot", note="kept")
    assert page.form("/time-entries").fields["note"] == "kept"
    assert "field-minutes-error" in page.html
    for minutes in ("9" * 5_000, "9" * 20, "-1", "0", "1e9", "\u0663", "\U0001f600", "\0"):
        page = await visitor.submit(page, "/time-entries", 422, minutes=minutes, note="kept")
        assert "field-minutes-error" in page.html
    page = await visitor.submit(page, "/time-entries", minutes="25", note=SCRIPT)
    assert "Ada Neri worked on it: 25 min" in page.text
    page = await visitor.submit(page, "/reversal", reason="Another case.")
    assert "The time was taken back." in page.text
    page = await visitor.submit(page, "/transition")
    assert "Waiting for the customer" in page.text
    page = await visitor.submit(page, "/closure", 422, resolution=" ")
    page = await visitor.submit(page, "/closure", resolution=SCRIPT)
    assert "The case is closed." in page.text
    assert is_calm(page)
    assert not [form for form in page.forms if form.action.endswith("/closure")]
    page = await visitor.submit(page, "/reopening", reason="It is back.")
    assert "The case is open again." in page.text
    stored = (await client.get(f"/v1/cases/{number}")).json()
    assert stored["worked_minutes"] == 0
    page = await visitor.submit(page, "/cancellation", reason="Opened by mistake.")
    assert "Cancelled" in page.text
    assert is_calm(page)


async def test_a_conflicting_change_is_explained_and_not_lost(
    service: Service, customer: Customer, client: httpx.AsyncClient
) -> None:
    case = await customer.open()
    path = f"/desk/cases/{case['number']}"
    ada, bruno = await sign_in(service, name="Ada"), await sign_in(service, name="Bruno")
    of_ada, of_bruno = await ada.open(path), await bruno.open(path)
    await ada.submit(of_ada, "/change", priority="high", subject="Ada was here")
    page = await bruno.submit(of_bruno, "/change", 412, priority="low", technician="Bruno")
    assert "Somebody else changed this case first" in page.text
    assert "Ada was here" in page.text
    assert page.form("/change").fields["technician"] == "Bruno"
    assert page.form("/change").fields["priority"] == "low"
    stored = (await client.get(f"/v1/cases/{case['number']}")).json()
    assert (stored["priority"], stored["technician"]) == ("high", None)
    page = await bruno.submit(page, "/change")
    stored = (await client.get(f"/v1/cases/{case['number']}")).json()
    assert (stored["priority"], stored["technician"]) == ("low", "Bruno")
    # Ada still sees the case as nobody's.
    taken = await ada.submit(of_ada, "/take", 412)
    assert "Somebody else changed this case first" in taken.text
    assert "Bruno" in taken.text
    await ada.submit(taken, "/take")
    stored = (await client.get(f"/v1/cases/{case['number']}")).json()
    assert (stored["technician"], stored["state"]) == ("Ada", "in_progress")
    await customer.close(case)
    late = await bruno.submit(page, "/closure", 409, resolution="Solved by me.")
    assert "This could not be done yet" in late.text


async def test_the_queue(service: Service, client: httpx.AsyncClient, today: date) -> None:
    plain = await Customer.new(client, today, name="Senza Contratto")
    await plain.pack(2)
    first = await Customer.new(client, today, name="Con Contratto")
    await first.licence()
    await first.contract()
    late = await plain.open(subject=SCRIPT)
    soon = await first.open(subject="Urgent")
    visitor = await sign_in(service, name="Ada")
    page = await visitor.open("/desk")
    assert is_calm(page)
    assert page.text.index(soon["number"]) < page.text.index(late["number"])
    assert "Con Contratto" in page.text
    assert "Priority support" in page.text
    assert "/desk/stream" in page.html
    etag = page.answer.headers["etag"]
    again = await visitor.client.get("/desk", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert late["number"] not in (await visitor.open("/desk?mine=1")).text
    await plain.patch(late, technician="Ada")
    assert late["number"] in (await visitor.open("/desk?mine=1")).text
    assert (await visitor.client.get("/desk", headers={"If-None-Match": etag})).status_code == 200


async def test_a_technician_with_few_scopes(service: Service, customer: Customer) -> None:
    case = await customer.open()
    visitor = await sign_in(service, "cases:read")
    page = await visitor.open("/desk")
    assert case["number"] in page.text
    assert "Names of customers, and the search for a caller, need a key with" in page.text
    assert "Customer" not in page.text
    assert "/desk/stream" not in page.html
    page = await visitor.open(f"/desk/cases/{case['number']}")
    assert [form.action for form in page.forms] == ["/sign-out"]
    refused = await visitor.post(
        f"/desk/cases/{case['number']}/closure", {**page.forms[0].fields, "resolution": "x"}
    )
    assert refused.status_code == 403
    caller = await sign_in(service, "entitlements:read")
    page = await caller.open(f"/desk/call?customer={customer.code}")
    assert "Yes: Esempio S.r.l." in page.text
    await customer.close(case)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_staff_are_told_of_their_key_where_a_page_fails(
    service: Service, language: Language
) -> None:
    texts = WORDINGS[language]
    visitor = await sign_in(service, "cases:read", language=language)
    page = await visitor.open("/office", 403)
    assert texts("failed_staff.forbidden") in page.text
    assert "customers:read" in page.text
    assert texts("failed_staff.not_found") in (await visitor.open("/office/nothing", 404)).text
    for path, status in (("/office", 403), ("/office/nothing", 404)):
        assert texts("area.name") not in (await visitor.open(path, status)).text


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_root_leads_everybody_to_their_own_pages(
    service: Service, visit: NewVisitor, language: Language
) -> None:
    texts = WORDINGS[language]
    stranger = Visitor(service, **{"Accept-Language": language})
    page = await stranger.open("/")
    assert page.answer.url.path == "/welcome"
    assert page.language == language
    assert "/login" in page.links
    assert texts("welcome.customers_text") in page.text
    assert (await (await sign_in(service)).open("/")).answer.url.path == "/desk"
    few = await sign_in(service, "usage:read")
    assert (await few.open("/")).answer.url.path == "/dashboard"
    few.client.cookies.set("assistenza-desk", "revoked")
    assert (await few.open("/")).answer.url.path == "/welcome"
    assert (await (await visit()).open("/")).answer.url.path == "/area"


async def test_the_stream_needs_a_session(service: Service) -> None:
    visitor = await sign_in(service)
    answer = await visitor.client.get("/desk/stream", headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (await Visitor(service).client.get("/desk/stream")).status_code == 401
    few = await sign_in(service, "cases:read")
    assert (await few.client.get("/desk/stream")).status_code == 403


async def test_the_number_of_a_caller_is_in_no_log(
    service: Service, customer: Customer, capsys: pytest.CaptureFixture[str]
) -> None:
    visitor = await sign_in(service)
    await visitor.open("/desk/call?phone=%2B390590123456")
    told = capsys.readouterr()
    assert "/desk/call" in told.out + told.err
    assert "390590123456" not in told.out + told.err


async def test_a_form_from_elsewhere_does_nothing(service: Service, customer: Customer) -> None:
    case = await customer.open()
    visitor = await sign_in(service)
    page = await visitor.open(f"/desk/cases/{case['number']}")
    path = f"/desk/cases/{case['number']}/closure"
    fields = {**page.form("/closure").fields, "resolution": "x"}
    for sent, headers in (
        ({**fields, "form_token": "0"}, {}),
        (fields, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert (await visitor.post(path, sent, **headers)).status_code == 403
    assert (await customer.case(case["number"]))["state"] == "open"
    await customer.close(case)


@pytest.mark.parametrize(
    "path", ["/desk/x", "/desk/cases/2026-999999", "/desk/cases/%00", "/dashboard/x", "/office/x"]
)
async def test_what_is_not_there(service: Service, path: str) -> None:
    await (await sign_in(service)).open(path, 404)
