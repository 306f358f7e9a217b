"""What all pages have in common: texts, colours, files, headers, logs; and a service without."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from string import Formatter

import httpx
import pytest

from app.http.languages import LANGUAGES
from app.pages import assets
from app.pages.charts import burn_down, share
from app.pages.languages import WORDINGS, catalogue
from app.pages.sessions import return_path
from tests.conftest import Service
from tests.pages.conftest import NewVisitor
from tests.pages.visitor import Visitor

PAGES = Path(__file__).parents[2] / "app" / "pages"


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "en"])
def test_every_language_has_every_text(language: str) -> None:
    english, other = catalogue("en"), catalogue(language)
    assert list(other) == list(english)
    for name, text in english.items():
        assert _placeholders(other[name]) == _placeholders(text), name
        assert other[name].strip(), name


def test_every_text_that_a_template_names_is_there_and_every_text_is_used() -> None:
    sources = [
        path.read_text("utf-8") for suffix in ("*.html", "*.py") for path in PAGES.rglob(suffix)
    ]
    named = {
        name
        for source in sources
        for name in re.findall(r"""\bt(?:\.known|\.many)?\(\s*f?"([\w.{}]+)"( ~)?""", source)
    }
    texts = catalogue("en")
    prefixes = tuple(name.partition("{")[0] for name, joined in named if joined or "{" in name)
    whole = {name for name, joined in named if not joined and "{" not in name}
    for name in whole:
        assert name in texts or f"{name}.other" in texts, name
    code = "".join(sources)
    for name in texts:
        base = re.sub(r"\.(one|other)$", "", name)
        assert base in whole or base.startswith(prefixes) or f'"{base}"' in code, name


def test_durations_dates_and_numbers() -> None:
    en, it, de = (WORDINGS[language] for language in ("en", "it", "de"))
    assert en.duration(750).replace("\u00a0", " ") == "12 h 30 min"
    assert it.duration(60).replace("\u00a0", " ") == "1 h"
    assert de.duration(61).replace("\u00a0", " ") == "1 Std. 1 Min."
    assert en.duration(0).replace("\u00a0", " ") == "0 min"
    assert en.duration(-60) == en.duration(60)
    assert en.last_day("2027-06-22") == "21 June 2027"
    assert it.last_day(date(2027, 6, 22)) == "21 giugno 2027"
    assert de.last_day("2027-06-22") == "21. Juni 2027"
    assert de.duration(60_000).replace("\u00a0", " ") == "1.000 Std."
    assert (
        en.weekday_and_clock("2026-11-23T07:30:00Z", "Europe/Rome") == "Monday 23 November, 08:30"
    )
    assert en.many("ticket.count", 1) == "1 ticket"
    assert en.many("ticket.count", 0) == "0 tickets"
    assert en.joined([]) == ""
    assert en.joined(["a", "b", "c"]) == "a, b and c"


_PAIRS = (
    ("ink", "ground"), ("ink", "surface"), ("soft", "ground"), ("soft", "surface"),
    ("accent", "ground"), ("accent", "surface"), ("accent-strong", "ground"),
    ("accent-strong", "calm-ground"), ("on-accent", "accent"), ("on-accent", "accent-strong"),
    ("good", "good-ground"), ("good", "surface"), ("bad", "bad-ground"), ("bad", "surface"),
    ("bad", "ground"), ("warn", "warn-ground"), ("ink", "calm-ground"), ("ink", "bad-ground"),
    ("accent", "bad-ground"), ("soft", "calm-ground"), ("accent", "calm-ground"),
)  # fmt: skip
_SHAPES = (
    ("edge", "surface"), ("edge", "ground"), ("accent", "calm-ground"), ("bad", "calm-ground"),
    ("warn", "surface"),
)  # fmt: skip


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _palettes() -> list[dict[str, str]]:
    css = (PAGES / "static" / "pages.css").read_text()
    found = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", one)) for one in found]


@pytest.mark.parametrize("palette", _palettes(), ids=["light", "dark"])
def test_contrast(palette: dict[str, str]) -> None:
    """WCAG 2.2, 1.4.3 (texts) and 1.4.11 (edges of controls, parts of charts)."""
    for pairs, least in ((_PAIRS, 4.5), (_SHAPES, 3.0)):
        for one, other in pairs:
            light, dark = sorted((_luminance(palette[one]), _luminance(palette[other])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= least, (one, other)


def test_colours_are_those_of_the_palette() -> None:
    css = (PAGES / "static" / "pages.css").read_text()
    rules = css[css.index("*, *::before") : css.index("@media print")]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == []


async def test_files_may_be_kept_for_ever(service: Service) -> None:
    visitor = Visitor(service)
    for name in assets.NAMES.values():
        answer = await visitor.client.get(f"/assets/{name}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        again = await visitor.client.get(
            f"/assets/{name}", headers={"If-None-Match": answer.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        head = await visitor.client.head(f"/assets/{name}")
        assert (head.status_code, head.content) == (200, b"")
    for name in ("pages.css", "..%2f__init__.py", "x"):
        assert (await visitor.client.get(f"/assets/{name}")).status_code == 404


async def test_headers_of_every_page(service: Service, visit: NewVisitor) -> None:
    visitor = await visit()
    for path in (
        "/area",
        "/area/cases/new",
        "/area/nothing",
        "/area/enter/x",
        "/area/movements.csv",
    ):
        headers = (await visitor.client.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"]


async def test_nothing_is_loaded_from_elsewhere(visit: NewVisitor) -> None:
    visitor = await visit()
    for path in ("/area", "/area/cases/new", "/area/movements"):
        page = await visitor.open(path)
        assert all(source.startswith("/assets/") for source in page.sources)
        assert not any(tag in ("style", "script", "iframe") for tag, _ in page.tags)
        outside = [one for one in page.links if not one.startswith(("/", "#", "tel:", "mailto:"))]
        assert outside == []


async def test_metrics_and_log_know_the_route_and_not_the_address(
    service: Service, visit: NewVisitor, capsys: pytest.CaptureFixture[str]
) -> None:
    visitor = await visit()
    await visitor.open("/area/cases/2026-777777", 404)
    await visitor.open("/area/enter/a-secret-code")
    told = capsys.readouterr()
    lines = told.out + told.err
    assert "/area/cases/{number}" in lines
    assert "2026-777777" not in lines
    assert "a-secret-code" not in lines
    text, _ = service.app.state.metrics.render("")
    assert b'route="/area/enter/{code}"' in text
    assert b"a-secret-code" not in text


def test_pages_are_not_in_the_document(service: Service) -> None:
    assert not [path for path in service.app.openapi()["paths"] if "/area" in path]


async def test_the_root_leads_browsers_to_the_pages(
    service: Service, new_service: Callable[..., Awaitable[Service]]
) -> None:
    without = await new_service(pages=False)
    for one, place in ((service, "welcome"), (without, "docs")):
        visitor = Visitor(one)
        assert (await visitor.client.get("/")).headers["location"] == place
        answer = await visitor.client.get("/", headers={"Accept": "application/json"})
        assert answer.headers["location"] == "openapi.json"
    assert (await Visitor(without).client.get("/area")).status_code == 404


_PROGRAM = """
import sys, json
from app.main import create_app
from app.settings import Settings
app = create_app(Settings(database_url="postgresql://nobody@localhost/nothing"))
app.openapi()
print(json.dumps(sorted(one for one in sys.modules if one.startswith(("app.pages", "jinja2")))))
"""


@pytest.mark.parametrize("pages", ["true", "false"])
def test_a_service_without_pages_imports_nothing_of_them(pages: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=PAGES.parents[1],
        env={"ASSISTENZA_PAGES": pages, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert bool(json.loads(done.stdout)) == (pages == "true")


@pytest.mark.parametrize(
    "given",
    [
        "https://evil.example.com",
        "//evil.example.com",
        "/\\evil.example.com",
        "/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "",
        "/a b",
        "/" + "a" * 600,
    ],
)
def test_a_return_path_leads_nowhere_else(given: str) -> None:
    assert return_path(given, "/desk") == "/desk"
    assert return_path("/desk/call?phone=%2B39", "/desk") == "/desk/call?phone=%2B39"


def test_a_burn_down_chart() -> None:
    def point(start: str, end: str, left: int) -> dict[str, object]:
        return {"bucket_start": start, "bucket_end": end, "granted": 100, "left": left}

    item = {
        "starts_on": "2026-01-01",
        "ends_on": "2026-12-27",
        "runs_out_on": "2026-09-09",
        "points": [point("2026-01-01", "2026-04-01", 50), point("2026-04-01", "2026-06-30", 25)],
    }
    chart = burn_down(item)
    assert chart is not None
    assert chart.line == "0,0 250,100 500,150"
    assert chart.area == "0,200 0,0 250,100 500,150 500,200"
    assert chart.rest == (500.0, 150.0, 697.2, 200.0)
    assert burn_down({**item, "points": []}) is None
    assert burn_down({**item, "ends_on": "2026-01-01"}) is None
    assert (share(1, 0), share(5, 4), share(-1, 4), share(1, 3)) == (0.0, 100.0, 0.0, 33.3)


def test_jinja_is_a_dependency_and_the_wall_stands() -> None:
    pyproject = tomllib.loads((PAGES.parents[1] / "pyproject.toml").read_text())
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    wall = next(one for one in contracts if one.get("source_modules") == ["app.pages"])
    assert {"app.store", "app.services", "app.policy", "app.routers"} <= set(
        wall["forbidden_modules"]
    )


async def test_a_proxy_may_serve_the_pages_below_a_path(
    new_service: Callable[..., Awaitable[Service]],
) -> None:
    service = await new_service(public_url="https://www.example.com/support")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app), base_url="http://internal"
    ) as client:
        html = (await client.get("/area")).text
        assert 'href="/support/assets/' in html
        answer = await client.get("/area?language=it")
        assert answer.headers["location"] == "/support/area"
        assert answer.headers["set-cookie"].startswith("__Host-assistenza-language=it; ")
