"""Runs `assistenza` as an operator does: a process of its own, with its own settings."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
_SECONDS = 300


def run(
    *arguments: str,
    stdin: str = "",
    stdout: int = subprocess.PIPE,
    env: Mapping[str, str] = MappingProxyType({}),
    **more: str,
) -> subprocess.CompletedProcess[str]:
    """`assistenza ARGUMENTS`, with no other variables than these and PATH."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env, **more},
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=_SECONDS,
    )
