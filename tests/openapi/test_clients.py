"""Clients that three generators make of the OpenAPI document: type-checked, then let loose on a
running service.

The programs in `clients/` make the same calls with each: entitlements, check, a case opened twice
with one `Idempotency-Key`, a refusal read with typed reasons, a list to its last page, and a PUT
that creates and then replaces.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx
import pytest
import uvicorn

from app.services.tokens import SCOPES
from tests.api.build import Customer
from tests.conftest import Service
from tests.openapi.tools import DOCUMENT, node_packages, python_packages, run

pytestmark = pytest.mark.tools

PROGRAMS = Path(__file__).with_name("clients")
MYPY = "mypy==2.4.1"
TYPESCRIPT = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")
TSC = ("--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes")


@dataclass(frozen=True)
class Running:
    """The service on a port of this machine, and customers for the programs' calls."""

    port: int
    token: str
    entitled: str
    serial_number: str
    not_entitled: str

    @property
    def arguments(self) -> tuple[str, ...]:
        url = f"http://127.0.0.1:{self.port}"
        return url, self.token, self.entitled, self.serial_number, self.not_entitled


@pytest.fixture(scope="module")
async def running(service: Service, client: httpx.AsyncClient) -> AsyncIterator[Running]:
    today: date = service.today()
    entitled, nobody, _ = [await Customer.new(client, today) for _ in range(3)]
    licence = await entitled.licence()
    config = uvicorn.Config(service.app, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    token = await service.token(*SCOPES)
    yield Running(port, token, entitled.id, licence["serial_number"], nobody.id)
    server.should_exit = True
    await serving


async def test_openapi_python_client(running: Running, tmp_path: Path) -> None:
    python = await asyncio.to_thread(
        python_packages, tmp_path / "tools", "openapi-python-client==0.29.1", MYPY
    )
    # It reads no line-by-line JSON by itself: an export is a text to it.
    (tmp_path / "config.yaml").write_text(
        "package_name_override: assistenza_client\n"
        "content_type_overrides: {application/x-ndjson: text/plain}\n"
        "post_hooks: []\n"
    )
    options = ("--config", "config.yaml", "--meta", "none", "--fail-on-warning")
    await _in_thread(
        tmp_path,
        python.with_name("openapi-python-client"),
        "generate",
        *("--path", DOCUMENT, "--output-path", "assistenza_client", *options),
    )
    program = shutil.copy(PROGRAMS / "with_openapi_python_client.py", tmp_path)
    await _in_thread(tmp_path, python, "-m", "mypy", "--strict", program, "assistenza_client")
    assert await _in_thread(tmp_path, python, program, *running.arguments) == "done\n"


async def test_openapi_generator(running: Running, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("java is not here")
    packages = (
        "openapi-generator-cli==7.26.0",
        "mypy==2.4.1",
        "types-python-dateutil==2.9.0.20261116",
    )
    python = await asyncio.to_thread(python_packages, tmp_path / "tools", *packages)
    await _in_thread(
        tmp_path,
        python.with_name("openapi-generator-cli"),
        "generate",
        *("-i", DOCUMENT, "-g", "python", "-o", ".", "--package-name", "assistenza_client"),
    )
    await _in_thread(tmp_path, python, "-m", "pip", "install", "-q", "-r", "requirements.txt")
    program = shutil.copy(PROGRAMS / "with_openapi_generator.py", tmp_path)
    # The package by the settings that the generator gives it, what is written by hand strictly.
    await _in_thread(tmp_path, python, "-m", "mypy", "-p", "assistenza_client")
    await _in_thread(tmp_path, python, "-m", "mypy", "--strict", "--follow-imports=silent", program)
    assert await _in_thread(tmp_path, python, program, *running.arguments) == "done\n"


async def test_openapi_typescript(running: Running, tmp_path: Path) -> None:
    commands = await asyncio.to_thread(node_packages, tmp_path, *TYPESCRIPT)
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    # What has a default may be left out of a request.
    options = ("--default-non-nullable=false", "--output", "assistenza.d.ts")
    await _in_thread(tmp_path, commands / "openapi-typescript", DOCUMENT, *options)
    program = shutil.copy(PROGRAMS / "with_openapi_typescript.ts", tmp_path)
    targets = ("--target", "es2022", "--module", "nodenext", "--outDir", "out")
    await _in_thread(tmp_path, commands / "tsc", *TSC, *targets, "assistenza.d.ts", program)
    built = tmp_path / "out" / "with_openapi_typescript.js"
    assert await _in_thread(tmp_path, "node", built, *running.arguments) == "done\n"


async def _in_thread(folder: Path, *command: str | Path) -> str:
    # The service answers in this thread.
    return await asyncio.to_thread(run, *command, cwd=folder)
