"""The wheel and both clients as somebody installs them whose account has nothing yet.

Run by `bash .ci/run --full`; needs the packages `pipx`, `python3-venv`, and node with npm.
"""

import os
import pwd
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.command import ROOT
from tests.openapi.tools import python_packages
from tests.operation.running import directory, free_port

pytestmark = pytest.mark.pooler

_SECONDS = 600
_PYTHON = "/usr/bin/python3"


class Account:
    """An account with an empty home: `nobody` for root, else one's own with another home."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.home, nobody.pw_uid, nobody.pw_gid)
            self._prefix = [
                *("setpriv", "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid)),
                "--clear-groups",
            ]
        self._variables = {
            "HOME": str(self.home),
            "PATH": f"{self.home}/.local/bin:/usr/local/bin:/usr/bin:/bin",
        }
        # uv brings certificates of its own; a machine may need others.
        if (certificates := ssl.get_default_verify_paths().cafile) is not None:
            self._variables["SSL_CERT_FILE"] = certificates

    def start(self, *command: str | Path, **variables: str) -> subprocess.Popen[str]:
        words = [f"{name}={value}" for name, value in (self._variables | variables).items()]
        return subprocess.Popen(
            [*self._prefix, "env", "-i", *words, *map(str, command)],
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str | Path, **variables: str) -> str:
        with self.start(*command, **variables) as running:
            said, _ = running.communicate(timeout=_SECONDS)
        assert running.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with directory() as folder:
        yield folder


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    subprocess.run([sys.executable, "-m", "pip", *build, ROOT], check=True, timeout=_SECONDS)
    (wheel,) = folder.glob("*.whl")
    return wheel


@contextmanager
def account(folder: Path, name: str) -> Iterator[Account]:
    (folder / name).mkdir()
    yield Account(folder / name)
    shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def serving(account: Account) -> Iterator[str]:
    """The address of the installed program, which serves the demo."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    service = account.start("assistenza", "serve", "--demo", "--port", str(port))
    try:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert service.poll() is None, service.communicate()[0]
            assert time.monotonic() < deadline, "it is not ready"
            time.sleep(0.2)
        yield address
    finally:
        service.terminate()
        service.communicate(timeout=60)


def test_pipx_installs_the_wheel(folder: Path, wheel: Path) -> None:
    with account(folder, "pipx") as clean:
        clean.run("pipx", "install", "--python", _PYTHON, wheel)
        with serving(clean) as address:
            assert httpx.get(f"{address}/livez").json() == {"status": "ok"}


def quick_start(client: str, language: str) -> str:
    text = (ROOT / "openapi" / client / "README.md").read_text("utf-8")
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(program)


def test_uv_installs_the_wheel_and_both_clients_call_it(folder: Path, wheel: Path) -> None:
    uv = python_packages(folder / "tools", "uv==0.13.9").with_name("uv")
    with account(folder, "uv") as clean:
        clean.run(uv, "tool", "install", "--quiet", "--python", _PYTHON, wheel)
        checkout = clean.home / "checkout"
        shutil.copytree(
            ROOT / "openapi", checkout / "openapi", ignore=shutil.ignore_patterns("node_modules")
        )
        (checkout / "app").mkdir()
        shutil.copy(ROOT / "app" / "__init__.py", checkout / "app")
        (clean.home / "start.py").write_text(quick_start("python", "python"))
        (clean.home / "start.mts").write_text(quick_start("typescript", "ts"))
        own = clean.home.stat()
        for path in (checkout, *checkout.rglob("*")):
            os.chown(path, own.st_uid, own.st_gid)
        clean.run(_PYTHON, "-m", "venv", "environment")
        clean.run("environment/bin/pip", "install", "--quiet", "./checkout/openapi/python")
        clean.run("sh", "-c", "cd checkout/openapi/typescript && npm install && npm pack")
        clean.run("sh", "-c", "npm install ./checkout/openapi/typescript/assistenza-client-*.tgz")
        clean.run(
            *("checkout/openapi/typescript/node_modules/.bin/tsc", "--module", "nodenext"),
            *("--target", "es2022", "--strict", "start.mts"),
        )
        with serving(clean) as address:
            scopes = ("customers:read", "customers:write", "cases:write")
            options = [word for scope in scopes for word in ("--scope", scope)]
            token = clean.run("assistenza", "keys", "create", "--name", "a", *options).split()[-1]
            variables = {"ASSISTENZA_URL": address, "ASSISTENZA_TOKEN": token}
            said = clean.run("environment/bin/python", "start.py", **variables)
            assert said.splitlines()[-1].startswith("not_entitled ['no_")
            said = clean.run("node", "start.mjs", **variables)
            assert said.splitlines()[-1].startswith("not_entitled no_")
