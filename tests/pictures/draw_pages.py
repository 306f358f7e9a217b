"""Takes pictures of the reserved area, into `tests/pictures/pages/`, which Git ignores.

    python -m tests.pictures.draw_pages

Needs Debian's chromium and playwright. Starts a service with the demo.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.pages.browser import Served, chromium, served

TARGET = Path(__file__).with_name("pages")
WIDTHS = (1280, 768, 390)
CUSTOMERS = ("C-0001", "C-0015", "C-0021")


async def _take(browser: Any, service: Served, language: str, scheme: str, width: int) -> None:
    context = await browser.new_context(
        locale=language,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        device_scale_factor=1,
    )
    page = await context.new_page()

    async def picture(name: str) -> None:
        file = TARGET / f"{name}-{language}-{scheme}-{width}.png"
        await page.screenshot(path=file, full_page=True)

    for customer in CUSTOMERS:
        await page.goto(service.new_link(customer))
        if customer == "C-0001":
            await picture("enter")
        await page.get_by_role("button").click()
        await page.wait_for_url("**/area")
        await picture(f"area-{customer}")
        if customer == "C-0001":
            for path, name in (
                ("/area/cases", "cases"),
                ("/area/cases/2026-000002", "case"),
                ("/area/cases/2026-000003", "closed-case"),
                ("/area/cases/new", "new-case"),
                ("/area/movements", "movements"),
                ("/area/nothing", "nothing"),
            ):
                await page.goto(service.address + path)
                await picture(name)
            await page.goto(f"{service.address}/area/cases/new")
            await page.locator("[name='requester/email']").fill("nobody")
            await page.locator("main button[type=submit]").click()
            await picture("wrong-case")
    await context.close()


async def main(*languages: str) -> None:
    TARGET.mkdir(exist_ok=True)
    with served() as service:
        async with chromium() as browser:
            for language in languages or ("it", "de"):
                for scheme in ("light", "dark"):
                    for width in WIDTHS:
                        await _take(browser, service, language, scheme, width)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
