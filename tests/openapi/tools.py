"""Tools of other ecosystems, installed for one run into a temporary folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

DOCUMENT = Path(__file__).parents[2] / "openapi" / "openapi.json"
# Nothing is sent anywhere, and nothing of this process's environment matters to a tool.
_ENVIRONMENT = {
    **{name: os.environ[name] for name in os.environ if not name.startswith(("NODE_", "PYTHON"))},
    "REDOCLY_TELEMETRY": "off",
    "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    "SCARF_ANALYTICS": "false",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}


def run(
    *command: str | Path,
    cwd: Path,
    codes: Sequence[int] = (0,),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The standard output of a command. Fails the test if it exits with another code."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode not in codes:
        pytest.fail(
            f"{command[0]} exited with {done.returncode}\n{done.stdout}\n{done.stderr}",
            pytrace=False,
        )
    return done.stdout


def node_packages(folder: Path, *packages: str) -> Path:
    """Installs npm packages (`name@version`) into a folder; the folder of their commands.

    Skips the test where node or npm is missing.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not here")
    (folder / "package.json").write_text('{"private": true}')
    quiet = ("--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--ignore-scripts")
    run("npm", "install", *quiet, *packages, cwd=folder)
    return folder / "node_modules" / ".bin"


def python_packages(folder: Path, *packages: str) -> Path:
    """Installs Python packages (`name==version`) into an environment of their own; its Python."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *packages, cwd=folder.parent)
    return python
