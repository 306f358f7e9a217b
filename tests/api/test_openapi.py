"""The OpenAPI document: the committed one is the program's, and it says what callers rely on."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "openapi" / "openapi.json"
REGENERATE = "assistenza openapi > openapi/openapi.json"
PROBLEM = {"$ref": "#/components/schemas/ProblemBody"}


@pytest.fixture(scope="module")
def generated() -> bytes:
    # Warnings are errors here: FastAPI only warns of two operations with one id.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "app.cli", "openapi"],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def document(generated: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads(generated)
    return loaded


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_the_generated_one(generated: bytes) -> None:
    committed = COMMITTED.read_bytes() if COMMITTED.exists() else b""
    if committed != generated:
        before, after = (text.decode().splitlines() for text in (committed, generated))
        changes = list(unified_diff(before, after, "committed", "generated", lineterm="", n=1))
        shown = "\n".join(changes[:40])
        pytest.fail(f"run `{REGENERATE}`; it changes\n{shown}", pytrace=False)


def test_operation_ids_are_ours_and_unique(document: dict[str, Any]) -> None:
    ids = [operation.get("operationId", name) for name, operation in _operations(document)]
    # FastAPI's own would have the path and the method in it: get_case_v1_cases__case__get.
    assert [one for one in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", one) or "v1" in one] == []
    assert [one for one, count in Counter(ids).items() if count > 1] == []


def test_every_call_under_v1_says_what_it_needs(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        if " /v1/" in name or name == "GET /metrics":
            assert operation.get("security"), name
            assert {"401", "403"} <= operation["responses"].keys(), name
        else:
            assert "security" not in operation, name


def test_every_call_that_uses_the_database_says_that_it_may_be_away(
    document: dict[str, Any],
) -> None:
    silent = [
        name
        for name, operation in _operations(document)
        if operation.get("security") and "503" not in operation["responses"]
    ]
    assert silent == []


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                content = response["content"]
                assert set(content) == {"application/problem+json"}, f"{name}: {status}"
                assert content["application/problem+json"]["schema"] == PROBLEM, f"{name}: {status}"


def test_every_call_is_explained(document: dict[str, Any]) -> None:
    assert [name for name, one in _operations(document) if not one.get("description")] == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', orjson.dumps(document).decode()))
    assert named == document["components"]["schemas"].keys()
