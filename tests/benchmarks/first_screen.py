"""How soon a visitor sees the reserved area in a browser, beside the smallest page of the service.

    python -m tests.benchmarks.first_screen --rounds 20

A real service with the demo, and Chromium in front of it (playwright and Chromium are needed). Each
round opens `/area` as a visitor who has signed in, with an empty cache and with a warm one, and
`/livez` as the baseline, each in the same window. What is told is the medians of the first paint of
content and of the answer of the server, from the beginning of the navigation, and the bytes that
went over the line.
"""

import argparse
import asyncio
from statistics import median, quantiles
from typing import Any

from tests.benchmarks.common import say, wait_until_idle
from tests.pages.browser import chromium, served

_TIMES = """() => {
    const of = name => performance.getEntriesByType(name);
    const painted = of('paint').find(one => one.name === 'first-contentful-paint');
    const page = of('navigation')[0];
    const bytes = [page, ...of('resource')].reduce((sum, one) => sum + one.transferSize, 0);
    return [painted ? painted.startTime : null, page.responseEnd, bytes];
}"""


async def _opened(page: Any, url: str) -> tuple[float, float, int]:
    await page.goto(url, wait_until="load")
    painted = None
    # Not `wait_for_function`, which the pages' Content-Security-Policy forbids.
    while painted is None:
        painted, answered, size = await page.evaluate(_TIMES)
    return painted, answered, size


async def measure(rounds: int) -> None:
    with served() as service:
        wait_until_idle(service.process.pid)
        async with chromium() as browser:
            context = await browser.new_context(locale="en-GB")
            page = await context.new_page()
            await page.goto(service.new_link())
            await page.get_by_role("button").first.click()
            await page.wait_for_url("**/area")
            line = await context.new_cdp_session(page)
            found: dict[str, list[tuple[float, float, int]]] = {}
            # The first round warms up.
            for number in range(rounds + 1):
                for name, path, cold in (
                    ("baseline /livez", "/livez", True),
                    ("/area, empty cache", "/area", True),
                    ("/area, warm cache", "/area", False),
                ):
                    await line.send("Network.setCacheDisabled", {"cacheDisabled": cold})
                    opened = await _opened(page, service.address + path)
                    if number:
                        found.setdefault(name, []).append(opened)
    base = median(one[0] for one in found["baseline /livez"])
    for name, several in found.items():
        painted, answered, sizes = zip(*several, strict=True)
        tenth = quantiles(painted, n=10)[-1]
        say(
            f"{name:20} first paint {median(painted):6.1f} ms (90 %: {tenth:6.1f}),"
            f" answer {median(answered):6.1f} ms, {max(sizes):7,} bytes,"
            f" {median(painted) / base:4.1f} times the baseline"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
