"""The OpenAPI document as two linters see it, each with its recommended rules and no exception."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.openapi.tools import DOCUMENT, node_packages, run

pytestmark = pytest.mark.tools

PACKAGES = ("@stoplight/spectral-cli@6.16.3", "@redocly/cli@2.77.0")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return node_packages(tmp_path_factory.mktemp("linters"), *PACKAGES)


def test_spectral(commands: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text('extends: ["spectral:oas"]\n')
    options = ("--quiet", "--ruleset", "rules.yaml", "--format", "json", "--fail-severity", "hint")
    found = run(commands / "spectral", "lint", *options, DOCUMENT, cwd=tmp_path, codes=(0, 1))
    assert [
        f"{one['code']}: {'/'.join(map(str, one['path']))}: {one['message']}"
        for one in json.loads(found)
    ] == []


def test_redocly(commands: Path, tmp_path: Path) -> None:
    options = ("--extends", "recommended", "--format", "json", "--max-problems", "1000")
    found = run(commands / "redocly", "lint", *options, DOCUMENT, cwd=tmp_path, codes=(0, 1))
    problems: list[dict[str, Any]] = json.loads(found)["problems"]
    assert [
        f"{one['ruleId']}: {one['location'][0]['pointer']}: {one['message']}"
        for one in problems
        if not _is_told_apart_by_method(one)
    ] == []


def _is_told_apart_by_method(problem: dict[str, Any]) -> bool:
    """Whether a problem is that of two paths which match the same address and share no method.

    `PUT /v1/customers/by-code/{code}` and `POST /v1/customers/{customer}/contacts` are such: the
    method decides which one is meant. The rule looks at paths alone.
    """
    if problem["ruleId"] != "no-ambiguous-paths":
        return False
    paths = json.loads(DOCUMENT.read_text("utf-8"))["paths"]
    first, second = (part for part in problem["message"].split("`") if part.startswith("/"))
    return not paths[first].keys() & paths[second].keys()
