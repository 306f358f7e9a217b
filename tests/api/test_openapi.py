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

from app.http.openapi.glossary import words

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "openapi" / "openapi.json"
REGENERATE = "assistenza openapi --output openapi/openapi.json"


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
            # It takes the code of a link instead of a token.
            if name == "POST /v1/sign-in-links/redemption":
                assert operation["security"] == []
                continue
            assert operation.get("security"), name
            assert {"401", "403"} <= operation["responses"].keys(), name
        else:
            assert operation["security"] == [], name


def test_every_call_that_uses_the_database_says_that_it_may_be_away(
    document: dict[str, Any],
) -> None:
    silent = [
        name
        for name, operation in _operations(document)
        if operation.get("security") and "503" not in operation["responses"]
    ]
    assert silent == []


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    common = {"$ref": "#/components/schemas/ProblemMembers"}
    for name, operation in _operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                content = _resolved(document, response)["content"]
                assert set(content) == {"application/problem+json"}, f"{name}: {status}"
                (body,) = content.values()
                codes = set()
                for schema in body["schema"].get("oneOf", [body["schema"]]):
                    base, own = _resolved(document, schema)["allOf"]
                    assert base == common, f"{name}: {status}"
                    assert own["properties"]["status"]["const"] == int(status), f"{name}: {status}"
                    codes.add(own["properties"]["code"]["const"])
                assert codes == set(body["examples"]), f"{name}: {status}"


def test_error_answers_that_several_calls_share_stand_once(document: dict[str, Any]) -> None:
    inline = [
        orjson.dumps(response)
        for _, operation in _operations(document)
        for status, response in operation["responses"].items()
        if int(status) >= 400 and "$ref" not in response
    ]
    assert [one for one, count in Counter(inline).items() if count > 1] == []


def test_a_query_parameter_is_never_null(document: dict[str, Any]) -> None:
    parameters = [
        (name, _resolved(document, parameter))
        for name, operation in _operations(document)
        for parameter in operation.get("parameters", ())
    ]
    assert parameters
    nullable = [
        f"{name}: {parameter['name']}"
        for name, parameter in parameters
        if {"type": "null"} in parameter["schema"].get("anyOf", ())
    ]
    assert nullable == []


def test_keys_outside_their_pattern_are_refused_by_the_schema_too(document: dict[str, Any]) -> None:
    def dictionaries(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            if "patternProperties" in node:
                yield node
            node = list(node.values())
        if isinstance(node, list):
            for value in node:
                yield from dictionaries(value)

    found = list(dictionaries(document))
    assert found
    assert [one for one in found if one.get("additionalProperties") is not False] == []


def test_the_clients_wait_longer_than_any_call(document: dict[str, Any]) -> None:
    longest = max(
        parameter["schema"]["maximum"]
        for _, operation in _operations(document)
        for one in operation.get("parameters", ())
        if (parameter := _resolved(document, one))["name"] == "wait"
    )
    python = (ROOT / "openapi/python/assistenza_client/sessions.py").read_text("utf-8")
    typescript = (ROOT / "openapi/typescript/src/index.ts").read_text("utf-8")
    (seconds,) = re.findall(r"timeout: float = ([\d.]+)", python)
    (milliseconds,) = re.findall(r"const TIMEOUT = ([\d_]+);", typescript)
    assert longest < float(seconds)
    assert 1_000 * longest < int(milliseconds)


def test_every_put_shows_what_it_has_created(document: dict[str, Any]) -> None:
    puts = [item["put"]["responses"] for item in document["paths"].values() if "put" in item]
    assert puts
    for responses in puts:
        created, replaced = (
            responses[status]["content"]["application/json"]["schema"] for status in ("201", "200")
        )
        assert created == replaced


def test_no_enumeration_stands_twice(document: dict[str, Any]) -> None:
    def enumerations(node: Any) -> Iterator[tuple[str, ...]]:
        if isinstance(node, dict):
            if isinstance(node.get("enum"), list):
                yield tuple(node["enum"])
            for value in node.values():
                yield from enumerations(value)
        elif isinstance(node, list):
            for value in node:
                yield from enumerations(value)

    counted = Counter(enumerations(document))
    assert counted
    assert [values for values, count in counted.items() if count > 1] == []


def test_every_call_is_explained(document: dict[str, Any]) -> None:
    assert [name for name, one in _operations(document) if not one.get("description")] == []
    summaries = [one["summary"] for _, one in _operations(document)]
    assert [text for text, count in Counter(summaries).items() if count > 1] == []
    # A summary stands in a list of calls; what is longer than a line belongs to the description.
    assert [text for text in summaries if len(text) > 60 or ". " in text] == []


def test_everything_has_a_description(document: dict[str, Any]) -> None:
    silent = []
    for kind in ("schemas", "parameters", "headers"):
        for name, part in document["components"][kind].items():
            if not part.get("description"):
                silent.append(f"{kind}: {name}")
            for shape in (part, *part.get("allOf", ())):
                fields = shape.get("properties", {}).items()
                silent += [f"{name}.{field}" for field, one in fields if "description" not in one]
    for name, operation in _operations(document):
        for parameter in operation["parameters"]:
            if not _resolved(document, parameter).get("description"):
                silent.append(f"{name}: {parameter['name']}")
    assert silent == []


def test_the_glossary_explains_nothing_that_is_not_there(document: dict[str, Any]) -> None:
    fields: set[str] = set()
    nullable: set[str] = set()
    for part in document["components"]["schemas"].values():
        for shape in (part, *part.get("allOf", ())):
            for name, field in shape.get("properties", {}).items():
                fields.add(name)
                if {"type": "null"} in field.get("anyOf", ()):
                    nullable.add(name)
    parameters = {
        parameter.get("name")
        for _, operation in _operations(document)
        for parameter in operation["parameters"]
    }
    assert words()["fields"].keys() - fields == set()
    assert words()["null"].keys() - nullable == set()
    assert words()["parameters"].keys() - parameters == set()


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = orjson.dumps(document).decode()
    for kind, parts in document["components"].items():
        if kind != "securitySchemes":
            assert set(re.findall(rf'"#/components/{kind}/([^"]+)"', text)) == parts.keys(), kind
