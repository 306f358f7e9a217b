"""Clients that three generators make of the OpenAPI document, and the two of `openapi/python/` and
`openapi/typescript/`: type-checked, then let loose on a running service.

The programs in `clients/` make the same calls with each generated one: entitlements, check, a case
opened twice with one `Idempotency-Key`, a refusal read with typed reasons, a list to its last page,
and a PUT that creates and then replaces. The other two call through something that fails twice for
each request, and their quick starts are run as their READMEs show them.
"""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.services.tokens import SCOPES
from tests.api.build import Customer
from tests.conftest import Service
from tests.openapi.tools import DOCUMENT, node_packages, python_packages, run

pytestmark = pytest.mark.tools

PROGRAMS = Path(__file__).with_name("clients")
CLIENTS = DOCUMENT.parent
MYPY = "mypy==2.4.1"
TYPESCRIPT = ("openapi-fetch@0.17.0", "openapi-typescript@7.13.0", "typescript@5.9.3")
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
        return self.at(self.port)

    def at(self, port: int) -> tuple[str, ...]:
        url = f"http://127.0.0.1:{port}"
        return url, self.token, self.entitled, self.serial_number, self.not_entitled

    @property
    def environment(self) -> dict[str, str]:
        """What the quick starts read."""
        return {"ASSISTENZA_URL": self.arguments[0], "ASSISTENZA_TOKEN": self.token}


class Faulty:
    """The service behind something that answers every request 503 first, then 502 although the
    service has done it, and only then as the service does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = next(self._turns)
        match turn % 3:
            case 0:
                # The first one asks for a second, which the programs measure.
                await self._fail(send, 503, b"0" if turn else b"1")
            case 1:

                async def lose(_: MutableMapping[str, Any]) -> None: ...

                await self._app(scope, receive, lose)
                await self._fail(send, 502, b"0")
            case _:
                await self._app(scope, receive, send)

    async def _fail(self, send: Send, status: int, seconds: bytes) -> None:
        headers = [(b"retry-after", seconds), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """The port on which it is served."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


@pytest.fixture(scope="module")
async def running(service: Service, client: httpx.AsyncClient) -> AsyncIterator[Running]:
    today: date = service.today()
    entitled, nobody, _ = [await Customer.new(client, today) for _ in range(3)]
    licence = await entitled.licence()
    token = await service.token(*SCOPES)
    async with serving(service.app) as port:
        yield Running(port, token, entitled.id, licence["serial_number"], nobody.id)


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


def quick_start(folder: Path, language: str) -> str:
    """The program in a client's README."""
    text = (folder / "README.md").read_text("utf-8")
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(program)


async def test_the_python_client(running: Running, service: Service, tmp_path: Path) -> None:
    source = CLIENTS / "python"
    python = await asyncio.to_thread(python_packages, tmp_path / "tools", MYPY, str(source))
    start = tmp_path / "quick_start.py"
    start.write_text(quick_start(source, "python"))
    program = shutil.copy(PROGRAMS / "with_own_python.py", tmp_path)
    strict = (python, "-m", "mypy", "--strict")
    await _in_thread(tmp_path, *strict, start, program)
    await _in_thread(tmp_path, *strict, "-p", "assistenza_client")
    said = await _in_thread(tmp_path, python, start, **running.environment)
    assert said.splitlines()[-1].startswith("not_entitled ['no_")
    async with serving(Faulty(service.app)) as port:
        assert await _in_thread(tmp_path, python, program, *running.at(port)) == "done\n"


async def test_the_typescript_client(running: Running, service: Service, tmp_path: Path) -> None:
    source = CLIENTS / "typescript"
    wanted = json.loads((source / "package.json").read_text())
    packages = {**wanted["dependencies"], **wanted["devDependencies"]}
    assert tuple(f"{name}@{version}" for name, version in packages.items()) == TYPESCRIPT
    assert wanted["version"] == __version__
    built = tmp_path / "openapi" / "typescript"
    shutil.copytree(source, built, ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copy(DOCUMENT, built.parent)
    await asyncio.to_thread(node_packages, built, *TYPESCRIPT)
    shutil.copy(source / "package.json", built)
    await _in_thread(built, "npm", "run", "build")
    await _in_thread(built, "npm", "pack", "--ignore-scripts")
    package = built / f"assistenza-client-{__version__}.tgz"
    folder = tmp_path / "program"
    folder.mkdir()
    commands = await asyncio.to_thread(node_packages, folder, str(package), *TYPESCRIPT[-1:])
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    (folder / "quick_start.ts").write_text(quick_start(source, "ts"))
    program = shutil.copy(PROGRAMS / "with_own_typescript.ts", folder)
    targets = ("--target", "es2022", "--module", "nodenext", "--outDir", "out")
    await _in_thread(folder, commands / "tsc", *TSC, *targets, "quick_start.ts", program)
    said = await _in_thread(folder, "node", "out/quick_start.js", **running.environment)
    assert said.splitlines()[-1].startswith("not_entitled no_")
    async with serving(Faulty(service.app)) as port:
        program = "out/with_own_typescript.js"
        assert await _in_thread(folder, "node", program, *running.at(port)) == "done\n"


async def _in_thread(folder: Path, *command: str | Path, **environment: str) -> str:
    # The service answers in this thread.
    return await asyncio.to_thread(run, *command, cwd=folder, environment=environment)
