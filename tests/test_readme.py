"""The README says what is: its commands, settings, calls and links are looked up in the code."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer

from app.commands.program import cli
from app.importing.columns import LAYOUTS
from app.main import create_app
from app.policy.document import load
from app.services.tokens import SCOPES
from app.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
_BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
SHELL = "".join(text.replace("\\\n", " ") for language, text in _BLOCKS if language == "sh")
_SETTING = re.compile(r"^\| `ASSISTENZA_(\w+)` \| (.+?) \|", re.MULTILINE)
_SENT = re.compile(r'^(?:\w+=\$\()?as \$\w+ (.*?)"\$api(/[^"?]*)[^"]*"(.*)', re.MULTILINE)
_NAMED = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}-]+)")


def _defaults() -> dict[str, str]:
    """Each setting's default as the table writes it; what depends on the machine is left out."""
    shown = {}
    for name, field in Settings.model_fields.items():
        if field.default_factory is None:
            value = field.default
            text = str(value).lower() if isinstance(value, bool) else str(value)
            shown[name.upper()] = "none" if value in (None, ()) else f"`{text}`"
    return shown


def test_the_table_of_settings_is_the_settings() -> None:
    table = dict(_SETTING.findall(README))
    assert table.keys() == {name.upper() for name in Settings.model_fields}
    assert {name: table[name] for name in _defaults()} == _defaults()


def test_the_table_of_an_import_s_columns_is_that_of_the_command() -> None:
    start = README.index("| column | | its cells |\n|---|---|---|\n")
    table = README[start : README.index("\n\n", start)].splitlines()[2:]
    expected = []
    for layout in LAYOUTS:
        expected.append(f"| **{layout.option}** | | |")
        for column in layout.columns:
            need = "required" if column.required else "optional"
            expected.append(f"| `{column.name}` | {need} | {column.form} |")
    assert table == expected


def test_all_scopes_are_listed() -> None:
    start = README.index("\nScopes: ")
    listed = re.findall(r"`(\w+:\w+|admin)`", README[start : README.index("\n\n", start)])
    assert sorted(listed) == sorted(SCOPES)


def test_git_ignores_the_files_that_its_commands_write() -> None:
    names = set(re.findall(r"(?:> |\btee |-f )([\w.-]+\.\w+)", SHELL))
    assert {"token.json", "customers.csv", "backup.dump", "roles.sql"} <= names
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for name in names:
        assert any(fnmatch(f"/{name}", pattern) for pattern in ignored), name


def test_every_variable_named_is_read_by_somebody() -> None:
    tests = "".join(path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.py")))
    known = {name.upper() for name in Settings.model_fields}
    for name in set(re.findall(r"ASSISTENZA_(\w+)", README)) - known:
        assert f'"ASSISTENZA_{name}"' in tests or f'"{name}"' in tests, name


def test_every_command_named_is_there_with_its_options() -> None:
    named = re.findall(r"(?:^|[ `(/])assistenza ([a-z].*?)(?=[`#|;)\n>]|$)", SHELL, re.MULTILINE)
    named += re.findall(r"`assistenza ([^`]+)`", README)
    seen = set()
    for words in (text.split() for text in named):
        command: Any = typer.main.get_command(cli)
        while hasattr(command, "commands"):
            assert words, named
            name = words.pop(0)
            assert name in command.commands, (name, words)
            command = command.commands[name]
        seen.add(command.name)
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, (command.name, words)
    assert {"serve", "migrate", "roles", "import", "reconcile", "create", "list", "revoke"} <= seen


def test_every_call_named_is_in_the_openapi_document() -> None:
    settings = Settings.model_construct(policy_dir=None)
    paths = create_app(settings, policies=load()).openapi()["paths"]
    calls = [
        (method.group(1) if (method := re.search(r"-X (\w+)", before)) else None, path, after)
        for before, path, after in _SENT.findall(SHELL)
    ]
    assert len(calls) == SHELL.count('"$api/')
    for sent, path, after in calls:
        _has(paths, (sent or ("POST" if " -d " in after else "GET")).lower(), path)
    for method, path in _NAMED.findall(README):
        _has(paths, method.lower(), path)


def _has(paths: dict[str, dict[str, object]], method: str, path: str) -> None:
    sent = path.split("/")
    # A path that is there as it stands is not one with a parameter: /v1/entitlements/check.
    fitting = (
        [path]
        if path in paths
        else [
            each
            for each in paths
            if len(steps := each.split("/")) == len(sent)
            and all(a == b or a.startswith("{") for a, b in zip(steps, sent, strict=True))
        ]
    )
    assert any(method in paths[each] for each in fitting), f"{method} {path}"


def test_the_tests_are_run_as_it_says() -> None:
    script = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    steps = [line.strip() for line in script.splitlines()]
    (line,) = (line for line in SHELL.splitlines() if line.endswith("-m pytest") and "&&" in line)
    assert [part for part in line.split(" && ") if part not in steps] == []


def test_the_modules_and_files_named_are_there() -> None:
    modules = set(re.findall(r"python -m (tests[\w.]*)", README))
    assert modules
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        text = file.read_text("utf-8")
        for options in re.findall(rf"python -m {re.escape(module)}((?: --?\w+ [\w,]+)*)", README):
            for option in re.findall(r"--\w+", options):
                assert f'"{option}"' in text, (module, option)
    for folder in re.findall(r"`((?:app|tests|requirements|openapi)/[\w/.-]*)`", README):
        assert (ROOT / folder).exists(), folder


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (ROOT / target).exists(), target


@pytest.mark.parametrize("key", ["readme", "requires-python"])
def test_the_package_says_the_same(key: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = {"readme": "README.md", "requires-python": ">=3.11"}
    assert project[key] == said[key]
    assert "Python 3.11 or newer" in README
