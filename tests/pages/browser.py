"""A real service with the demo, and Debian's Chromium in front of it.

Chromium is not a package of Python: without it, or without playwright, these tests are skipped.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.services.tokens import BOUND_SCOPES
from tests.openapi.tools import node_packages

AXE = "axe-core@4.14.1"
_ROOT = Path(__file__).parents[2]
_SECONDS = 300


@dataclass
class Served:
    """A running service with the demo."""

    address: str
    link: str
    """The sign-in link that it has printed."""
    keys: httpx.Client
    """Holds a key that may issue tokens."""
    process: psutil.Process

    def new_link(self, customer: str = "C-0001", seconds: int = 3_600) -> str:
        body = {"scopes": sorted(BOUND_SCOPES), "expires_in_seconds": seconds}
        answer = self.keys.post(f"/v1/customers/{customer}/tokens", json=body)
        assert answer.status_code == 201, answer.text
        url: str = answer.json()["url"]
        return url

    def database(self) -> list[psutil.Process]:
        """The processes of its PostgreSQL."""
        children = self.process.children(recursive=True)
        return [one for one in children if "postgres" in one.name()]


@contextmanager
def served() -> Iterator[Served]:
    """Start a service with the demo, and stop it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="assistenza-pages-"))
    # Open to the account that PostgreSQL runs as for root.
    folder.chmod(0o755)
    printed = folder / "printed"
    environment = {**os.environ, "ASSISTENZA_DATA_DIR": str(folder / "data")}
    program = [sys.executable, "-m", "app.cli"]
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [*program, "serve", "--demo", "--port", "0"],
            cwd=_ROOT,
            env={**environment, "ASSISTENZA_BOUND_WRITES_PER_MINUTE": "600"},
            stdout=file,
            stderr=file,
        )
    try:
        text, deadline = "", time.monotonic() + _SECONDS
        while "Uvicorn running on" not in text or "All calls:" not in text:
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
            text = printed.read_text()
        link = re.findall(r"http://127\.0\.0\.1:\d+/area/enter/[\w-]+", text)[-1]
        address = link.partition("/area")[0]
        scopes = [f"--scope={one}" for one in ("tokens:issue", *sorted(BOUND_SCOPES))]
        key = subprocess.run(
            [*program, "keys", "create", "--name", "website", *scopes],
            cwd=_ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        ).stdout.strip()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=address, headers=headers, timeout=60) as keys:
            yield Served(address, link, keys, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def chromium() -> AsyncIterator[Any]:
    """A running Chromium. Skips the test where it, or playwright, is missing."""
    place = shutil.which("chromium")
    if place is None:
        pytest.skip("Debian's chromium is not here")
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        pytest.skip("playwright is not here")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=place)
        yield browser
        await browser.close()


def axe_source(folder: Path) -> str:
    """The source of axe. Skips the test where node is missing."""
    node_packages(folder, AXE)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


@dataclass
class Watched:
    """A browser's window, and what went wrong in it."""

    page: Any
    address: str
    axe: str = ""
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note every request, every message of the console, and every fault of a script."""
        self.page.on("request", lambda one: self.requested.append(one.url))
        self.page.on("console", lambda one: self._heard(one))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))

    def _heard(self, message: Any) -> None:
        # Chromium reports a status of 4xx or 5xx too, which the tests ask for.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def check(self) -> None:
        """Nothing came from elsewhere, and the Content-Security-Policy was never broken."""
        elsewhere = [one for one in self.requested if not one.startswith(self.address)]
        assert elsewhere == []
        assert self.complaints == []

    async def violations(self) -> list[str]:
        """What axe finds wrong on the page as it stands."""
        # Not by a script element, which the Content-Security-Policy forbids.
        await self.page.evaluate(self.axe)
        found = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {node['html'][:160]} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]
