"""The pages of staff in Debian's Chromium: a call by keyboard, two technicians, axe, a long day."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.pages.browser import Served, Watched, axe_source, chromium, served
from tests.pages.staff import STAFF

pytestmark = pytest.mark.tools

PHONE = "/desk/call?phone=%2B390590000001"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Any]:
    async with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def service(browser: Any) -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def key(service: Served) -> str:
    """A key with all scopes that pages use, made beside the running service."""
    scopes = [f"--scope={one}" for one in sorted(STAFF)]
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", "create", "--name", "staff", *scopes],
        env=service.process.environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.strip()


@pytest.fixture
def desk(browser: Any, service: Served, key: str) -> Callable[..., Any]:
    """Signs technicians in; at the end of each nothing may have come from elsewhere."""

    @asynccontextmanager
    async def new(name: str = "Ada", axe: str = "", **options: Any) -> AsyncIterator[Watched]:
        context = await browser.new_context(**{"locale": "en-GB", **options})
        watched = Watched(await context.new_page(), service.address, axe)
        watched.listen()
        page = watched.page
        await page.goto(f"{service.address}/login")
        await page.locator("[name=key]").fill(key)
        await page.locator("[name=technician]").fill(name)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/desk")
        yield watched
        await context.close()
        watched.check()

    return new


def _api(service: Served, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=service.address, headers=headers, timeout=60)


def _new_case(api: httpx.Client) -> dict[str, Any]:
    body = {
        "customer_id": "C-0001",
        "serial_number": "ED-0001",
        "requester": {"name": "Anna"},
        "subject": "Two at once",
        "description": "x",
        "channel": "phone",
    }
    answer = api.post("/v1/cases", json=body)
    assert answer.status_code == 201, answer.text
    case: dict[str, Any] = answer.json()
    return case


async def test_a_call_from_ringing_to_a_closed_case_by_keyboard(
    desk: Callable[..., Any], service: Served, key: str
) -> None:
    async with desk("Ada Neri") as watched:
        page = watched.page
        pressed = 0

        async def press(*keys: str) -> None:
            nonlocal pressed
            for one in keys:
                # A chord is as many presses as it has keys.
                pressed += len(one.split("+"))
                await page.keyboard.press(one)

        # The exchange opens the card.
        await page.goto(service.address + PHONE)
        await press("n")
        await page.keyboard.type("The trend stays empty")
        await press("Tab")
        await page.keyboard.type("Since the update of yesterday.")
        await press("Control+Enter")
        await page.wait_for_url("**/desk/cases/*")
        number = page.url.rpartition("/")[2].partition("?")[0]
        await press("w")
        await page.keyboard.type("15")
        await press("Enter")
        await page.wait_for_url("**done=time-entries")
        await press("x")
        await page.keyboard.type("The filter was set.")
        await press("Control+Enter")
        await page.wait_for_url("**done=closure")
        assert pressed < 10, pressed
    with _api(service, key) as api:
        case = api.get(f"/v1/cases/{number}").json()
    assert (case["state"], case["technician"], case["worked_minutes"]) == ("closed", "Ada Neri", 15)
    assert (case["channel"], case["resolution"]) == ("phone", "The filter was set.")


async def test_two_technicians_on_one_case(
    desk: Callable[..., Any], service: Served, key: str
) -> None:
    with _api(service, key) as api:
        case = _new_case(api)
    address = f"{service.address}/desk/cases/{case['number']}"
    async with desk("Ada") as ada, desk("Bruno") as bruno:
        await ada.page.goto(address)
        await bruno.page.goto(address)
        await bruno.page.locator("summary[data-key=g]").click()
        await bruno.page.locator("#field-subject").fill("Bruno's subject")
        await ada.page.keyboard.press("c")
        await ada.page.keyboard.type("Ada writes this.")
        await ada.page.keyboard.press("Control+Enter")
        await ada.page.wait_for_url("**done=comments")
        # Without a reload, and without touching what Bruno is writing.
        await bruno.page.get_by_text("Ada writes this.").wait_for(timeout=15_000)
        assert await bruno.page.locator("#field-subject").input_value() == "Bruno's subject"
        await ada.page.keyboard.press("t")
        await ada.page.wait_for_url("**done=take")
        await bruno.page.locator("#head").get_by_text("In progress").wait_for(timeout=15_000)
        await bruno.page.locator("form[action$='/change'] button").click()
        await bruno.page.get_by_text("Somebody else changed this case first").wait_for()
        assert await bruno.page.locator("#field-subject").input_value() == "Bruno's subject"
        assert "Ada" in await bruno.page.locator("#conflict").inner_text()
        await bruno.page.locator("form[action$='/change'] button").click()
        await bruno.page.wait_for_url("**done=change")
        assert await bruno.page.locator("h1").inner_text() == "Bruno's subject"


PAGES = (
    "/desk",
    "/desk?mine=1",
    "/desk/call",
    PHONE,
    "/desk/call?customer=C-0015",
    "/desk/call?phone=%2B390590009999",
    "/desk/cases/2026-000002",
    "/dashboard",
    "/office",
    "/office/customers/C-0001",
    "/office/new/licences?customer=C-0001",
    "/office/contracts/SA-0001/correction",
    "/office/import",
    "/office/customers/C-0001/erasure",
    "/office/closures",
    "/desk/nothing-here",
    "/login",
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(
    desk: Callable[..., Any],
    service: Served,
    scheme: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    axe = axe_source(tmp_path_factory.mktemp("axe"))
    year = time.strftime("%Y")
    async with desk(axe=axe, color_scheme=scheme) as watched:
        for path in PAGES:
            await watched.page.goto(service.address + path.replace("2026-", f"{year}-"))
            for details in await watched.page.locator("details").all():
                await details.evaluate("one => { one.open = true; }")
            assert await watched.violations() == [], path
        await watched.page.context.clear_cookies()
        await watched.page.goto(service.address + "/welcome")
        assert await watched.page.locator("a[href$='/login']").count() == 1
        assert await watched.violations() == []


async def _choose(page: Any, text: str) -> None:
    """Choose a file that does not stand on a disk."""
    file = {"name": "a.csv", "mimeType": "text/csv", "buffer": text.encode()}
    await page.locator("#field-file").set_input_files(file)


async def _check(page: Any, text: str) -> None:
    await _choose(page, text)
    await page.locator("form.card button[type=submit]").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_importing_a_file(
    desk: Callable[..., Any],
    service: Served,
    scheme: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    axe = axe_source(tmp_path_factory.mktemp("axe"))
    async with desk(axe=axe, color_scheme=scheme, locale="it") as watched:
        page = watched.page
        await page.goto(f"{service.address}/office/import")
        await _check(page, f"code,name,country\nC-{scheme},,Italy\n")
        await page.locator("#rows").wait_for()
        assert await watched.violations() == []
        await _choose(page, "code;name;country\n" + "x" * 800_000)
        await page.get_by_text("al massimo 720 kB").wait_for()
        assert await watched.violations() == []
        assert await page.locator("form.card button[type=submit]").is_disabled()
        await _check(page, f"code;name;country\nC-{scheme};Größe;IT\n")
        await page.locator("#trial").wait_for()
        assert await watched.violations() == []
        await page.keyboard.press("y")
        await page.locator(".good-notice").wait_for()
        assert await watched.violations() == []
        await page.goto(f"{service.address}/office/customers/C-{scheme}")
        assert await page.locator("h1").inner_text() == "Größe"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_erasing_a_person_and_closing_a_desk(
    desk: Callable[..., Any],
    service: Served,
    scheme: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    axe = axe_source(tmp_path_factory.mktemp("axe"))
    async with desk(axe=axe, color_scheme=scheme, locale="de") as watched:
        page, office = watched.page, f"{service.address}/office"
        await page.goto(f"{office}/new/contacts?customer=C-0003")
        await page.locator("#field-name").fill(f"Gone {scheme}")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**done=made")
        await page.get_by_label(f"Löschen: Gone {scheme}", exact=True).click()
        assert await watched.violations() == []
        await page.locator("[data-key=u]").click()
        await page.get_by_label(f"Daten löschen: Gone {scheme}").click()
        await page.locator("form.card button[type=submit]").click()
        await page.locator("#trial").wait_for()
        assert await watched.violations() == []
        await page.keyboard.press("y")
        await page.locator("#erased").wait_for()
        assert await watched.violations() == []
        await page.goto(f"{office}/closures")
        await page.locator("form.card button[type=submit]").click()
        await page.locator("#refusal").wait_for()
        assert await watched.violations() == []
        for language in ("it", "en", "de"):
            await page.locator(f"#field-reason-{language}").fill(f"Why {scheme}")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**done=1")
        assert await watched.violations() == []
        await page.get_by_label(f"Entfernen: Why {scheme}").click()
        assert await watched.violations() == []
        await page.keyboard.press("y")
        await page.wait_for_url("**done=1")


async def test_everything_works_without_a_script(desk: Callable[..., Any], service: Served) -> None:
    async with desk(java_script_enabled=False) as watched:
        page = watched.page
        await page.goto(service.address + PHONE)
        await page.locator("#field-subject").fill("Without a script")
        await page.locator("#field-description").fill("x")
        await page.locator("form[action$='/desk/call'] button", has_text="Open the case").click()
        await page.wait_for_url("**done=opened")
        await page.locator("#field-resolution").fill("Done.")
        await page.locator("form[action$='/closure'] button").click()
        await page.wait_for_url("**done=closure")


@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_no_page_is_wider_than_the_window(
    desk: Callable[..., Any], service: Served, width: int
) -> None:
    async with desk(viewport={"width": width, "height": 800}, locale="de") as watched:
        for path in PAGES:
            await watched.page.goto(service.address + path)
            wide = await watched.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, path


class _Grown:
    """How much a page has grown since it was first measured, after what is garbage is gone."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._before: tuple[int, int] | None = None

    async def measure(self) -> tuple[int, int]:
        """Bytes of the heap, and nodes of documents, detached ones included."""
        session = await self._page.context.new_cdp_session(self._page)
        await session.send("HeapProfiler.collectGarbage")
        used = (await session.send("Runtime.getHeapUsage"))["usedSize"]
        nodes = (await session.send("Memory.getDOMCounters"))["nodes"]
        await session.detach()
        if self._before is None:
            self._before = used, nodes
        return used - self._before[0], nodes - self._before[1]


_MINUTES, _EACH_MINUTE = 60, 17


async def test_pages_left_open_for_an_hour_of_a_thousand_events(
    desk: Callable[..., Any], service: Served, key: str
) -> None:
    """The dashboard, which asks each minute, by a clock that is wound; and beside it the queue,
    which hears of all events within half a minute or so."""
    with _api(service, key) as api:
        case = _new_case(api)
    path = f"{service.address}/v1/cases/{case['number']}"
    headers = {"Authorization": f"Bearer {key}"}
    async with desk() as board, desk() as queue, httpx.AsyncClient(headers=headers) as api:
        await board.page.clock.install()
        for watched, place in ((board, "/dashboard"), (queue, "/desk")):
            await watched.page.goto(service.address + place)
            await watched.page.wait_for_load_state("load")
        text = await board.page.locator("#board").inner_text()
        grown = [_Grown(one.page) for one in (board, queue)]
        # The scripts' own first answers are part of what stays.
        for one in grown:
            await one.measure()
        asked = [len(one.requested) for one in (board, queue)]
        began = time.monotonic()
        for minute in range(_MINUTES):
            body = {"technician": "Ada", "minutes": 1, "note": str(minute)}
            sent = [api.post(f"{path}/time-entries", json=body, timeout=60)] + [
                api.post(f"{path}/comments", json={"body": f"{minute}/{one}"}, timeout=60)
                for one in range(_EACH_MINUTE - 1)
            ]
            assert {one.status_code for one in await asyncio.gather(*sent)} == {201}
            await board.page.clock.run_for(60_000)
            await board.page.wait_for_load_state("networkidle")
        assert await board.page.locator("#board").inner_text() != text
        await queue.page.get_by_text(case["number"]).wait_for(timeout=15_000)
        passed = time.monotonic() - began
        requests = [
            len(one.requested) - before for one, before in zip((board, queue), asked, strict=True)
        ]
        # An hour of the dashboard's clock, and what really passed for the queue.
        assert _MINUTES / 2 < requests[0] < 3_600 / 30
        assert 0 < requests[1] < passed
        for one in grown:
            heap, nodes = await one.measure()
            assert heap < 10_000_000
            assert nodes < 10_000
