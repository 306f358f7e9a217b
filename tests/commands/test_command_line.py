"""The commands as an operator runs them: what they print where, and what each wrong input gets."""

import asyncio
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import httpx
import pytest

from app import __version__
from app.services.tokens import Scope
from app.settings import Settings
from app.store.addresses import fault, parse
from app.store.embedded import EmbeddedPostgres, account
from tests.command import ROOT, run
from tests.conftest import Server

_SECONDS = 120
_TOKEN = re.compile(r"assistenza_[\w-]{43}\n")
_CREATE = ("keys", "create", "--name", "crm", "--scope", "customers:read")


def refused(
    *arguments: str, code: int = 1, env: Mapping[str, str] = MappingProxyType({}), **more: str
) -> str:
    """The one line that a command which must fail prints on standard error."""
    done = run(*arguments, env={**env, **more})
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("assistenza: ")
    return line.removeprefix("assistenza: ")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Open to the account that PostgreSQL runs as for root, unlike pytest's own folders."""
    parent = Path(tempfile.mkdtemp(prefix="assistenza-"))
    parent.chmod(0o755)
    yield parent / "data"
    shutil.rmtree(parent, ignore_errors=True)


def test_a_new_token_is_alone_on_standard_output(data_dir: Path) -> None:
    alone = run(*_CREATE, ASSISTENZA_DATA_DIR=str(data_dir))
    assert _TOKEN.fullmatch(alone.stdout), (alone.stdout, alone.stderr)
    assert alone.stderr == ""
    with EmbeddedPostgres(data_dir).serve():
        beside = run(*_CREATE, ASSISTENZA_DATA_DIR=str(data_dir))
        assert _TOKEN.fullmatch(beside.stdout), (beside.stdout, beside.stderr)
        listed = run("keys", "list", ASSISTENZA_DATA_DIR=str(data_dir), ASSISTENZA_LOG_LEVEL="info")
    assert listed.stdout.count("customers:read") == 2


def test_version() -> None:
    assert run("--version").stdout == f"{__version__}\n"


def test_help_names_defaults_variables_and_scopes() -> None:
    wide = {"COLUMNS": "300", "TERM": "dumb"}
    served = run("serve", "--help", env=wide).stdout
    assert "[env var: ASSISTENZA_HOST]" in served
    assert "[default: 8000]" in served
    for name in Settings.model_fields:
        assert f"ASSISTENZA_{name.upper()}" in served
    created = " ".join(run("keys", "create", "--help", env=wide).stdout.replace("│", " ").split())
    for scope in get_args(Scope):
        assert scope in created
    assert "ASSISTENZA_DATABASE_URL" in created


def test_completion_is_offered() -> None:
    completed = run(
        _ASSISTENZA_COMPLETE="complete_bash", COMP_WORDS="assistenza keys create --scope tick",
        COMP_CWORD="4",
    )  # fmt: skip
    assert completed.stdout.split() == ["tickets:read", "tickets:write"]
    nowhere = run("--install-completion", "bash", HOME="/proc/nowhere",
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )  # fmt: skip
    assert nowhere.stderr == "assistenza: /proc/nowhere: No such file or directory\n"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql+asyncpg://a:b@127.0.0.1:x/x", "must have the form postgresql://"),
        ("postgresql+asyncpg://a:b@[::1/x", "must have the form postgresql://"),
        ("postgresql+asyncpg://a:b@h1:1,h2:two/x", "'h2:two' is not of the form host:port"),
        ("postgresql+asyncpg://a:b@h1:1,,h2:2/x", "'' is not of the form host:port"),
        ("postgresql+asyncpg://a:b@h1:1,h2:70000/x", "'h2:70000' is not of the form"),
        ("postgresql+asyncpg://a:b@/x?host=h1:1&host=:2", "':2' is not of the form host:port"),
        ("postgresql+asyncpg://a:b@h1:1/x?host=h2:2&host=h3:3", "names hosts twice"),
        ("postgresql+asyncpg://a:b@/x?host=h1,h2&port=1,2", "a port apart from its host"),
        ("postgresql+asyncpg://a:b@h1,h2/x?target_session_attrs=master", "must be one of any, "),
        ("postgresql+asyncpg://a:b@h1/x?target_session_attrs=standby", "that takes no writes"),
        ("postgresql+asyncpg://a:b@h1,h2/x?sslmode=require", "the driver's name of sslmode"),
        ("postgresql+asyncpg://a:p@w/w@127.0.0.1:1/x", 'in a password write "/" as %2F'),
        (
            "postgresql+asyncpg://a:b@127.0.0.1:1/x?sslmode=require",
            "the driver's name of sslmode is ssl",
        ),
    ],
)
def test_a_wrong_address_is_refused_by_its_form(address: str, said: str) -> None:
    assert said in (fault(address) or "")


@pytest.mark.parametrize(
    "hosts",
    [
        "h1:5433,[::1]/x?",
        "/x?host=h1:5433&host=[::1]:5432&",
        "/x?host=h1:5433,[::1]&",
    ],
)
def test_several_hosts_are_read_in_both_spellings(hosts: str) -> None:
    address = f"postgresql+asyncpg://a:b%40c@{hosts}ssl=require"
    url, arguments = parse(address)
    assert (url.username, url.password, url.database) == ("a", "b@c", "x")
    assert url.query == {"ssl": "require"}
    assert arguments == {
        "host": ["h1", "::1"],
        "port": [5433, 5432],
        "target_session_attrs": "primary",
    }
    assert fault(address) is None
    assert parse(f"{address}&target_session_attrs=any").arguments["target_session_attrs"] == "any"


@pytest.mark.parametrize("command", [("keys", "list"), ("migrate",), ("serve",), ("import", "{}")])
def test_a_wrong_address_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_text("code,name,country\nC-1,Esempio,IT\n")
    arguments = [word.format(file) for word in command]
    several = "postgresql://a:b@h1:1,h2:b/x"
    line = refused(*arguments, ASSISTENZA_DATABASE_URL=several, ASSISTENZA_PORT="0")
    assert line.startswith("ASSISTENZA_DATABASE_URL: 'h2:b' is not of the form host:port")
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        nobody = f"postgresql://a:b@127.0.0.1:{closed.getsockname()[1]}/x"
        line = refused(*arguments, ASSISTENZA_DATABASE_URL=nobody, ASSISTENZA_PORT="0")
    assert line.startswith("the database cannot be used: ")
    assert "Connect call failed" in line


def test_a_right_address_of_several_hosts_is_taken() -> None:
    both = "postgresql+asyncpg://a:b@/x?host=h1:1&host=h2:2&ssl=require&target_session_attrs=read-write"
    assert fault(both) is None


async def test_refusals_of_the_database_are_one_line(
    server: Server, new_database: Callable[[], Awaitable[str]]
) -> None:
    ready, empty = await new_database(), f"{server.prefix}_empty"
    await server.run(f"CREATE DATABASE {empty}")
    wrong = server.url(ready, server.login).replace(server.password, "wrong")
    none = server.url("no_such_database", server.login)
    unmigrated = server.url(empty, server.login)

    def check() -> None:
        for command in (("keys", "list"), ("serve",), ("migrate",)):
            environment = {"ASSISTENZA_PORT": "0", "ASSISTENZA_DATABASE_URL": wrong}
            if server.is_ours:  # another server may trust its own machine
                assert "password authentication failed" in refused(*command, env=environment)
            environment["ASSISTENZA_DATABASE_URL"] = none
            assert '"no_such_database" does not exist' in refused(*command, env=environment)
            environment["ASSISTENZA_DATABASE_URL"] = unmigrated
            hint = {"migrate": "ASSISTENZA_MIGRATION_DATABASE_URL"}.get(command[0], "empty")
            assert hint in refused(*command, env=environment)
        assert "is empty" in refused("reconcile", code=2, ASSISTENZA_DATABASE_URL=unmigrated)
        for arguments in (
            ("keys", "revoke", b"\xff".decode(errors="surrogateescape")),
            ("keys", "revoke", "nobody"),
            (*_CREATE, "--customer", "C-NOBODY"),
        ):
            environment = {"ASSISTENZA_DATABASE_URL": server.url(ready, server.login)}
            assert "no " in refused(*arguments, env=environment)

    # In a thread: the fixtures' loop must not stand still.
    await asyncio.to_thread(check)
    await server.run(f"DROP DATABASE {empty}")


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("/dev/null/data", "cannot use the data directory /dev/null/data"),
        ("/proc/data", "cannot use the data directory /proc/data"),
        ("/" + "x" * 300, "File name too long"),
        ("~no-such-user/data", "Could not determine home directory"),
    ],
)
def test_a_data_directory_that_cannot_be_used_is_one_line(directory: str, said: str) -> None:
    for command in (("keys", "list"), ("migrate",), ("serve", "--port", "0")):
        assert said in refused(*command, ASSISTENZA_DATA_DIR=directory)
    assert said in refused("reconcile", code=2, ASSISTENZA_DATA_DIR=directory)


def test_a_taken_port_is_one_line_before_anything_else(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused("serve", ASSISTENZA_DATA_DIR=str(data_dir), ASSISTENZA_PORT=str(port))
        assert f"ASSISTENZA_PORT: cannot listen on 127.0.0.1:{port}: Address already in use" in line
        metrics = {"ASSISTENZA_PORT": "0", "ASSISTENZA_METRICS_PORT": str(port)}
        line = refused("serve", ASSISTENZA_DATA_DIR=str(data_dir), env=metrics)
        assert f"ASSISTENZA_METRICS_PORT: cannot listen on 127.0.0.1:{port}" in line
    assert not data_dir.exists()
    line = refused("serve", "--host", "192.0.2.1", ASSISTENZA_DATA_DIR=str(data_dir))
    assert "ASSISTENZA_HOST: cannot listen on 192.0.2.1:8000" in line
    assert line.endswith("It must be an address of this machine")
    line = refused("serve", "--host", "host.invalid", ASSISTENZA_DATA_DIR=str(data_dir))
    assert "ASSISTENZA_HOST: cannot listen on host.invalid:8000: " in line
    assert "Errno" not in line
    assert not data_dir.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_metrics_on_the_service_s_own_port_are_refused_before_anything_else(
    data_dir: Path, host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    line = refused(
        "serve",
        ASSISTENZA_DATA_DIR=str(data_dir),
        ASSISTENZA_HOST=host,
        ASSISTENZA_PORT=port,
        ASSISTENZA_METRICS_PORT=port,
    )
    assert line.startswith(f"ASSISTENZA_METRICS_PORT: {port} is the port of the service itself")
    assert not data_dir.exists()


def test_an_unknown_help_desk_is_refused_before_anything_else(data_dir: Path) -> None:
    line = refused(
        "serve",
        "--port",
        "0",
        ASSISTENZA_DATA_DIR=str(data_dir),
        ASSISTENZA_DEFAULT_DESK="xy",
    )
    assert line == "ASSISTENZA_DEFAULT_DESK: unknown help desk 'xy'. There are: abroad, de, it"
    assert not data_dir.exists()


def test_several_workers_answer_when_the_demo_s_calls_are_printed(data_dir: Path) -> None:
    settings = {
        "ASSISTENZA_DATA_DIR": str(data_dir),
        "ASSISTENZA_WORKERS": "2",
        "ASSISTENZA_PORT": "0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--demo"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as serve:
        try:
            assert serve.stdout is not None
            docs = next(line for line in serve.stdout if line.startswith("All calls: "))
            url = docs.removeprefix("All calls: ").strip().removesuffix("/docs")
            assert httpx.get(f"{url}/livez").status_code == 200
        finally:
            serve.terminate()
            serve.wait(_SECONDS)


def test_an_account_without_a_home_is_told_what_to_set() -> None:
    script = (
        "import os, pwd, sys\n"
        "def unknown(uid): raise KeyError(uid)\n"
        "pwd.getpwuid, os.geteuid, os.getuid = unknown, lambda: 54321, lambda: 54321\n"
        "from app.cli import main\n"
        "sys.argv[1:] = ['keys', 'list']\n"
        "main()\n"
    )
    homes: tuple[dict[str, str], ...] = ({}, {"HOME": ""})
    for home in homes:
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env={"PATH": os.environ["PATH"], **home},
            capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "choose a directory with ASSISTENZA_DATA_DIR" in line


def test_what_initdb_needs_for_an_account_without_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unnamed = account.Account("54321", 54321, 54321)
    prefix = account.with_a_name(unnamed)
    assert prefix[1:2] == (["--user"] if shutil.which("unshare") else [])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert account.with_a_name(None) == []


@pytest.mark.parametrize("command", [("roles",), ("openapi",), ("--help",), ("serve", "--help")])
def test_a_reader_that_has_enough_gets_no_traceback(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(*command, stdout=writing)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in {0, 1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", [("roles",), ("openapi",)])
def test_a_full_disk_is_one_line(command: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*command, stdout=full.fileno())
    assert (done.returncode, done.stderr) == (
        1,
        "assistenza: standard output: No space left on device\n",
    )


def test_the_document_s_file_is_kept_when_the_program_fails(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    done = run("openapi", "--output", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_bytes() == (ROOT / "openapi/openapi.json").read_bytes()
    line = refused("openapi", "--output", str(tmp_path / "none" / "openapi.json"))
    assert line == f"{tmp_path}/none/openapi.json: No such file or directory"


@pytest.mark.parametrize(
    ("environment", "coloured", "json"),
    [
        ({"TERM": "xterm-256color"}, True, False),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm-256color", "ASSISTENZA_LOG_FORMAT": "json"}, False, True),
    ],
)
def test_logs_at_a_terminal(environment: dict[str, str], coloured: bool, json: bool) -> None:
    shown = _at_a_terminal(environment)
    assert ("\x1b[" in shown) is coloured
    assert ('"event":"something"' in shown) is json


def test_logs_in_a_file() -> None:
    for form, json in ((None, True), ("json", True), ("text", False)):
        environment = {} if form is None else {"ASSISTENZA_LOG_FORMAT": form}
        done = subprocess.run(
            [sys.executable, "-c", _LOG], cwd=ROOT, env={**os.environ, **environment},
            capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip
        assert ('"event":"something"' in done.stderr) is json
        assert "\x1b[" not in done.stderr


_LOG = """
import structlog
from app.http.logs import configure
from app.settings import Settings
from app.store.addresses import fault
configure("info", Settings().log_format)
structlog.get_logger().info("something")
"""


def _at_a_terminal(environment: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", _LOG], cwd=ROOT, timeout=_SECONDS, check=True,
            env={"PATH": os.environ["PATH"], **environment}, stderr=theirs,
        )  # fmt: skip
        return os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
