"""Takes pictures of the pages, into `tests/pictures/pages/`, which Git ignores.

    python -m tests.pictures.draw_pages [--staff] [language …]

Needs Debian's chromium and playwright. Starts a service with the demo. `--staff` takes those of
the pages of staff alone.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.pages.browser import Served, chromium, served
from tests.pages.staff import STAFF

TARGET = Path(__file__).with_name("pages")
WIDTHS = (1280, 768, 390)
STAFF_WIDTHS = (1280, 390)
CUSTOMERS = ("C-0001", "C-0015", "C-0021")
STAFF_PAGES = {
    "desk": "/desk",
    "call": "/desk/call?phone=%2B390590000001",
    "dashboard": "/dashboard",
    "office": "/office",
    "customer": "/office/customers/C-0001",
    "import": "/office/import",
    "erasure": "/office/customers/C-0001/erasure",
    "closures": "/office/closures",
    "staff-nothing": "/office/nothing",
}
_BAD = "code;name;country\nC-0900;;Italy\nC-0901;Due\n"
_GOOD = "code;name;country\nC-0900;Größe und Söhne;DE\nC-0001;Acme Automazione S.r.l.;IT\n"
_WORDS = "Vorweihnachtliche Betriebsversammlung"


class _Camera:
    """Takes pictures in one language, colour scheme and width."""

    def __init__(self, page: Any, service: Served, look: str) -> None:
        self.page = page
        self.address = service.address
        self._look = look

    async def open(self, path: str) -> None:
        await self.page.goto(self.address + path)

    async def picture(self, name: str) -> None:
        file = TARGET / f"{name}-{self._look}.png"
        await self.page.screenshot(path=file, full_page=True)


async def _area(camera: _Camera, service: Served) -> None:
    page = camera.page
    for customer in CUSTOMERS:
        await page.goto(service.new_link(customer))
        if customer == "C-0001":
            await camera.picture("enter")
        await page.get_by_role("button").click()
        await page.wait_for_url("**/area")
        await camera.picture(f"area-{customer}")
        if customer == "C-0001":
            for path, name in (
                ("/area/cases", "cases"),
                ("/area/cases/2026-000002", "case"),
                ("/area/cases/2026-000003", "closed-case"),
                ("/area/cases/new", "new-case"),
                ("/area/movements", "movements"),
                ("/area/nothing", "nothing"),
            ):
                await camera.open(path)
                await camera.picture(name)
            await camera.open("/area/cases/new")
            await page.locator("[name='requester/email']").fill("nobody")
            await page.locator("main button[type=submit]").click()
            await camera.picture("wrong-case")


async def _staff(camera: _Camera, key: str) -> None:
    page = camera.page

    async def send() -> None:
        await page.locator("form.card button[type=submit]").click()
        await page.wait_for_load_state("load")

    await camera.open("/welcome")
    await camera.picture("welcome")
    await camera.open("/login")
    await page.locator("[name=key]").fill(key)
    await page.locator("[name=technician]").fill("Ada Neri")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/desk")
    for name, path in STAFF_PAGES.items():
        await camera.open(path)
        await camera.picture(name)
    for name, text in (("import-bad", _BAD), ("import-good", _GOOD)):
        await camera.open("/office/import")
        file = {"name": "a.csv", "mimeType": "text/csv", "buffer": text.encode()}
        await page.locator("#field-file").set_input_files(file)
        await send()
        await camera.picture(name)
    await camera.open("/office/customers/C-0001/erasure")
    await page.locator("#field-contact_id").select_option(index=1)
    await send()
    await camera.picture("erasure-shown")
    await camera.open("/office/closures")
    await page.locator("#field-hours").fill("08:30-11:00, 14:00-16:00")
    for language in ("it", "en", "de"):
        await page.locator(f"#field-reason-{language}").fill(_WORDS)
    await send()
    await camera.picture("closures-added")
    await page.locator("ul.rows a").first.click()
    await camera.picture("closure-removal")
    await page.locator("form button.button").click()


def _key(service: Served) -> str:
    """A key with all scopes that pages of staff use."""
    scopes = [f"--scope={one}" for one in sorted(STAFF)]
    return subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", "create", "--name", "staff", *scopes],
        env=service.process.environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.strip()


async def main(*arguments: str) -> None:
    TARGET.mkdir(exist_ok=True)
    only_staff = "--staff" in arguments
    languages = [one for one in arguments if not one.startswith("-")] or ["it", "de"]
    with served() as service:
        key = _key(service)
        async with chromium() as browser:
            for language in languages:
                for scheme in ("light", "dark"):
                    for width in WIDTHS:
                        context = await browser.new_context(
                            locale=language,
                            color_scheme=scheme,
                            viewport={"width": width, "height": 900},
                            device_scale_factor=1,
                        )
                        camera = _Camera(
                            await context.new_page(), service, f"{language}-{scheme}-{width}"
                        )
                        if not only_staff:
                            await _area(camera, service)
                        if width in STAFF_WIDTHS:
                            await _staff(camera, key)
                        await context.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
