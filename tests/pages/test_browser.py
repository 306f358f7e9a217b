"""The reserved area in Debian's Chromium: journeys, keyboard, axe, widths, and what goes wrong."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pages.browser import Served, Watched, axe_source, chromium, served

pytestmark = pytest.mark.tools

WORDS = {
    "it": ("Apri l’area riservata", "Che cosa può usare ora", "Apri un caso", "Invia il commento"),
    "en": ("Open the reserved area", "What you may use now", "Open a case", "Send the comment"),
    "de": ("Kundenbereich öffnen", "Was Sie jetzt nutzen", "Fall eröffnen", "Kommentar senden"),
}
OPENED = {"it": "è aperto", "en": "is open", "de": "ist eröffnet"}


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Any]:
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def service(browser: Any) -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def axe(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe_source(tmp_path_factory.mktemp("axe"))


@pytest.fixture
def window(browser: Any, service: Served) -> Callable[..., Any]:
    """Opens windows; at the end of each nothing may have come from elsewhere."""

    @asynccontextmanager
    async def new(axe: str = "", **options: Any) -> AsyncIterator[Watched]:
        context = await browser.new_context(**{"locale": "en-GB", **options})
        watched = Watched(await context.new_page(), service.address, axe)
        watched.listen()
        yield watched
        await context.close()
        watched.check()

    return new


async def enter(watched: Watched, link: str, language: str = "en") -> None:
    await watched.page.goto(link)
    await watched.page.get_by_role("button", name=WORDS[language][0]).click()
    await watched.page.wait_for_url("**/area")


async def fill_in(page: Any, subject: str) -> None:
    await page.locator("[name=serial_number]").fill("ED-0001")
    await page.locator("[name=subject]").fill(subject)
    await page.locator("[name=description]").fill("First line.\nSecond line: è ü 漢.")
    await page.locator("[name='requester/name']").fill("Anna Rossi")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("language", WORDS)
async def test_the_main_journey(
    window: Callable[..., Any], service: Served, language: str, script: bool
) -> None:
    button, services, open_one, send = WORDS[language]
    async with window(locale=language, java_script_enabled=script) as watched:
        page = watched.page
        link = service.link if (language, script) == ("it", True) else service.new_link()
        await enter(watched, link, language)
        assert await page.locator("html").get_attribute("lang") == language
        assert services in await page.locator("#services").inner_text()
        assert await page.locator(".services > li").count() == 8
        await page.get_by_role("link", name=open_one).first.click()
        await fill_in(page, f"Journey in {language}")
        await page.locator("main button[type=submit]").click()
        await page.wait_for_url("**/area/cases/2*")
        assert OPENED[language] in await page.get_by_role("status").inner_text()
        number = re.findall(r"/cases/([\d-]+)", page.url)[0]
        await page.locator("[name=body]").fill("One thing more.")
        await page.get_by_role("button", name=send).click()
        await page.wait_for_url("**commented=1")
        assert "One thing more." in await page.locator(".path").inner_text()
        await page.goto(f"{service.address}/area/cases")
        assert number in await page.locator("table").inner_text()
        await page.goto(f"{service.address}/area/movements")
        assert await page.locator("main h1").count() == 1
        await page.locator(".leave button").click()
        await page.goto(f"{service.address}/area")
        assert await page.locator("h1").count() == 1
        assert await page.locator(".services").count() == 0
        # The link was used up by its button.
        await page.goto(link)
        await page.get_by_role("button", name=button).click()
        assert await page.locator(".services").count() == 0


async def test_wrong_input_is_told_at_the_field(
    window: Callable[..., Any], service: Served, axe: str
) -> None:
    async with window(axe) as watched:
        page = watched.page
        await enter(watched, service.new_link())
        await page.goto(f"{service.address}/area/cases/new")
        await page.locator("[name='requester/email']").fill("nobody")
        await page.locator("[name=serial_number]").fill("NOT-OURS")
        await page.locator("main button[type=submit]").click()
        await page.get_by_role("alert").wait_for()
        invalid = await page.locator("[aria-invalid=true]").evaluate_all(
            "all => all.map(e => e.name)"
        )
        assert invalid == ["subject", "description", "requester/name", "requester/email"]
        for name in invalid:
            shown = page.locator(f"[name='{name}']")
            about = (await shown.get_attribute("aria-describedby") or "").split()
            assert await page.locator(f"#{about[-1]}").inner_text()
        assert await page.locator("[name=serial_number]").input_value() == "NOT-OURS"
        assert await watched.violations() == []
        await fill_in(page, "Right this time")
        await page.locator("[name=serial_number]").fill("NOT-OURS")
        await page.locator("[name='requester/email']").fill("")
        await page.locator("main button[type=submit]").click()
        assert "serial" in await page.locator("#field-serial_number-error").inner_text()
        await page.locator("[name=serial_number]").fill("ED-0001")
        await page.locator("main button[type=submit]").click()
        await page.wait_for_url("**/area/cases/2*")


async def test_another_customer_s_case(window: Callable[..., Any], service: Served) -> None:
    async with window() as watched:
        await enter(watched, service.new_link("C-0002"))
        for path in ("/area/cases/2026-000001", "/area/cases/9999-000001", "/area/nothing"):
            answer = await watched.page.goto(service.address + path)
            assert answer.status == 404
            assert "There is nothing here" in await watched.page.locator("main").inner_text()


async def test_a_session_ends_while_somebody_writes(
    window: Callable[..., Any], service: Served, axe: str
) -> None:
    async with window(axe) as watched:
        page = watched.page
        await enter(watched, service.new_link(seconds=8))
        await page.goto(f"{service.address}/area/cases/new")
        await fill_in(page, "Too late")
        await asyncio.sleep(9)
        await page.locator("main button[type=submit]").click()
        await page.get_by_text("You are not signed in").wait_for()
        assert await watched.violations() == []


async def test_the_database_is_gone_for_ten_seconds(
    window: Callable[..., Any], service: Served, axe: str
) -> None:
    async with window(axe) as watched:
        page = watched.page
        page.set_default_timeout(60_000)
        await enter(watched, service.new_link())
        await page.goto(f"{service.address}/area/cases/new")
        await fill_in(page, "Written while the database is away")
        silent = service.database()
        assert silent
        for one in silent:
            one.suspend()
        try:
            await page.locator("main button[type=submit]").click()
            await page.get_by_role("alert").wait_for()
            subject = await page.locator("[name=subject]").input_value()
            assert subject == "Written while the database is away"
            assert await watched.violations() == []
            answer = await page.request.get(f"{service.address}/area")
            assert answer.status == 503
            assert "not available at the moment" in await answer.text()
            await asyncio.sleep(4)
        finally:
            for one in silent:
                if one.is_running():
                    one.resume()
        async with asyncio.timeout(60):
            while (await page.request.get(f"{service.address}/readyz")).status != 200:
                await page.wait_for_timeout(500)
        await page.locator("main button[type=submit]").click()
        await page.wait_for_url("**/area/cases/2*")
        assert "is open" in await page.get_by_role("status").inner_text()


async def _states(service: Served, watched: Watched) -> AsyncIterator[str]:
    """Brings the window into every state that a visitor can see."""
    page = watched.page
    await page.goto(service.new_link())
    yield "enter"
    await page.get_by_role("button").click()
    for path in (
        "/area",
        "/area/cases",
        "/area/cases?q=nothing-like-this",
        "/area/cases/new",
        "/area/cases/2026-000002",
        "/area/cases/2026-000003",
        "/area/movements",
        "/area/movements?from=x",
        "/area/nothing",
    ):
        await page.goto(service.address + path)
        for summary in await page.locator("summary").all():
            await summary.click()
        yield path
    await page.goto(f"{service.address}/area")
    await page.locator(".leave button").click()
    await page.wait_for_url("**/area/sign-out")
    yield "left"
    await page.goto(f"{service.address}/area")
    yield "signed out"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["it", "de"])
async def test_axe_finds_nothing(
    window: Callable[..., Any], service: Served, axe: str, scheme: str, language: str
) -> None:
    async with window(axe, color_scheme=scheme, locale=language) as watched:
        found = {}
        async for state in _states(service, watched):
            found[state] = await watched.violations()
        assert {state: wrong for state, wrong in found.items() if wrong} == {}
        assert len(found) == 12


@pytest.mark.parametrize("customer", ["C-0002", "C-0008", "C-0015", "C-0021", "C-0031"])
async def test_axe_finds_nothing_for_other_customers(
    window: Callable[..., Any], service: Served, axe: str, customer: str
) -> None:
    async with window(axe) as watched:
        await enter(watched, service.new_link(customer))
        assert await watched.violations() == []


@pytest.mark.parametrize("width", [320, 390, 640, 1280])
async def test_nothing_sticks_out(window: Callable[..., Any], service: Served, width: int) -> None:
    """WCAG 2.2, 1.4.10. At 640 px the page is as at 1280 px with a zoom of 200 %."""
    size = {"width": width, "height": 800}
    async with window(viewport=size, locale="de") as watched:
        async for state in _states(service, watched):
            wide = await watched.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (state, wide)


async def test_by_keyboard_alone(window: Callable[..., Any], service: Served) -> None:
    async with window() as watched:
        page = watched.page
        await page.goto(service.new_link())

        async def tab_to(selector: str, most: int = 60) -> None:
            for _ in range(most):
                await page.keyboard.press("Tab")
                if await page.evaluate("s => document.activeElement.matches(s)", selector):
                    outline = await page.evaluate(
                        "() => getComputedStyle(document.activeElement).outlineStyle"
                    )
                    assert outline != "none", selector
                    return
            raise AssertionError(f"the keyboard does not reach {selector}")

        await tab_to("main button")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/area")
        await tab_to(".skip", 1)
        await page.keyboard.press("Enter")
        await tab_to("main a[href$='/area/cases/new']", 1)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/area/cases/new")
        await tab_to("[name=serial_number]")
        await page.keyboard.type("ED-0001")
        for name, text in (
            ("subject", "By keyboard"),
            ("description", "No mouse was near."),
            ("requester/name", "Anna Rossi"),
        ):
            await tab_to(f"[name='{name}']", 8)
            await page.keyboard.type(text)
        await tab_to("main button[type=submit]", 5)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/area/cases/2*")
        await tab_to("[name=body]")
        await page.keyboard.type("Neither now.")
        await tab_to("main button[type=submit]", 1)
        await page.keyboard.press("Space")
        await page.wait_for_url("**commented=1")


async def test_it_prints(window: Callable[..., Any], service: Served, tmp_path: Path) -> None:
    async with window(color_scheme="dark") as watched:
        await enter(watched, service.new_link())
        await watched.page.emulate_media(media="print")
        assert await watched.page.locator(".chart svg").first.is_visible()
        assert not await watched.page.locator(".top nav").is_visible()
        paper = await watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        content = await watched.page.pdf(path=tmp_path / "area.pdf", format="A4")
        assert content.startswith(b"%PDF")


async def test_a_frame_on_another_site_stays_empty(
    window: Callable[..., Any], service: Served
) -> None:
    async with window() as watched:
        page = watched.page
        await page.set_content(f'<iframe src="{service.address}/area"></iframe>')
        await page.wait_for_timeout(1_000)
        assert page.frames[-1].url.startswith("chrome-error:")
        assert any("frame-ancestors" in one for one in watched.complaints)
        watched.complaints.clear()
