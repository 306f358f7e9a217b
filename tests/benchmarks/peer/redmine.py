"""Redmine as Debian packages it, served by puma in one process, asked by its REST interface."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.common import free_port, program
from tests.benchmarks.load import HOST
from tests.benchmarks.peer import Tracker, Unavailable, libpq_environment, prepare
from tests.benchmarks.working import Call, Calls

_PREPARATION = Path(__file__).with_suffix(".rb")
_CLOSED = 5
"""The status of that name in Redmine's default data."""
_REQUESTS = Calls(
    open=Call.of(
        "/issues.json",
        {
            "issue": {
                "project_id": 1,
                "subject": "The recipe is not stored",
                "description": "After the update the recipe of line 2 is gone when the panel"
                " restarts.",
            }
        },
    ),
    log=Call.of(
        "/time_entries.json",
        {
            "time_entry": {
                "issue_id": "{case}",
                "hours": 0.25,
                "comments": "Found in the project's log.",
            }
        },
    ),
    close=Call.of(
        "/issues/{case}.json",
        {"issue": {"status_id": _CLOSED, "notes": "Solved by the next version."}},
        "PUT",
    ),
    answered_in="issue",
)


@contextmanager
def serve(directory: Path, url: str, installed: Path) -> Iterator[Tracker]:
    """On the empty database `url`. It runs from a copy, because it finds its configuration and
    writes its files beside its code."""
    if not (installed / "config.ru").exists():
        raise Unavailable(f"there is no Redmine in {installed}")
    if shutil.which("bundle") is None or shutil.which("puma") is None:
        raise Unavailable("bundler or puma is absent")
    root = _copy(installed, directory / "redmine")
    key = secrets.token_hex(20)
    variables = {
        **libpq_environment(url),
        "RAILS_ENV": "production",
        "REDMINE_LANG": "en",
        "BENCHMARK_API_KEY": key,
    }
    for command in (
        ("rake", "db:migrate"),
        ("rake", "redmine:load_default_data"),
        ("rails", "runner", str(_PREPARATION)),
    ):
        prepare(["bundle", "exec", *command], root, variables)
    port = free_port()
    puma = ["bundle", "exec", "puma", "--bind", f"tcp://{HOST}:{port}"]
    with program(directory, port, "/login", puma, root, variables) as pid:
        credentials = f"X-Redmine-API-Key: {key}"
        yield Tracker("Redmine", port, pid, credentials, _REQUESTS, "/issues/{value}.json")


def _copy(installed: Path, root: Path) -> Path:
    shutil.copytree(
        installed, root, symlinks=True, ignore=shutil.ignore_patterns("instances", "Gemfile.lock")
    )
    # Debian's Redmine serves several sites, each with these folders.
    site = root / "instances" / "default"
    for folder in ("config", "files", "log", "public", "tmp"):
        (site / folder).mkdir(parents=True)
    (site / "config" / "secret_key.txt").write_text(secrets.token_hex(64))
    # The rest is told to PostgreSQL's library by its own variables. Threads that make mails need
    # connections besides those of puma's five threads.
    database = (
        "production:\n  adapter: postgresql\n  encoding: unicode\n  pool: 20\n"
        "  database: <%= ENV.fetch('PGDATABASE') %>\n"
    )
    for place in (root, site):
        file = place / "config" / "database.yml"
        file.unlink(missing_ok=True)
        file.write_text(database)
    (root / "Gemfile.local").write_text("gem 'pg'\ngem 'puma'\n")
    return root
