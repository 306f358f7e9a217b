"""Generates the calls and models into the wheel, from the OpenAPI document of the checkout."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_INTO = "assistenza_client/generated"


class Generated(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            raise RuntimeError("assistenza-client cannot be installed editable: build the wheel")
        here = Path(self.root)
        self._folder = tempfile.TemporaryDirectory()
        made = Path(self._folder.name) / "generated"
        options = ("--meta", "none", "--fail-on-warning", "--config", here / "generator.yaml")
        command = [sys.executable, "-m", "openapi_python_client", "generate", *options]
        document = here.parent / "openapi.json"
        subprocess.run([*command, "--path", document, "--output-path", made], check=True)  # noqa: S603
        build_data["force_include"][str(made)] = _INTO

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._folder.cleanup()
