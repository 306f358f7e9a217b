"""The way in and out of the reserved area: links, cookies, and requests of other sites."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.api.build import Customer
from tests.conftest import Service
from tests.pages.conftest import NewVisitor, link_of
from tests.pages.visitor import ADDRESS, Page, Visitor

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def path(customer: Customer, client: httpx.AsyncClient) -> Callable[[], Awaitable[str]]:
    async def new() -> str:
        return (await link_of(client, customer.id)).removeprefix(ADDRESS)

    return new


async def test_opening_a_link_uses_nothing_up(
    service: Service, path: Callable[[], Awaitable[str]]
) -> None:
    link = await path()
    scanner, visitor = Visitor(service), Visitor(service)
    for _ in range(3):
        page = await scanner.open(link)
        assert "Open the reserved area" in page.text
        head = await scanner.client.head(link)
        assert (head.status_code, head.content) == (200, b"")
        assert "set-cookie" not in page.answer.headers
    page = await visitor.enter(link)
    assert page.answer.url.path == "/area"
    assert "Esempio S.r.l." in page.text


async def test_the_button_works_once_also_for_two_at_the_same_moment(
    service: Service, path: Callable[[], Awaitable[str]]
) -> None:
    link = await path()
    answers = await asyncio.gather(*(Visitor(service).post(link) for _ in range(6)))
    assert sorted(one.status_code for one in answers) == [303, *[410] * 5]
    late = Visitor(service)
    page = await late.submit(await late.open(link), "", 410)
    assert "no longer valid" in page.text
    # The browser in which it had opened the area finds it open.
    first = next(one for one in answers if one.status_code == 303)
    token = first.headers["set-cookie"].partition("=")[2].partition(";")[0]
    again = await late.post(link, Cookie=f"assistenza-area={token}")
    assert (again.status_code, again.headers["location"]) == (303, "/area")


async def test_the_cookie_keeps_the_token_from_scripts_and_from_other_sites(
    service: Service, path: Callable[[], Awaitable[str]]
) -> None:
    visitor = Visitor(service)
    plain = (await visitor.post(await path())).headers["set-cookie"]
    name, *attributes = plain.split("; ")
    assert name.startswith("assistenza-area=assistenzac_")
    assert set(attributes) - {one for one in attributes if one.startswith("Max-Age=")} == {
        "Path=/",
        "HttpOnly",
        "SameSite=Strict",
    }
    seconds = next(int(one[8:]) for one in attributes if one.startswith("Max-Age="))
    assert 3_500 < seconds <= 3_600
    secured = await visitor.post(await path(), **{"X-Forwarded-Proto": "https"})
    name, *attributes = secured.headers["set-cookie"].split("; ")
    assert name.startswith("__Host-assistenza-area=assistenzac_")
    assert {"Path=/", "HttpOnly", "SameSite=Strict", "Secure"} <= set(attributes)
    token = name.partition("=")[2]
    # Behind TLS a cookie without the prefix, which another host could have set, is not taken.
    for cookie, status in ((f"assistenza-area={token}", 401), (name, 200)):
        headers = {"X-Forwarded-Proto": "https", "Cookie": cookie}
        assert (await Visitor(service).open("/area", status, **headers)).status == status


async def test_a_frame_of_a_listed_origin(
    new_service: Callable[..., Awaitable[Service]],
) -> None:
    service = await new_service(frame_ancestors="https://www.example.com,https://shop.example.com")
    async with await service.client_with("customers:write", "tokens:issue", "usage:read") as client:
        customer = await Customer.new(client, service.today())
        link = (await link_of(client, customer.id, "usage:read")).removeprefix(ADDRESS)
    visitor = Visitor(service)
    page = await visitor.open(link)
    assert page.answer.headers["content-security-policy"].endswith(
        "frame-ancestors 'self' https://www.example.com https://shop.example.com"
    )
    name, *attributes = (await visitor.post(link)).headers["set-cookie"].split("; ")
    assert name.startswith("__Host-assistenza-area=")
    assert {"SameSite=None", "Secure", "Partitioned", "HttpOnly", "Path=/"} <= set(attributes)


async def test_the_token_stands_in_no_address_and_in_no_page(visit: NewVisitor) -> None:
    visitor = await visit()
    token = visitor.client.cookies["assistenza-area"]
    page = await visitor.open("/area")
    assert token not in page.html
    assert page.answer.headers["referrer-policy"] == "no-referrer"
    assert page.answer.headers["cache-control"] == "no-store"


FORGED = {
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another host of the site": {"Sec-Fetch-Site": "same-site"},
    "typed": {"Sec-Fetch-Site": "none"},
    "an older browser": {"Sec-Fetch-Site": "", "Origin": "https://evil.example.com"},
}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_form_of_another_site_is_refused(
    visit: NewVisitor, service: Service, path: Callable[[], Awaitable[str]], kind: str
) -> None:
    headers = {name: value for name, value in FORGED[kind].items() if value}
    visitor = await visit()
    form = (await visitor.open("/area/cases/new")).form("/area/cases/new")
    if "Sec-Fetch-Site" not in headers:
        del visitor.client.headers["Sec-Fetch-Site"]
        # The token of the form decides, which no other site can know.
        form.fields["form_token"] = "0" * 64
    answer = await visitor.post("/area/cases/new", form.fields, **headers)
    assert answer.status_code == 403
    link, stranger = await path(), Visitor(service)
    if "Sec-Fetch-Site" not in headers:
        del stranger.client.headers["Sec-Fetch-Site"]
    assert (await stranger.post(link, **headers)).status_code == 403
    # Nothing was used up.
    assert (await Visitor(service).post(link)).status_code == 303


async def test_a_form_without_its_token_is_refused(visit: NewVisitor) -> None:
    visitor = await visit()
    form = (await visitor.open("/area/cases/new")).form("/area/cases/new")
    for token in ("", "x", "é", form.fields["form_token"][:-1]):
        answer = await visitor.post("/area/cases/new", {**form.fields, "form_token": token})
        assert answer.status_code == 403, token
        assert "not possible here" in Page(answer).text


async def test_a_browser_that_says_nothing_of_where_a_form_comes_from(
    visit: NewVisitor, service: Service, path: Callable[[], Awaitable[str]]
) -> None:
    """Over plain http to another machine there is no Sec-Fetch-Site, and `Origin` is null."""
    visitor = await visit()
    del visitor.client.headers["Sec-Fetch-Site"]
    visitor.client.headers["Origin"] = "null"
    page = await visitor.open("/area/cases/new")
    await visitor.submit(page, "/area/cases/new", 422)
    stranger = Visitor(service)
    del stranger.client.headers["Sec-Fetch-Site"]
    assert (await stranger.post(await path())).status_code == 403
    assert (await stranger.post(await path(), Origin="null")).status_code == 303
    assert (await stranger.post(await path(), Origin="http://test")).status_code == 303


async def test_signing_out(visit: NewVisitor) -> None:
    visitor = await visit()
    page = await visitor.submit(await visitor.open("/area"), "/area/sign-out")
    assert "You have left" in page.text
    assert "assistenza-area" not in visitor.client.cookies
    assert (await visitor.open("/area", 401)).text.count("not signed in")


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "assistenza-area=",
        "assistenza-area=assistenzac_" + "x" * 43,
        "assistenza-area=assistenza_" + "x" * 43,
        'assistenza-area="a b"',
        "assistenza-area=" + "x" * 3_000,
        "assistenza-area=%0d%0aX: y",
    ],
)
async def test_a_wrong_cookie_is_a_calm_page(service: Service, cookie: str) -> None:
    visitor = Visitor(service, **{"Accept-Language": "de", "Cookie": cookie or "x=y"})
    for path in ("/area", "/area/cases", "/area/cases/new", "/area/movements.csv"):
        page = await visitor.open(path, 401)
        assert page.language == "de"
        assert "Sie sind nicht angemeldet" in page.text


async def test_a_token_of_staff_opens_no_area(service: Service) -> None:
    token = await service.token("entitlements:read", "usage:read", "cases:read")
    visitor = Visitor(service, Cookie=f"assistenza-area={token}")
    for path in ("/area", "/area/cases", "/area/cases/new", "/area/movements"):
        await visitor.open(path, 401)


async def test_a_session_that_has_ended(
    service: Service, client: httpx.AsyncClient, customer: Customer
) -> None:
    visitor = Visitor(service)
    page = await visitor.enter(await link_of(client, customer.id))
    await service.server.run_in(
        service.database_name,
        "UPDATE tokens SET revoked_at = now() WHERE customer_id = $1",
        customer.id,
    )
    ended = await visitor.open("/area", 401)
    assert "Your session has ended" in ended.text
    assert "Max-Age=0" in ended.answer.headers["set-cookie"]
    visitor.client.cookies.clear()
    assert page.status == 200
